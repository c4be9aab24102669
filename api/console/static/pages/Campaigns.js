// The list of campaigns: where each stands, how far it is, what it spent, and whether its deadline holds.
import { pageUrl } from "../lib/base.js";
import { useList } from "../lib/data.js";
import { count } from "../lib/numbers.js";
import { go } from "../lib/route.js";
import { may } from "../lib/session.js";
import { html } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { TimeAgo } from "../parts/Amounts.js";
import { Page } from "../parts/Card.js";
import { Empty } from "../parts/Empty.js";
import { Filters, filterValues } from "../parts/Filters.js";
import { Icon } from "../parts/Icon.js";
import { State, stateWord } from "../parts/State.js";
import { Table } from "../parts/Table.js";
import { Finish, RowShares, spentOf } from "./campaign/Figures.js";

const STATES = [
  "draft",
  "ingesting",
  "planned",
  "sampling",
  "awaiting_approval",
  "running",
  "paused",
  "finishing",
  "completed",
  "cancelled",
  "failed",
];

/** @type {() => import("../parts/Table.js").Column<any>[]} */
const columns = () => [
  {
    name: "name",
    title: t("campaigns.name"),
    cell: (row) => html`<a href=${pageUrl(`/campaigns/${row.id}`)}>${row.name || row.id.slice(-8)}</a>`,
  },
  { name: "state", title: t("campaigns.state"), cell: (row) => html`<${State} state=${row.state} />` },
  {
    name: "progress",
    title: t("campaigns.progress"),
    width: "180px",
    cell: (row) => html`<${RowShares} counts=${row.counts} />`,
  },
  { name: "rows", title: t("campaigns.rows"), end: true, cell: (row) => count(row.counts.rows) },
  {
    name: "failed",
    title: t("campaigns.failed"),
    end: true,
    cell: (row) => html`<span class=${row.counts.failed ? "bad" : "faint"}>${count(row.counts.failed)}</span>`,
  },
  { name: "finish", title: t("campaigns.finish"), cell: (row) => html`<${Finish} campaign=${row} />` },
  { name: "spent", title: t("campaigns.spent"), end: true, cell: (row) => spentOf(row.spent) },
  { name: "created", title: t("campaigns.created"), cell: (row) => html`<${TimeAgo} at=${row.created_at} />` },
];

export function Campaigns() {
  const filters = [
    {
      name: "state",
      label: t("campaigns.state"),
      options: STATES.map((state) => /** @type {[string, string]} */ ([state, stateWord(state)])),
    },
  ];
  const list = useList("/v1/campaigns", filterValues(filters), { limit: 50, everyMs: 5000 });
  const make =
    may("campaigns") &&
    html`<a class="button primary" href=${pageUrl("/new/campaign")}><${Icon} name="plus" />${t("campaigns.new")}</a>`;
  const empty = html`
    <${Empty} icon="campaigns" title=${t("campaigns.empty")} action=${make}>
      <p>${t("campaigns.empty.what")}</p>
    </${Empty}>
  `;
  return html`
    <${Page} title=${t("campaigns.title")} lead=${t("campaigns.lead")} actions=${make}>
      <div class="campaigns">
        <${Filters} filters=${filters} />
        <${Table} label=${t("campaigns.title")} ...${list} columns=${columns()} empty=${empty}
          open=${(/** @type {any} */ row) => go(`/campaigns/${row.id}`)} />
      </div>
    </${Page}>
  `;
}
