// What waits, runs and ended now, by pool, by priority and by tenant, and what is expected of it.
import { pageUrl } from "../../lib/base.js";
import { count } from "../../lib/numbers.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Duration, TimeAgo } from "../../parts/Amounts.js";
import { Card } from "../../parts/Card.js";
import { State } from "../../parts/State.js";
import { Table } from "../../parts/Table.js";

/** @typedef {{waiting: number, running: number, oldest_wait_s: number | null, ended_hour: any, ended_day: any}} Amounts */

const AMOUNTS = () => [
  {
    name: "waiting",
    title: t("overview.waiting"),
    end: true,
    cell: (/** @type {Amounts} */ row) => count(row.waiting),
  },
  {
    name: "oldest",
    title: t("overview.wait"),
    end: true,
    cell: (/** @type {Amounts} */ row) =>
      row.oldest_wait_s === null ? "–" : html`<${Duration} seconds=${row.oldest_wait_s} />`,
  },
  {
    name: "running",
    title: t("overview.running"),
    end: true,
    cell: (/** @type {Amounts} */ row) => count(row.running),
  },
];
const ENDED = () => [
  {
    name: "hour",
    title: t("overview.hour.short"),
    end: true,
    cell: (/** @type {Amounts} */ row) => html`<${Ended} ends=${row.ended_hour} />`,
  },
  {
    name: "day",
    title: t("overview.day.short"),
    end: true,
    cell: (/** @type {Amounts} */ row) => html`<${Ended} ends=${row.ended_day} />`,
  },
];

/** Succeeded, and behind it in red what failed. */
function Ended(/** @type {{ends: any}} */ { ends }) {
  if (!ends) return "–";
  const failed = ends.failed
    ? html` <span class="tone-red failed" title=${t("overview.flow.failed")}>+ ${count(ends.failed)}</span>`
    : null;
  return html`<span class="number nowrap">${count(ends.succeeded)}${failed}</span>`;
}

/** @param {{pools: any[], all: boolean}} props */
export function Pools({ pools, all }) {
  if (!pools.length) return null;
  const columns = [
    {
      name: "pool",
      title: t("overview.pool"),
      cell: (/** @type {any} */ row) =>
        html`<strong>${row.pool}</strong> <span class="muted small">${row.model}</span> ${row.paused && html`<span title=${row.paused}><${State} state="paused" /></span>`}`,
    },
    ...AMOUNTS(),
    ...(all
      ? [
          {
            name: "scheduled",
            title: t("overview.scheduled"),
            end: true,
            cell: (/** @type {any} */ row) => count(row.scheduled),
          },
          ...ENDED(),
        ]
      : []),
    {
      name: "next",
      title: t("overview.next"),
      cell: (/** @type {any} */ row) => (row.next_start_at ? html`<${TimeAgo} at=${row.next_start_at} />` : "–"),
    },
    ...(all
      ? [
          {
            name: "done",
            title: t("overview.done"),
            cell: (/** @type {any} */ row) =>
              html`<${Done} forecast=${row.forecast} busy=${row.waiting + row.running > 0} />`,
          },
        ]
      : []),
  ];
  return html`<${Card} title=${t("overview.by.pool")} bare><${Table} label=${t("overview.by.pool")} rows=${pools} id=${(/** @type {any} */ row) => row.pool} columns=${columns} /></${Card}>`;
}

/** When a pool has done all that it has, with the range behind it. */
function Done(/** @type {{forecast: any, busy: boolean}} */ { forecast, busy }) {
  if (!forecast || !busy) return "–";
  if (!forecast.likely_at)
    return html`<span class="tone-red failed" title=${forecast.reason ?? ""}>${t("overview.never")}</span>`;
  return html`<${TimeAgo} at=${forecast.likely_at} /> <span class="muted small">${t("overview.range")} <${TimeAgo} at=${forecast.low_at} /> – ${forecast.high_at ? html`<${TimeAgo} at=${forecast.high_at} />` : t("overview.never")}</span>`;
}

/** @param {{priorities: any[], all: boolean}} props */
export function Priorities({ priorities, all }) {
  if (!priorities.length) return null;
  const columns = [
    {
      name: "priority",
      title: t("overview.priority"),
      cell: (/** @type {any} */ row) => html`<span class="number">${row.priority}</span>`,
    },
    ...AMOUNTS(),
    ...(all ? ENDED() : []),
  ];
  return html`<${Card} title=${t("overview.by.priority")} bare><${Table} label=${t("overview.by.priority")} rows=${priorities} id=${(/** @type {any} */ row) => row.priority} columns=${columns} /></${Card}>`;
}

/** @param {{tenants: any[], more: number}} props */
export function Tenants({ tenants, more }) {
  if (!tenants.length) return null;
  const link = (/** @type {any} */ row) =>
    html`<a href=${pageUrl(`/jobs?tenant=${encodeURIComponent(row.tenant)}`)}>${row.tenant}</a>`;
  const columns = [{ name: "tenant", title: t("overview.tenant"), cell: link }, ...AMOUNTS(), ...ENDED()];
  return html`
    <${Card} title=${t("overview.by.tenant")} bare>
      <${Table} label=${t("overview.by.tenant")} rows=${tenants} id=${(/** @type {any} */ row) => row.tenant} columns=${columns} />
      ${more > 0 && html`<p class="muted small beside">${t("overview.more", { count: more })}</p>`}
    </${Card}>
  `;
}
