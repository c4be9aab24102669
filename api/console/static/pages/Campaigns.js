// The list of campaigns: where each stands, how far it is, what it spent, and whether its deadline holds.
import { pageUrl } from "../lib/base.js";
import { useList } from "../lib/data.js";
import { count } from "../lib/numbers.js";
import { go } from "../lib/route.js";
import { may, ofAll, root } from "../lib/session.js";
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

/** @type {(all: boolean) => import("../parts/Table.js").Column<any>[]} */
const columns = (all) => [
  {
    name: "name",
    title: t("campaigns.name"),
    cell: (row) => html`<a href=${pageUrl(`/campaigns/${row.id}`)}>${row.name || row.id.slice(-8)}</a>`,
  },
  ...(all ? [{ name: "tenant", title: t("campaigns.tenant"), cell: (/** @type {any} */ row) => row.tenant }] : []),
  { name: "state", title: t("campaigns.state"), cell: (row) => html`<${State} state=${row.state} />` },
  {
    name: "progress",
    title: t("campaigns.progress"),
    wide: true,
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
  { name: "finish", title: t("campaigns.finish"), wide: true, cell: (row) => html`<${Finish} campaign=${row} />` },
  { name: "spent", title: t("campaigns.spent"), end: true, cell: (row) => spentOf(row.spent) },
  { name: "created", title: t("campaigns.created"), cell: (row) => html`<${TimeAgo} at=${row.created_at} />` },
];

export function Campaigns() {
  const all = ofAll();
  const text = /** @type {const} */ ("text");
  const filters = [
    ...(all ? [{ name: "tenant", label: t("campaigns.tenant"), type: text }] : []),
    { name: "name", label: t("campaigns.name"), type: text },
    {
      name: "state",
      label: t("campaigns.state"),
      options: STATES.map((state) => /** @type {[string, string]} */ ([state, stateWord(state)])),
    },
    {
      name: "at_risk",
      label: t("campaigns.deadline"),
      options: [/** @type {[string, string]} */ (["true", t("campaign.at_risk")])],
    },
  ];
  const wanted = filterValues(filters);
  const list = useList(`${root()}/campaigns`, wanted, { limit: 50, everyMs: 5000 });
  const make =
    may("campaigns") &&
    html`<a class="button primary" href=${pageUrl("/new/campaign")}><${Icon} name="plus" />${t("campaigns.new")}</a>`;
  const empty = Object.keys(wanted).length
    ? html`<${Nothing} list=${list} />`
    : html`
    <${Empty} icon="campaigns" title=${t("campaigns.empty")} action=${make}>
      <p>${t("campaigns.empty.what")}</p>
    </${Empty}>
  `;
  return html`
    <${Page} title=${t("campaigns.title")} lead=${t(all ? "campaigns.lead.all" : "campaigns.lead")} actions=${make}>
      <div class="campaigns">
        <${Filters} filters=${filters} />
        <${Table} label=${t("campaigns.title")} ...${list} columns=${columns(all)} empty=${empty}
          open=${(/** @type {any} */ row) => go(`/campaigns/${row.id}`)} />
      </div>
    </${Page}>
  `;
}

/** No campaign of those that were looked at fits; there may be older ones. @param {{list: any}} props */
const Nothing = ({ list }) => html`
  <${Empty} icon="campaigns" title=${t("campaigns.none")} action=${list.hasMore && html`<button class="button" disabled=${list.loading} onClick=${list.more}>${t("campaigns.older")}</button>`}>
    <p>${t("campaigns.none.what")}</p>
  </${Empty}>
`;
