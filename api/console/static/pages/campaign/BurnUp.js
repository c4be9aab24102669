// A campaign's burn-up: rows done and failed over time, and the forecast's cone from now to all rows, against the deadline.
import { count } from "../../lib/numbers.js";
import { dateTime } from "../../lib/time.js";
import { html, useMemo } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Chart } from "../../parts/Chart.js";

/** @param {{progress: any}} props */
export function BurnUp({ progress }) {
  const shape = useMemo(() => shaped(progress), [progress]);
  const { forecast, deadline } = progress;
  if (progress.points.length < 2) return html`<p class="muted">${t("campaign.burnup.none")}</p>`;
  return html`
    <${Chart} label=${t("campaign.burnup")} height=${260} times=${shape.times} lines=${shape.lines} bands=${shape.bands}
      format=${count} range=${[0, Math.max(1, Math.ceil(progress.rows * 1.14))]}
      marks=${deadline ? [{ at: deadline, name: t("campaign.deadline"), tone: "red" }] : []} />
    ${
      forecast &&
      html`<p class="muted small">
        ${
          forecast.likely_at
            ? t("campaign.forecast", {
                low: dateTime(forecast.low_at),
                likely: dateTime(forecast.likely_at),
                high: dateTime(forecast.high_at),
              })
            : t("campaign.forecast.never", { why: forecast.reason ?? "" })
        }
        ${forecast.advice && html` <strong>${forecast.advice}</strong>`}
      </p>`
    }
  `;
}

/** The points, from nothing at the start on. @param {any} progress @returns {any[]} */
const begun = ({ started_at: at, points }) =>
  at && at < points[0]?.at ? [{ at, succeeded: 0, failed: 0, others: 0 }, ...points] : points;

/**
 * Times, lines and the band between the early and the late end. Each edge of the cone is a straight line from where the
 * campaign stands now to all of its rows; behind its end it stays there.
 * @param {any} progress
 */
export function shaped(progress) {
  const { forecast, rows, deadline } = progress;
  const points = begun(progress);
  const now = points.at(-1);
  const done = (/** @type {any} */ point) => point.succeeded + point.failed + point.others;
  const ends = forecast?.likely_at ? [forecast.low_at, forecast.likely_at, forecast.high_at] : [];
  const known = ends.filter((end) => end && end > now.at);
  const past = points.map((/** @type {any} */ point) => point.at);
  const future = [...known, ...(deadline && deadline > now.at ? [deadline] : [])].sort((a, b) => a - b);
  const times = [...new Set([...past, ...future])];
  const at = (/** @type {(point: any) => number} */ of) =>
    times.map((_, i) => (i < points.length ? of(points[i]) : null));
  const edge = (/** @type {number | null | undefined} */ end) =>
    times.map((time) => {
      if (time < now.at || !end) return null;
      if (end <= now.at) return rows;
      return Math.min(rows, done(now) + ((rows - done(now)) * (time - now.at)) / (end - now.at));
    });
  const lines = [
    { name: t("campaign.done"), tone: "green", values: at((point) => point.succeeded), fill: true },
    { name: t("state.failed"), tone: "red", values: at((point) => point.failed) },
    ...(known.length
      ? [
          { name: t("campaign.early"), tone: "blue", values: edge(forecast.low_at), dashed: true },
          { name: t("campaign.likely"), tone: "blue", values: edge(forecast.likely_at) },
          { name: t("campaign.late"), tone: "blue", values: edge(forecast.high_at), dashed: true },
        ]
      : []),
  ];
  return { times, lines, bands: known.length ? [{ upper: 2, lower: 4, tone: "blue" }] : [] };
}
