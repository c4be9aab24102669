// The attempts of one delivery: when each began, how long it took, and what was answered or why nothing was.
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { DateTime, Duration } from "../../parts/Amounts.js";
import { State } from "../../parts/State.js";
import { Table } from "../../parts/Table.js";

/** @typedef {{number: number, at: number, seconds: number, status: number | null, error: string | null}} Attempt */

/** @type {() => import("../../parts/Table.js").Column<Attempt>[]} */
const columns = () => [
  {
    name: "number",
    title: t("webhooks.made.number"),
    cell: (each) => html`<span class="number">${each.number}</span>`,
  },
  { name: "began", title: t("webhooks.made.began"), cell: (each) => html`<${DateTime} at=${each.at} />` },
  { name: "took", title: t("webhooks.made.took"), cell: (each) => html`<${Duration} seconds=${each.seconds} />` },
  {
    name: "answer",
    title: t("webhooks.made.answer"),
    cell: (each) =>
      html`<${State} state=${each.error ? "failed" : "delivered"}>${each.status ?? t("webhooks.made.silence")}</${State}>`,
  },
  {
    name: "why",
    title: t("webhooks.made.why"),
    wide: true,
    cell: (each) => each.error && html`<span class="small">${each.error}</span>`,
  },
];

/** @param {{of: any}} props */
export function Attempts({ of }) {
  const made = of.attempts_made ?? [];
  // Those of a release that kept none are counted all the same.
  if (!made.length) return of.attempts ? html`<p class="muted">${t("webhooks.made.none")}</p>` : null;
  return html`<${Table} label=${t("webhooks.made")} rows=${made} id=${(/** @type {Attempt} */ each) => each.number} columns=${columns()} />`;
}
