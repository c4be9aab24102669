// Horizontal bars for a few amounts, and lanes of spans over time.
import { short } from "../lib/numbers.js";
import { clock, duration } from "../lib/time.js";
import { classes, html } from "../lib/ui.js";
import { t } from "../lib/words.js";

/**
 * One bar for each amount, the largest as long as there is room.
 * @param {{label: string, bars: {name: string, value: number, tone?: string, text?: string, href?: string}[]}} props
 */
export function Bars({ label, bars }) {
  const most = Math.max(...bars.map((bar) => bar.value), 0) || 1;
  return html`
    <div class="bars" role="group" aria-label=${label}>
      ${bars.map(
        (bar) => html`
          <span class="name clip" title=${bar.name}>${bar.href ? html`<a href=${bar.href}>${bar.name}</a>` : bar.name}</span>
          <span class="track" aria-hidden="true"><i class="tone-${bar.tone ?? "accent"}" style=${{ width: `${(bar.value / most) * 100}%` }}></i></span>
          <span class="number right">${bar.text ?? short(bar.value)}</span>
        `,
      )}
    </div>
  `;
}

/**
 * @typedef {{name: string, tone: string, fill?: string, from: number, to: number}} Span
 *   `from` and `to` in seconds since 1970; `fill`: a pattern that tells it apart without its colour (style/parts.css)
 * @param {{label: string, lanes: {name: string, spans: Span[]}[], from?: number, to?: number}} props
 */
export function Gantt({ label, lanes, from, to }) {
  const spans = lanes.flatMap((lane) => lane.spans);
  if (!spans.length) return null;
  const begin = from ?? Math.min(...spans.map((span) => span.from));
  const end = Math.max(to ?? Math.max(...spans.map((span) => span.to)), begin + 0.001);
  const place = (/** @type {number} */ at) => `${((at - begin) / (end - begin)) * 100}%`;
  const words = (/** @type {Span} */ span) => `${span.name}: ${duration(span.to - span.from)}`;
  const look = (/** @type {Span} */ span) => classes(`tone-${span.tone}`, span.fill && `fill-${span.fill}`);
  const kinds = new Map(spans.map((span) => [span.name, look(span)]));
  return html`
    <div class="stack">
      <div class="gantt" role="group" aria-label=${label}>
        ${lanes.map(
          (lane) => html`
            <span class="muted">${lane.name}</span>
            <span class="lane" role="img" aria-label="${lane.name}: ${lane.spans.map(words).join(", ")}">
              ${lane.spans.map((span) => html`<i class=${look(span)} title=${words(span)} style=${{ left: place(span.from), width: `${((span.to - span.from) / (end - begin)) * 100}%` }}></i>`)}
            </span>
          `,
        )}
        <span></span>
        <span class="axis">${[0, 0.25, 0.5, 0.75, 1].map((part) => html`<span style=${{ left: `${part * 100}%` }}>${part ? `+${duration((end - begin) * part)}` : clock(begin)}</span>`)}</span>
      </div>
      <ul class="legend patterns" aria-label=${t("gantt.legend")}>${[...kinds].map(([name, kind]) => html`<li class=${kind}>${name}</li>`)}</ul>
    </div>
  `;
}
