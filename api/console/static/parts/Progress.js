// How far something is: one bar, or one made of several shares.
import { percent } from "../lib/numbers.js";
import { html } from "../lib/ui.js";

/** @param {{value: number | null | undefined, label: string, tone?: string, text?: string}} props `value` of 0 to 1 */
export function Progress({ value, label, tone = "accent", text }) {
  const known = Math.min(Math.max(value ?? 0, 0), 1);
  return html`
    <div class="progress tone-${tone}">
      <div class="track" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(known * 100)}>
        <i style=${{ width: `${known * 100}%` }}></i>
      </div>
      <span>${text ?? percent(known)}</span>
    </div>
  `;
}

/**
 * Shares of one whole beside each other, such as the states of a campaign's rows.
 * @param {{label: string, total: number, shares: {name: string, value: number, tone: string}[]}} props
 */
export function Shares({ label, total, shares }) {
  const words = shares
    .filter((share) => share.value)
    .map((share) => `${share.name}: ${share.value}`)
    .join(", ");
  return html`
    <div class="progress">
      <div class="track" role="img" aria-label="${label}: ${words}">
        ${shares.map((share) => html`<i class="tone-${share.tone}" style=${{ width: `${total ? (share.value / total) * 100 : 0}%` }} title="${share.name}: ${share.value}"></i>`)}
      </div>
    </div>
  `;
}
