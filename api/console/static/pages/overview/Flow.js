// Two charts of the hours that are over: the cumulative flow of jobs, and for which share of the time GPUs rendered.
import { api } from "../../lib/api.js";
import { useData } from "../../lib/data.js";
import { count, percent } from "../../lib/numbers.js";
import { query } from "../../lib/route.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Card } from "../../parts/Card.js";
import { Chart } from "../../parts/Chart.js";
import { Filters } from "../../parts/Filters.js";
import { Loaded } from "../../parts/Problem.js";

const HOURS = [1, 6, 24, 24 * 7, 24 * 30];
const USUAL = 6;
const EVERY_MS = 30_000;

/** @param {{all: boolean, pools: {pool: string}[]}} props `all`: of every tenant, with the GPUs */
export function Flow({ all, pools }) {
  const hours = Number(query.value.get("hours")) || USUAL;
  const pool = (all && query.value.get("pool")) || null;
  const told = useData(
    (signal) => {
      const from = Math.floor(Date.now() / 1000 - hours * 3600);
      return api(all ? "/v1/admin/overview/history" : "/v1/overview/history", { query: { from, pool }, signal });
    },
    [all, hours, pool],
    { everyMs: EVERY_MS },
  );
  /** @type {any[]} */
  const filters = [
    {
      name: "hours",
      label: t("overview.span"),
      options: HOURS.filter((each) => each !== USUAL).map((each) => [String(each), t(`overview.span.${each}`)]),
      any: t(`overview.span.${USUAL}`),
    },
  ];
  if (all && pools.length > 1)
    filters.push({ name: "pool", label: t("overview.pool"), options: pools.map(({ pool: name }) => [name, name]) });
  return html`
    <div class="stack flow">
      <${Filters} filters=${filters} />
      <${Loaded} of=${told}>
        ${(/** @type {any} */ it) => html`
          <div class=${all ? "grid half" : ""}>
            <${Card} title=${t("overview.flow")}><${Cumulative} points=${it.data} /></${Card}>
            ${all && html`<${Card} title=${t("overview.busy")}><${Busy} points=${it.data} /></${Card}>`}
          </div>
        `}
      </${Loaded}>
    </div>
  `;
}

/** What ended since the first point, on top of it what runs, and on top of that what waits: so the upper edge is what came. */
function Cumulative(/** @type {{points: any[]}} */ { points }) {
  if (points.length < 2) return html`<p class="muted">${t("overview.soon")}</p>`;
  const times = points.map((point) => point.at);
  const ended = (/** @type {string} */ how) => running(points.map((point) => point[how]));
  return html`
    <${Chart} label=${t("overview.flow")} times=${times} stacked height=${240} format=${count} lines=${[
      { name: t("overview.flow.succeeded"), tone: "green", values: ended("succeeded") },
      { name: t("overview.flow.failed"), tone: "red", values: ended("failed") },
      { name: t("overview.flow.cancelled"), tone: "grey", values: ended("cancelled") },
      { name: t("overview.running"), tone: "blue", values: points.map((point) => point.running) },
      { name: t("overview.waiting"), tone: "amber", values: points.map((point) => point.waiting) },
    ]} />
    <p class="muted small">${t("overview.flow.hint", { came: count(points.reduce((sum, point) => sum + point.accepted, 0)) })}</p>
  `;
}

function Busy(/** @type {{points: any[]}} */ { points }) {
  const known = points.filter((point) => point.busy !== null);
  if (known.length < 2) return html`<p class="muted">${t("overview.busy.soon")}</p>`;
  const mean = known.reduce((sum, point) => sum + point.busy, 0) / known.length;
  return html`
    <${Chart} label=${t("overview.busy")} times=${points.map((point) => point.at)} height=${240} range=${[0, 1]} format=${percent}
      lines=${[{ name: t("overview.busy.line"), tone: "accent", values: points.map((point) => point.busy), fill: true }]} />
    <p class="muted small">${t("overview.busy.hint", { share: percent(mean) })}</p>
  `;
}

/** Each value with all before it. */
function running(/** @type {number[]} */ values) {
  let sum = 0;
  return values.map((value) => (sum += value));
}
