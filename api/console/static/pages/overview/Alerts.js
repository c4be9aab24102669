// The alerts that fire, the most severe first, each with what it is about and where to look.
import { pageUrl } from "../../lib/base.js";
import { number, percent } from "../../lib/numbers.js";
import { html } from "../../lib/ui.js";
import { has, t } from "../../lib/words.js";
import { Card } from "../../parts/Card.js";
import { Icon } from "../../parts/Icon.js";
import { State } from "../../parts/State.js";

/** @type {Record<string, string>} */
const TONES = { critical: "red", warning: "amber", info: "blue" };
/** @type {Record<string, (subject: string) => string>} The page that has what an alert is about. */
const PLACES = {
  QueueStuck: (pool) => `/jobs?state=queued&pool=${encodeURIComponent(pool)}`,
  JobsFailing: (pool) => `/jobs?state=failed&pool=${encodeURIComponent(pool)}`,
  DeadLetters: () => "/jobs?state=failed",
  CampaignAtRisk: (id) => `/campaigns/${encodeURIComponent(id)}`,
  BudgetExhausted: () => "/tenants",
  WebhooksGivenUp: () => "/webhooks",
  OutboxStuck: () => "/webhooks",
  AuditUnsealed: () => "/audit",
};
const FLEET = new Set(["NoReadyWorker", "WorkerBroken", "WorkersQuarantined", "GpusIdle", "PoolPaused"]);

/** @typedef {{name: string, severity: string, subject: string, summary: string, values: Record<string, string | number>}} Alert */

/** @param {{alerts: Alert[]}} props */
export function Alerts({ alerts }) {
  if (!alerts.length)
    return html`<div class="row calm" role="status"><${Icon} name="check" />${t("overview.calm")}</div>`;
  return html`
    <${Card} title=${t("overview.alerts", { count: alerts.length })} bare>
      <ul class="alerts" aria-label=${t("overview.alerts", { count: alerts.length })}>
        ${alerts.map(
          (alert) => html`
            <li key=${alert.name + alert.subject}>
              <${State} state=${alert.severity} tone=${TONES[alert.severity] ?? "grey"}>${t(`overview.severity.${alert.severity}`)}</${State}>
              <div class="grow">
                <strong>${nameOf(alert.name)}</strong>${alert.subject && html` <span class="mono small">${alert.subject}</span>`}
                <div class="muted small">${told(alert)}</div>
              </div>
              ${placeOf(alert) && html`<a class="button small" href=${pageUrl(placeOf(alert) ?? "/")} aria-label=${t("overview.look.at", { name: nameOf(alert.name) })}>${t("overview.look")}</a>`}
            </li>
          `,
        )}
      </ul>
    </${Card}>
  `;
}

const nameOf = (/** @type {string} */ name) => (has(`overview.alert.${name}`) ? t(`overview.alert.${name}`) : name);
/** What it tells, in the reader's language; of an alert that this console does not know, as the API words it. */
function told(/** @type {Alert} */ { name, summary, values }) {
  const key = `overview.alert.${name}.what`;
  if (!has(key) || !values) return summary;
  const words = Object.fromEntries(Object.entries(values).map(([what, value]) => [what, worded(what, value)]));
  // Who has written the detail has written it in a language of their own.
  return values.detail ? html`${t(key, words)} <q>${values.detail}</q>` : t(key, words);
}

function worded(/** @type {string} */ what, /** @type {string | number} */ value) {
  if (what === "share") return percent(Number(value));
  if (typeof value === "number") return number(value);
  return has(`overview.value.${what}.${value}`) ? t(`overview.value.${what}.${value}`) : value;
}

const placeOf = (/** @type {any} */ { name, subject }) => (FLEET.has(name) ? "/fleet" : PLACES[name]?.(subject));
