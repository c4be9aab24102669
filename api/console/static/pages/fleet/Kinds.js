// Kinds of workers: how many are wanted, asked for, starting, ready and on their way out, and why; and the decisions.
import { number } from "../../lib/numbers.js";
import { duration } from "../../lib/time.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { DateTime } from "../../parts/Amounts.js";
import { Empty } from "../../parts/Empty.js";
import { State } from "../../parts/State.js";
import { Table } from "../../parts/Table.js";

/** @param {{kinds: any[]}} props */
export function Kinds({ kinds }) {
  const many = (/** @type {string} */ state, title = t(`state.${state}`)) => ({
    name: state,
    title,
    end: true,
    cell: (/** @type {any} */ row) => html`<span class="number">${row[state]}</span>`,
  });
  const columns = [
    {
      name: "kind",
      title: t("fleet.kind"),
      cell: (/** @type {any} */ row) => html`<strong>${row.pool}</strong> / ${row.kind}`,
    },
    {
      name: "bounds",
      title: t("fleet.bounds"),
      end: true,
      cell: (/** @type {any} */ row) => html`<span class="number">${row.min}–${row.max}</span>`,
    },
    many("wanted"),
    many("requested", t("fleet.requested")),
    many("starting"),
    many("ready"),
    many("draining"),
    {
      name: "price",
      title: t("fleet.price"),
      end: true,
      cell: (/** @type {any} */ row) => (row.price_per_gpu_hour === null ? "–" : number(row.price_per_gpu_hour)),
    },
    { name: "why", title: t("fleet.why"), wide: true, cell: (/** @type {any} */ row) => html`<${Why} kind=${row} />` },
  ];
  const empty = html`<${Empty} icon="fleet" title=${t("fleet.kinds.none")} />`;
  return html`<${Table} label=${t("fleet.kinds")} rows=${kinds} id=${(/** @type {any} */ row) => `${row.pool}/${row.kind}`} columns=${columns} empty=${empty} />`;
}

/** The reason of the last change; that it may vanish, and that it rests. */
function Why(/** @type {{kind: any}} */ { kind }) {
  return html`<span class="why small">
    ${kind.failures > 0 && html`<${State} state="failed" tone="red">${t("fleet.failures", { many: kind.failures })}</${State}> `}
    ${kind.rests_s > 0 && html`<${State} state="held">${t("fleet.rests", { time: duration(kind.rests_s) })}</${State}> `}
    ${kind.may_vanish && html`<${State} state="spot" tone="violet">${t("fleet.vanish")}</${State}> `}${kind.why}</span>`;
}

/** @param {{decisions: any[]}} props */
export function Decisions({ decisions }) {
  const columns = [
    { name: "at", title: t("fleet.at"), cell: (/** @type {any} */ row) => html`<${DateTime} at=${row.at} />` },
    {
      name: "kind",
      title: t("fleet.kind"),
      cell: (/** @type {any} */ row) => html`<strong>${row.pool}</strong> / ${row.kind}`,
    },
    {
      name: "change",
      title: t("fleet.change"),
      end: true,
      cell: (/** @type {any} */ row) =>
        html`<strong class="number">${row.change > 0 ? "+" : "−"}${Math.abs(row.change)}</strong>`,
    },
    {
      name: "stood",
      title: t("fleet.stood"),
      wide: true,
      cell: (/** @type {any} */ row) => (row.standing ? t("fleet.standing", row.standing) : "–"),
    },
    {
      name: "backlog",
      title: t("fleet.backlog"),
      end: true,
      cell: (/** @type {any} */ row) => (row.demand ? duration(row.demand.backlog_s) : "–"),
    },
    {
      name: "why",
      title: t("fleet.why"),
      wide: true,
      cell: (/** @type {any} */ row) => html`<span class="why small">${row.why}</span>`,
    },
  ];
  const empty = html`<${Empty} icon="fleet" title=${t("fleet.decisions.none")}><p>${t("fleet.decisions.hint")}</p></${Empty}>`;
  return html`<${Table} label=${t("fleet.decisions")} rows=${decisions} id=${(/** @type {any} */ row) => `${row.at} ${row.pool} ${row.kind} ${row.change}`} columns=${columns} empty=${empty} />`;
}
