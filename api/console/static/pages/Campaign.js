// One campaign: how far it is, its burn-up, budget and failures, its rows, and everything that is done to it.
import { urlOf } from "../lib/api.js";
import { pageUrl } from "../lib/base.js";
import { useData, useGet } from "../lib/data.js";
import { listen } from "../lib/events.js";
import { count, number } from "../lib/numbers.js";
import { step } from "../lib/route.js";
import { html, useEffect } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { DateTime, TimeAgo } from "../parts/Amounts.js";
import { Card, Facts, Figures, Page } from "../parts/Card.js";
import { Id } from "../parts/Copy.js";
import { Empty } from "../parts/Empty.js";
import { Icon } from "../parts/Icon.js";
import { Notes } from "../parts/Notes.js";
import { Loaded, Loading, ProblemBox } from "../parts/Problem.js";
import { State } from "../parts/State.js";
import { Tabs } from "../parts/Tabs.js";
import { Actions } from "./campaign/Actions.js";
import { BudgetBars } from "./campaign/Budget.js";
import { BurnUp } from "./campaign/BurnUp.js";
import { Failures } from "./campaign/Failures.js";
import { RowShares, spentOf } from "./campaign/Figures.js";
import { Foreign } from "./campaign/Foreign.js";
import { Plan } from "./campaign/Plan.js";
import { Rows } from "./campaign/Rows.js";
import { readCampaign } from "./campaign/source.js";

const ENDED = new Set(["completed", "cancelled", "failed"]);
const SLOW_MS = 30_000;
const PROGRESS_MS = 10_000;

/** @param {{id: string}} props */
export function Campaign({ id: asked }) {
  const id = step(asked);
  const read = useData((signal) => readCampaign(id, signal), [id], { everyMs: SLOW_MS });
  const campaign = read.data;
  const over = campaign && ENDED.has(campaign.state) && campaign.ended_at !== null;
  // What the events tell is little: whatever moves is read anew, at most once a second, as they come.
  useEffect(() => {
    if (!campaign?.own || over) return undefined;
    const stop = new AbortController();
    listen(`/v1/campaigns/${id}/events`, read.reload, {
      signal: stop.signal,
      ends: (/** @type {any} */ event) => event.event === "end",
    }).catch(() => {}); // it is read anew every half minute in any case
    return () => stop.abort();
  }, [id, campaign?.own, over]);

  const crumb = html`<a href=${pageUrl("/campaigns")}>${t("campaigns.title")}</a>`;
  if (!campaign && read.problem?.status === 404) return html`<${Missing} crumb=${crumb} />`;
  if (!campaign) {
    return html`<${Page} title=${t("campaign.title")} crumb=${crumb}>
      ${read.problem ? html`<${ProblemBox} problem=${read.problem} again=${read.reload} />` : html`<${Loading} />`}
    </${Page}>`;
  }
  const name = campaign.name || campaign.id.slice(-8);
  const badge = html`<${State} state=${campaign.state} />`;
  if (!campaign.own) {
    return html`<${Page} title=${name} crumb=${crumb} badge=${badge} lead=${lead(campaign)}>
      ${read.problem && html`<${ProblemBox} problem=${read.problem} again=${read.reload} />`}
      <div class="campaign"><${Foreign} campaign=${campaign} /></div>
    </${Page}>`;
  }
  return html`
    <${Page} title=${name} crumb=${crumb} badge=${badge} lead=${lead(campaign)}
      actions=${html`<${Actions} campaign=${campaign} name=${name} reload=${read.reload} />`}>
      <div class="campaign stack wide">
        ${read.problem && html`<${ProblemBox} problem=${read.problem} again=${read.reload} />`}
        ${campaign.error && html`<${ProblemBox} problem=${campaign.error} />`}
        ${campaign.state === "awaiting_approval" && html`<${Plan} campaign=${campaign} reload=${read.reload} />`}
        <${Tabs} label=${name} tabs=${[
          {
            name: "progress",
            title: t("campaign.tab.progress"),
            show: () => html`<${Standing} campaign=${campaign} />`,
          },
          {
            name: "rows",
            title: t("campaign.tab.rows", { count: count(campaign.counts.rows) }),
            show: () => html`<${Rows} campaign=${campaign} reload=${read.reload} />`,
          },
          {
            name: "failures",
            title: t("campaign.tab.failures", { count: count(campaign.counts.failed) }),
            show: () => html`<${Failures} campaign=${campaign} reload=${read.reload} />`,
          },
          { name: "about", title: t("campaign.tab.about"), show: () => html`<${About} campaign=${campaign} />` },
        ]} />
      </div>
    </${Page}>
  `;
}

/** @param {{crumb: any}} props */
const Missing = ({ crumb }) => html`
  <${Page} title=${t("campaign.title")} crumb=${crumb}>
    <div class="card">
      <${Empty} icon="campaigns" title=${t("campaign.missing")} action=${html`<a class="button" href=${pageUrl("/campaigns")}>${t("campaign.missing.all")}</a>`}>
        <p>${t("campaign.missing.what")}</p>
      </${Empty}>
    </div>
  </${Page}>
`;

