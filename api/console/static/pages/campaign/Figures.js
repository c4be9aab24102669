// What campaigns are told by: shares of their rows, when they are done, what they spent.
import { money, number } from "../../lib/numbers.js";
import { clock, dateTime } from "../../lib/time.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Shares } from "../../parts/Progress.js";
import { State, stateWord } from "../../parts/State.js";

/** Where rows stand, and the tone of each, in the order in which they are drawn. */
export const ROW_TONES = /** @type {const} */ ([
  ["succeeded", "green"],
  ["waived", "violet"],
  ["dropped", "violet"],
  ["failed", "red"],
  ["cancelled", "grey"],
  ["running", "blue"],
  ["queued", "amber"],
  ["held", "amber"],
]);

/** @param {{counts: any}} props */
export const RowShares = ({ counts }) => html`
  <${Shares} label=${t("campaign.rows")} total=${counts.rows}
    shares=${ROW_TONES.map(([name, tone]) => ({ name: stateWord(name), value: counts[name], tone }))} />
`;

/** Money where pools have prices, else GPU seconds. @param {any} spent */
export const spentOf = (spent) =>
  spent.money === null
    ? t("campaign.gpu_seconds", { count: number(spent.gpu_seconds, 0) })
    : money(spent.money, spent.currency);

/** An amount of a budget in its unit. @param {number} amount @param {string} unit @param {string | null} [currency] */
export const inUnit = (amount, unit, currency) =>
  unit === "money" ? money(amount, currency ?? undefined) : t("campaign.gpu_seconds", { count: number(amount, 0) });

/** When it is done, against its deadline. @param {{campaign: any}} props */
export function Finish({ campaign }) {
  const { forecast, deadline, ended_at: ended } = campaign;
  if (ended) return html`<span class="muted" title=${dateTime(ended)}>${clock(ended)}</span>`;
  if (forecast) {
    const late = forecast.at_risk && html` <${State} state="at_risk" tone="red">${t("campaign.at_risk")}</${State}>`;
    if (!forecast.likely_at) return html`${t("campaign.never")}${late}`;
    return html`<span title=${dateTime(forecast.likely_at)}>${clock(forecast.likely_at)}</span>${late}`;
  }
  return deadline
    ? html`<span class="muted">${t("campaign.due", { at: clock(deadline) })}</span>`
    : html`<span class="faint">–</span>`;
}
