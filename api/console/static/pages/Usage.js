// GPU seconds and money: of a time, told apart by what one likes, with what came to nothing; to look at and as CSV.
import { api, urlOf } from "../lib/api.js";
import { useData, useGet } from "../lib/data.js";
import { query } from "../lib/route.js";
import { isAdmin, session } from "../lib/session.js";
import { html } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Card, Page } from "../parts/Card.js";
import { Empty } from "../parts/Empty.js";
import { Filters, filterValues } from "../parts/Filters.js";
import { Icon } from "../parts/Icon.js";
import { Loaded } from "../parts/Problem.js";
import { Lines } from "./usage/Lines.js";
import { Over } from "./usage/Over.js";
import { PERIODS, spanOf, USUAL_PERIOD } from "./usage/spans.js";
import { Totals } from "./usage/Totals.js";
import { Waste, Workers } from "./usage/Waste.js";

const KINDS = ["model", "campaign", "outcome", "pool", "kind"];
const USUAL_KIND = "model";

export function Usage() {
  const all = isAdmin.value;
  const kinds = all ? ["tenant", ...KINDS] : KINDS;
  const filters = filtersOf(kinds, all);
  const { period = USUAL_PERIOD, by = all ? "tenant" : USUAL_KIND, campaign, tenant } = filterValues(filters);
  const usual = all ? "tenant" : USUAL_KIND;
  const kind = kinds.includes(by) ? by : usual;
  const path = all ? "/v1/admin/usage" : "/v1/usage";
  const span = spanOf(period);
  const of = { ...span, campaign, tenant: all ? tenant : undefined };
  const told = useGet(path, { ...of, by: kind }, { everyMs: 60_000 });
  const over = useGet(path, { ...of, by: "hour" }, { everyMs: 60_000 });
  const empty = told.data && !told.data.total.attempts;
  const save = html`<a class="button" download href=${urlOf(path, { ...of, by: kind, format: "csv" })}><${Icon} name="download" />${t("usage.csv")}</a>`;
  return html`
    <${Page} title=${t("usage.title")} lead=${all ? t("usage.lead.all") : t("usage.lead.own", { tenant: session.value?.tenant })} actions=${save}>
      <div class="stack wide usage">
        <${Filters} filters=${filters} />
        <${Loaded} of=${told}>
          ${(/** @type {any} */ it) => html`
            <${Totals} it=${it} />
            ${
              empty
                ? html`<div class="card"><${Empty} icon="usage" title=${t("usage.empty")}><p>${t("usage.empty.hint")}</p></${Empty}></div>`
                : html`
                  <${Loaded} of=${over}>${(/** @type {any} */ hours) => html`<${Over} lines=${hours.data} span=${span} />`}</${Loaded}>
                  <${Lines} lines=${it.data} kind=${kind} currency=${it.currency} total=${it.total} />
                  <${Card} title=${t("usage.waste")}><${Waste} waste=${it.waste} total=${it.total.gpu_seconds} /></${Card}>
                `
            }
          `}
        </${Loaded}>
        ${all && html`<${WorkerTime} span=${span} />`}
      </div>
    </${Page}>
  `;
}

/** What workers' hours went into, and what of it was of no use: for who sees all of it. */
function WorkerTime(/** @type {{span: {from: number, to: number}}} */ { span }) {
  const told = useData(
    async (signal) => {
      const asked = (/** @type {string} */ path, /** @type {string} */ by) =>
        api(path, { query: { ...span, by }, signal });
      const [workers, waste] = await Promise.all([
        asked("/v1/admin/usage/workers", "pool,kind"),
        asked("/v1/admin/usage/waste", ""),
      ]);
      return { workers, waste };
    },
    [span.from, span.to],
    { everyMs: 60_000 },
  );
  const save = html`
    <a class="button small" download href=${urlOf("/v1/admin/usage/workers", { ...span, by: "hour,pool,kind", format: "csv" })}>${t("usage.csv.workers")}</a>
    <a class="button small" download href=${urlOf("/v1/admin/usage/waste", { ...span, by: "hour,pool,kind", format: "csv" })}>${t("usage.csv.waste")}</a>
  `;
  return html`<${Card} title=${t("usage.workers")} actions=${save}><${Loaded} of=${told}>${(/** @type {any} */ it) => html`<${Workers} ...${it} />`}</${Loaded}></${Card}>`;
}

/** @param {string[]} kinds @param {boolean} all @returns {import("../parts/Filters.js").Filter[]} */
function filtersOf(kinds, all) {
  const usual = all ? "tenant" : USUAL_KIND;
  const more = /** @type {import("../parts/Filters.js").Filter[]} */ ([
    {
      name: "period",
      label: t("usage.period"),
      options: PERIODS.filter((each) => each !== USUAL_PERIOD).map((each) => [each, t(`usage.period.${each}`)]),
      any: t(`usage.period.${USUAL_PERIOD}`),
    },
    {
      name: "by",
      label: t("usage.by"),
      options: kinds.filter((each) => each !== usual).map((each) => [each, t(`usage.by.${each}`)]),
      any: t(`usage.by.${usual}`),
    },
    { name: "campaign", label: t("usage.by.campaign"), type: "text", placeholder: "campaign_…" },
  ]);
  return all
    ? [
        ...more,
        { name: "tenant", label: t("usage.by.tenant"), type: "text", placeholder: query.value.get("tenant") ?? "" },
      ]
    : more;
}
