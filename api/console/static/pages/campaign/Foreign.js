// A campaign of another tenant, as administrators see it: how it stands, why it waits, why rows failed. Nothing is done.
import { count, number } from "../../lib/numbers.js";
import { dateTime } from "../../lib/time.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { DateTime, TimeAgo } from "../../parts/Amounts.js";
import { Card, Facts, Figures } from "../../parts/Card.js";
import { Id } from "../../parts/Copy.js";
import { Failure } from "../../parts/Failure.js";
import { Finish, inUnit, RowShares, spentOf } from "./Figures.js";

/** @param {{campaign: any}} props */
export function Foreign({ campaign }) {
  const { counts, forecast } = campaign;
  const rate = forecast?.rows_per_hour ? t("campaign.rate", { count: number(forecast.rows_per_hour, 0) }) : null;
  return html`
    <div class="stack wide">
      <p class="muted">${t("campaign.foreign", { tenant: campaign.tenant })}</p>
      <${RowShares} counts=${counts} />
      <${Figures} figures=${[
        { name: t("campaign.done"), value: count(counts.succeeded) },
        { name: t("campaign.running"), value: count(counts.running), note: rate },
        { name: t("campaign.left"), value: count(counts.waiting + counts.held + counts.queued + counts.running) },
        { name: t("state.failed"), value: count(counts.failed) },
        { name: t("campaigns.spent"), value: spentOf(campaign.spent) },
      ]} />
      <div class="grid half">
        <${Card} title=${t("campaign.about.life")}><${Facts} facts=${facts(campaign)} /></${Card}>
        <${Card} title=${t("campaign.foreign.failures")}><${Failures} failures=${campaign.failures} /></${Card}>
      </div>
    </div>
  `;
}

/** @param {any} campaign @returns {[string, any][]} */
const facts = (campaign) => [
  ["Id", html`<${Id} id=${campaign.id} />`],
  [t("campaigns.tenant"), campaign.tenant],
  [t("campaigns.finish"), html`<${Finish} campaign=${campaign} />`],
  [t("campaign.foreign.advice"), campaign.forecast?.advice ?? campaign.forecast?.reason],
  [t("campaign.about.deadline"), campaign.deadline && html`<${DateTime} at=${campaign.deadline} />`],
  [
    t("campaign.budget"),
    campaign.budget && inUnit(campaign.budget.amount, campaign.budget.unit, campaign.spent.currency),
  ],
  [
    t("campaign.budget.approved"),
    campaign.approved_gpu_seconds && inUnit(campaign.approved_gpu_seconds, "gpu_seconds"),
  ],
  [
    t("campaign.foreign.pools"),
    campaign.pools.map((/** @type {any} */ each) => `${each.pool} (${each.model})`).join(", "),
  ],
  [t("campaign.about.priority"), campaign.priority],
  [t("campaign.about.most"), campaign.max_running],
  [
    t("campaign.about.schedule"),
    campaign.schedule && html`<code>${campaign.schedule.cron}</code> ${campaign.schedule.time_zone}`,
  ],
  [t("campaign.about.bad"), campaign.counts.bad ? count(campaign.counts.bad) : null],
  [t("campaign.foreign.refused"), campaign.error_code && html`<code>${campaign.error_code}</code>`],
  [t("campaign.about.created"), html`<${DateTime} at=${campaign.created_at} />`],
  [t("campaign.about.started"), campaign.started_at && html`<${TimeAgo} at=${campaign.started_at} />`],
  [t("campaign.about.ended"), campaign.ended_at && dateTime(campaign.ended_at)],
];

/** @param {{failures: {code: string, rows: number}[]}} props */
const Failures = ({ failures }) =>
  failures.length
    ? html`<div class="stack">
        ${failures.map(({ code, rows }) => html`<div><${Failure} code=${code} /> <span class="muted">${t("campaign.failures.rows", { count: count(rows) })}</span></div>`)}
      </div>`
    : html`<p class="muted">${t("campaign.failures.none")}</p>`;
