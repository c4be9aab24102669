// What waits, runs and ended, how it went over hours, what GPUs do now, and what is amiss; alive without flicker.
import { pageUrl } from "../lib/base.js";
import { useGet } from "../lib/data.js";
import { count, percent } from "../lib/numbers.js";
import { isAdmin, may, session } from "../lib/session.js";
import { duration } from "../lib/time.js";
import { html } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Figures, Page } from "../parts/Card.js";
import { Empty } from "../parts/Empty.js";
import { Loaded } from "../parts/Problem.js";
import { Alerts } from "./overview/Alerts.js";
import { Flow } from "./overview/Flow.js";
import { Gpus } from "./overview/Gpus.js";
import { Pools, Priorities, Tenants } from "./overview/Now.js";

const EVERY_MS = 5000;

export function Overview() {
  const all = isAdmin.value;
  const view = useGet(all ? "/v1/admin/overview" : "/v1/overview", {}, { everyMs: EVERY_MS });
  return html`
    <${Page} title=${t("overview.title")} lead=${all ? t("overview.lead.all") : t("overview.lead.own", { tenant: session.value?.tenant })}>
      <${Loaded} of=${view}>
        ${(/** @type {any} */ it) => html`
          <div class="stack wide overview">
            <${Numbers} it=${it} />
            <${Alerts} alerts=${it.alerts} />
            ${nothing(it) ? html`<${First} />` : null}
            <${Flow} all=${all} pools=${it.pools} />
            ${all && html`<${Gpus} />`}
            <${Pools} pools=${it.pools} all=${all} />
            <div class="grid half below">
              <${Priorities} priorities=${it.priorities} all=${all} />
              ${all && html`<${Tenants} tenants=${it.tenants} more=${it.more_tenants} />`}
            </div>
          </div>
        `}
      </${Loaded}>
    </${Page}>
  `;
}

/** The numbers that are looked at first. */
function Numbers(/** @type {{it: any}} */ { it }) {
  const wait =
    it.oldest_wait_s === null ? t("overview.nobody") : t("overview.oldest", { time: duration(it.oldest_wait_s) });
  const figures = [
    { name: t("overview.waiting"), value: count(it.waiting), note: wait, href: pageUrl("/jobs?state=queued") },
    { name: t("overview.running"), value: count(it.running), href: pageUrl("/jobs?state=running") },
    { name: t("overview.scheduled"), value: count(it.scheduled), note: t("overview.scheduled.note") },
    {
      name: t("overview.hour"),
      value: count(sum(it.ended_hour)),
      note: succeeded(it.ended_hour),
      href: pageUrl("/jobs?state=succeeded"),
    },
    { name: t("overview.day"), value: count(sum(it.ended_day)), note: succeeded(it.ended_day) },
  ];
  return html`<${Figures} figures=${figures} />`;
}

/** What to do where nothing was ever asked for. */
const First = () => html`
  <div class="card">
    <${Empty} icon="overview" title=${t("overview.empty")} action=${may("submit") && html`<a class="button primary" href=${pageUrl("/new/video")}>${t("overview.empty.make")}</a>`}>
      <p>${t("overview.empty.hint")}</p>
    </${Empty}>
  </div>
`;

const nothing = (/** @type {any} */ it) => !it.waiting && !it.running && !it.scheduled && !sum(it.ended_day);
const sum = (/** @type {any} */ ends) => (ends ? ends.succeeded + ends.failed + ends.cancelled : null);

function succeeded(/** @type {any} */ ends) {
  const total = sum(ends);
  return total ? t("overview.succeeded", { share: percent(ends.succeeded / total, 1) }) : t("overview.none");
}
