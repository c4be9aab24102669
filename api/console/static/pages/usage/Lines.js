// What was used, told apart by one thing: the largest as bars, all of it as a table.
import { pageUrl } from "../../lib/base.js";
import { count, money, percent } from "../../lib/numbers.js";
import { duration } from "../../lib/time.js";
import { html } from "../../lib/ui.js";
import { has, t } from "../../lib/words.js";
import { Bars } from "../../parts/Bars.js";
import { Card } from "../../parts/Card.js";
import { State } from "../../parts/State.js";
import { Table } from "../../parts/Table.js";

const MOST_BARS = 8;

/** @param {{lines: any[], kind: string, currency: string, total: any}} props */
export function Lines({ lines, kind, currency, total }) {
  const rows = [...lines].sort((one, other) => other.gpu_seconds - one.gpu_seconds);
  const columns = [
    {
      name: "what",
      title: t(`usage.by.${kind}`),
      cell: (/** @type {any} */ row) => html`<${Name} kind=${kind} value=${row[kind]} />`,
    },
    {
      name: "gpu",
      title: t("usage.gpu"),
      end: true,
      cell: (/** @type {any} */ row) =>
        html`<span class="number nowrap" title=${t("usage.seconds", { n: count(row.gpu_seconds) })}>${duration(row.gpu_seconds)}</span>`,
    },
    {
      name: "share",
      title: t("usage.of.all"),
      end: true,
      cell: (/** @type {any} */ row) => percent(total.gpu_seconds ? row.gpu_seconds / total.gpu_seconds : null, 1),
    },
    {
      name: "money",
      title: t("usage.money"),
      end: true,
      cell: (/** @type {any} */ row) => html`<span class="number nowrap">${money(row.money, currency)}</span>`,
    },
    { name: "attempts", title: t("usage.attempts"), end: true, cell: (/** @type {any} */ row) => count(row.attempts) },
    {
      name: "wasted",
      title: t("usage.wasted"),
      end: true,
      cell: (/** @type {any} */ row) => html`<span class="number nowrap">${duration(row.wasted_gpu_seconds)}</span>`,
    },
  ];
  const bars = rows
    .slice(0, MOST_BARS)
    .map((row) => ({ name: wordOf(kind, row[kind]), value: row.gpu_seconds, text: duration(row.gpu_seconds) }));
  return html`
    <${Card} title=${t("usage.apart", { kind: t(`usage.by.${kind}`).toLowerCase() })}>
      <div class="stack">
        ${bars.length > 1 && html`<${Bars} label=${t("usage.gpu")} bars=${bars} />`}
        <${Table} label=${t("usage.apart", { kind: t(`usage.by.${kind}`).toLowerCase() })} rows=${rows} id=${(/** @type {any} */ row) => String(row[kind])} columns=${columns} />
      </div>
    </${Card}>
  `;
}

/** A line's name, which leads to what it is about where there is such a page. */
function Name(/** @type {{kind: string, value: string | null}} */ { kind, value }) {
  if (kind === "outcome" && value) return html`<${State} state=${value}>${wordOf(kind, value)}</${State}>`;
  if (kind === "campaign" && value?.startsWith("campaign_"))
    return html`<a class="mono small" href=${pageUrl(`/campaigns/${value}`)}>${value}</a>`;
  if (kind === "tenant" && value) return html`<a href="?tenant=${encodeURIComponent(value)}&by=model">${value}</a>`;
  return html`<span class=${value === null || value === "" ? "muted" : ""}>${wordOf(kind, value)}</span>`;
}

/** @param {string} kind @param {string | null} value */
function wordOf(kind, value) {
  if (value === null || value === "") return has(`usage.none.${kind}`) ? t(`usage.none.${kind}`) : t("usage.none");
  return kind === "outcome" && has(`usage.outcome.${value}`) ? t(`usage.outcome.${value}`) : value;
}