/** Why nothing of it is rendered, in the API's own words. @param {any} campaign */
function lead(campaign) {
  if (campaign.pause_reasons.length) {
    const why = campaign.pause_reasons.map((/** @type {string} */ reason) => t(`campaign.pause.${reason}`)).join(", ");
    return t("campaign.paused_for", { why });
  }
  return campaign.waiting_for && campaign.state !== "awaiting_approval"
    ? t("campaign.waits", { why: campaign.waiting_for })
    : null;
}

function Standing(/** @type {{campaign: any}} */ { campaign }) {
  const { counts, forecast } = campaign;
  const progress = useGet(`/v1/campaigns/${campaign.id}/progress`, {}, { everyMs: PROGRESS_MS });
  const left = counts.waiting + counts.held + counts.queued + counts.running;
  const rate = forecast?.rows_per_hour ? t("campaign.rate", { count: number(forecast.rows_per_hour, 0) }) : null;
  const flagged = counts.flagged ? t("campaign.flagged", { count: count(counts.flagged) }) : null;
  return html`
    <div class="stack wide">
      <${RowShares} counts=${counts} />
      <${Figures} figures=${[
        { name: t("campaign.done"), value: count(counts.succeeded), note: flagged },
        { name: t("campaign.running"), value: count(counts.running), note: rate },
        { name: t("campaign.left"), value: count(left) },
        { name: t("state.failed"), value: count(counts.failed), href: "?tab=failures" },
        { name: t("campaigns.spent"), value: spentOf(campaign.spent) },
      ]} />
      <${Card} title=${t("campaign.burnup")}>
        <${Loaded} of=${progress}>${(/** @type {any} */ found) => html`<${BurnUp} progress=${found} />`}</${Loaded}>
      </${Card}>
      ${progress.data && html`<${BudgetBars} campaign=${campaign} progress=${progress.data} />`}
    </div>
  `;
}

function About(/** @type {{campaign: any}} */ { campaign }) {
  const { input, template, defaults, metadata, schedule } = campaign;
  const words = (/** @type {Record<string, any>} */ given) =>
    Object.entries(given ?? {}).map(([name, value]) => html`<span class="tag">${name}: ${String(value)}</span>`);
  return html`
    <div class="grid half">
      <${Card} title=${t("campaign.about.asked")}>
        <${Facts} facts=${[
          [t("campaign.about.prompt"), html`<span class="prompt">${template.prompt || "–"}</span>`],
          [t("campaign.about.negative"), template.negative_prompt],
          [t("campaign.about.defaults"), html`<div class="row">${words(defaults)}</div>`],
          [t("campaign.about.variants"), campaign.variants > 1 ? campaign.variants : null],
          [t("campaign.about.sample"), campaign.sample || null],
          [t("campaign.about.priority"), campaign.priority],
          [t("campaign.about.most"), campaign.max_running],
          [t("campaign.about.output"), campaign.output && html`<code>${campaign.output}</code>`],
          [t("campaign.about.metadata"), metadata && html`<div class="row">${words(metadata)}</div>`],
          [t("campaign.about.schedule"), schedule && html`<code>${schedule.cron}</code> ${schedule.time_zone}`],
        ]} />
      </${Card}>
      <${Card} title=${t("campaign.about.life")}>
        <${Facts} facts=${[
          ["Id", html`<${Id} id=${campaign.id} />`],
          [t("campaign.about.input"), input && `${input.source}${input.format ? ` (${input.format})` : ""}`],
          [t("campaign.about.bad"), campaign.counts.bad ? html`<${BadLines} campaign=${campaign} />` : null],
          [t("campaign.about.created"), html`<${DateTime} at=${campaign.created_at} />`],
          [t("campaign.about.started"), campaign.started_at && html`<${TimeAgo} at=${campaign.started_at} />`],
          [t("campaign.about.ended"), campaign.ended_at && html`<${DateTime} at=${campaign.ended_at} />`],
          [t("campaign.about.deadline"), campaign.deadline && html`<${DateTime} at=${campaign.deadline} />`],
          [
            t("campaign.about.manifest"),
            campaign.manifest && t("campaign.about.revision", { n: campaign.manifest.revision }),
          ],
          [t("campaign.about.sha"), campaign.manifest && html`<code class="small">${campaign.manifest.sha256}</code>`],
        ]} />
      </${Card}>
      <${Notes} about=${campaign.id} />
    </div>
  `;
}

const BadLines = (/** @type {{campaign: any}} */ { campaign }) => html`
  <a href=${urlOf(`/v1/campaigns/${campaign.id}/errors?format=csv`)} download>
    <${Icon} name="download" /> ${t("campaign.about.bad_lines", { count: count(campaign.counts.bad) })}
  </a>
`;
