// The attempts of one delivery: when each began, how long it took, and what was answered or why nothing was.
import { dateTime } from "../../lib/time.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Duration } from "../../parts/Amounts.js";
import { State } from "../../parts/State.js";

const COLUMNS = ["number", "began", "took", "answer", "why"];

/** @param {{of: any}} props */
export function Attempts({ of }) {
  const made = of.attempts_made ?? [];
  // Those of a release that kept none are counted all the same.
  if (!made.length) return of.attempts ? html`<p class="muted">${t("webhooks.made.none")}</p>` : null;
  return html`<div class="table" tabindex="0" role="region" aria-label=${t("webhooks.made")}><table>
    <thead><tr>${COLUMNS.map((name) => html`<th scope="col">${t(`webhooks.made.${name}`)}</th>`)}</tr></thead>
    <tbody>${made.map(
      (/** @type {any} */ each) => html`<tr key=${each.number}>
        <td class="number">${each.number}</td>
        <td class="number nowrap">${dateTime(each.at)}</td>
        <td><${Duration} seconds=${each.seconds} /></td>
        <td><${State} state=${each.error ? "failed" : "delivered"}>${each.status ?? t("webhooks.made.silence")}</${State}></td>
        <td class="small">${each.error ?? ""}</td>
      </tr>`,
    )}</tbody>
  </table></div>`;
}
