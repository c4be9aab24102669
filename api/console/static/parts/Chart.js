// Lines and areas over time, by uPlot in the console's colours, with a summary for who does not see it.

import { short } from "../lib/numbers.js";
import { theme } from "../lib/theme.js";
import { clock, day } from "../lib/time.js";
import { html, useEffect, useRef } from "../lib/ui.js";
import { language, t } from "../lib/words.js";
import uPlot from "../vendor/uplot.js";

const DAYS_FROM_S = 4 * 86_400;

/**
 * @typedef {{name: string, tone: string, values: (number | null)[], fill?: boolean, dashed?: boolean}} Line `fill`: an area down to zero
 * @param {{label: string, times: number[], lines: Line[], height?: number, stacked?: boolean, format?: (value: number) => string,
 *   marks?: {at: number, name: string, tone: string}[], bands?: {upper: number, lower: number, tone: string}[], range?: [number | null, number | null]}} props
 *   `times` in seconds; `marks`: vertical lines such as a deadline; `bands`: between two lines, by their places
 */
export function Chart({
  label,
  times,
  lines,
  height = 220,
  stacked = false,
  format = short,
  marks = [],
  bands = [],
  range,
}) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const shape = JSON.stringify([
    lines.map((line) => [line.name, line.tone, line.fill, line.dashed]),
    height,
    stacked,
    marks,
    bands,
    range,
  ]);
  const plot = useRef(/** @type {any} */ (null));
  useEffect(() => {
    const element = /** @type {HTMLDivElement} */ (box.current);
    const made = new uPlot(options(), [times, ...drawn()], element);
    plot.current = made;
    const fit = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    fit.observe(element);
    return () => {
      fit.disconnect();
      made.destroy();
    };
  }, [shape, theme.value, language.value]);
  useEffect(() => plot.current?.setData([times, ...drawn()]), [times, lines]);

  const drawn = () => (stacked ? stack(lines) : lines.map((line) => line.values));
  const options = () => {
    const color = (/** @type {string} */ name) =>
      getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    const axis = {
      stroke: color("faint"),
      grid: { stroke: color("line"), width: 1 },
      ticks: { show: false },
      font: "11px system-ui, sans-serif",
    };
    // Over many days the time of day says nothing.
    const tick = (times.at(-1) ?? 0) - (times[0] ?? 0) > DAYS_FROM_S ? day : clock;
    return {
      width: box.current?.clientWidth || 600,
      height,
      padding: /** @type {[number, number, number, number]} */ ([10, 12, 0, 0]),
      cursor: { points: { size: 7 } },
      legend: { live: true },
      scales: {
        y: {
          range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) =>
            /** @type {[number, number]} */ ([range?.[0] ?? Math.min(0, low), range?.[1] ?? (high * 1.08 || 1)]),
        },
      },
      axes: [
        {
          ...axis,
          values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((each) => tick(each)),
          space: 84,
          size: 30,
        },
        {
          ...axis,
          values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((each) => format(each)),
          size: 54,
        },
      ],
      series: [
        // What the legend says of no moment is nothing, and the style leaves its line of time out.
        { label: t("chart.time"), value: (/** @type {any} */ _, /** @type {number} */ at) => (at ? clock(at) : "") },
        ...lines.map((line, i) => ({
          label: line.name,
          stroke: color(line.tone),
          width: 1.75,
          points: { show: times.length < 3 },
          dash: line.dashed ? [5, 4] : undefined,
          fill: line.fill || stacked ? `${color(line.tone)}33` : undefined,
          value: (
            /** @type {any} */ _u,
            /** @type {any} */ _v,
            /** @type {any} */ _s,
            /** @type {number | null} */ at,
          ) => {
            if (at === null || at === undefined) return "";
            return line.values[at] == null ? "–" : format(/** @type {number} */ (lines[i].values[at]));
          },
        })),
      ],
      // Stacked, an area ends where the one below it begins.
      bands: stacked
        ? lines.slice(1).map((_, at) => ({ series: /** @type {[number, number]} */ ([at + 2, at + 1]) }))
        : bands.map((band) => ({
            series: /** @type {[number, number]} */ ([band.upper + 1, band.lower + 1]),
            fill: `${color(band.tone)}26`,
          })),
      hooks: {
        draw: [
          (/** @type {any} */ u) => {
            for (const mark of marks) drawMark(u, mark, color(mark.tone));
          },
        ],
      },
    };
  };
  return html`<figure class="chart"><div ref=${box} aria-hidden="true"></div><figcaption class="unseen">${label}: ${summary(times, lines, format)}</figcaption></figure>`;
}

/** Each line on top of those before it. @param {Line[]} lines */
function stack(lines) {
  /** @type {number[]} */
  const sums = [];
  return lines.map((line) => line.values.map((value, at) => (sums[at] = (sums[at] ?? 0) + (value ?? 0))));
}

/** @param {number[]} times @param {Line[]} lines @param {(value: number) => string} format */
function summary(times, lines, format) {
  if (!times.length) return "–";
  const told = lines.map((line) => {
    const values = line.values.filter((value) => value !== null);
    if (!values.length) return `${line.name} –`;
    return `${line.name} ${format(/** @type {number} */ (values[0]))} → ${format(/** @type {number} */ (values.at(-1)))}, max ${format(values.reduce((most, value) => Math.max(most, /** @type {number} */ (value)), -Infinity))}`;
  });
  return `${clock(times[0])} – ${clock(times.at(-1))}; ${told.join("; ")}`;
}

function drawMark(/** @type {any} */ u, /** @type {{at: number, name: string}} */ mark, /** @type {string} */ color) {
  const x = u.valToPos(mark.at, "x", true);
  if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) return;
  const ctx = u.ctx;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = color;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(x, u.bbox.top);
  ctx.lineTo(x, u.bbox.top + u.bbox.height);
  ctx.stroke();
  ctx.textAlign = x > u.bbox.left + u.bbox.width * 0.7 ? "right" : "left";
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.fillText(
    mark.name,
    x + (ctx.textAlign === "right" ? -5 : 5) * devicePixelRatio,
    u.bbox.top + 11 * devicePixelRatio,
  );
  ctx.restore();
}
