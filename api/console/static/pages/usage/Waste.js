// What came to nothing, by cause; and what workers' hours went into.
import { money, percent } from "../../lib/numbers.js";
import { duration } from "../../lib/time.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Bars } from "../../parts/Bars.js";
import { Shares } from "../../parts/Progress.js";
import { Table } from "../../parts/Table.js";

/** Of attempts. @param {{waste: Record<string, number>, total: number}} props seconds by cause, and of everything */
export function Waste({ waste, total }) {
  const found = Object.entries(waste).filter(([, seconds]) => seconds > 0);
  if (!found.length) return html`<p class="muted">${t("usage.waste.none")}</p>`;
  const bars = found
    .sort(([, one], [, other]) => other - one)
    .map(([cause, seconds]) => ({
      name: t(`usage.cause.${cause}`),
      value: seconds,
      tone: "red",
      text: `${duration(seconds)} · ${percent(total ? seconds / total : 0, 1)}`,
    }));
  return html`<${Bars} label=${t("usage.waste")} bars=${bars} />`;
}

const SPELLS = /** @type {[string, string][]} */ ([
  ["busy", "green"],
  ["idle", "grey"],
  ["loading", "amber"],
  ["broken", "red"],
]);

/** @param {{workers: any, waste: any}} props what the two routes answer */
export function Workers({ workers, waste }) {
  if (!workers.data.length) return html`<p class="muted">${t("usage.workers.none")}</p>`;
  const all = (/** @type {any} */ row) => SPELLS.reduce((sum, [spell]) => sum + row[`${spell}_s`], 0);
  const shares = (/** @type {any} */ row) =>
    SPELLS.map(([spell, tone]) => ({ name: t(`usage.cause.${spell}`), value: Math.round(row[`${spell}_s`]), tone }));
  const columns = [
    {
      name: "pool",
      title: t("usage.by.pool"),
      cell: (/** @type {any} */ row) => html`<strong>${row.pool}</strong>${row.kind && ` / ${row.kind}`}`,
    },
    {
      name: "spells",
      title: t("usage.spells"),
      wide: true,
      cell: (/** @type {any} */ row) => html`<${Shares} label=${row.pool} total=${all(row)} shares=${shares(row)} />`,
    },
    {
      name: "busy",
      title: t("usage.utilisation"),
      end: true,
      cell: (/** @type {any} */ row) => percent(row.utilisation, 1),
    },
    {
      name: "time",
      title: t("usage.time"),
      end: true,
      cell: (/** @type {any} */ row) => html`<span class="number nowrap">${duration(all(row))}</span>`,
    },
    {
      name: "money",
      title: t("usage.money"),
      end: true,
      cell: (/** @type {any} */ row) => html`<span class="number nowrap">${money(row.money, workers.currency)}</span>`,
    },
    {
      name: "unused",
      title: t("usage.unused"),
      end: true,
      cell: (/** @type {any} */ row) =>
        html`<span class="number nowrap">${money(row.unused_money, workers.currency)}</span>`,
    },
  ];
  const bars = waste.data
    .filter((/** @type {any} */ line) => line.seconds > 0)
    .sort((/** @type {any} */ one, /** @type {any} */ other) => other.seconds - one.seconds)
    .map((/** @type {any} */ line) => ({
      name: t(`usage.cause.${line.cause}`),
      value: line.seconds,
      tone: "red",
      text: `${duration(line.seconds)} · ${percent(line.share, 1)}${line.money === null ? "" : ` · ${money(line.money, waste.currency)}`}`,
    }));
  return html`
    <div class="stack">
      <${Table} label=${t("usage.workers")} rows=${workers.data} id=${(/** @type {any} */ row) => `${row.pool}/${row.kind}`} columns=${columns} />
      <ul class="legend">${SPELLS.map(([spell, tone]) => html`<li class="tone-${tone}">${t(`usage.cause.${spell}`)}</li>`)}</ul>
      ${bars.length > 0 && html`<h3>${t("usage.waste.all")}</h3><${Bars} label=${t("usage.waste.all")} bars=${bars} />`}
    </div>
  `;
}
