// The review desk without a campaign: which ones have videos to look at.
import { pageUrl } from "../../lib/base.js";
import { useList } from "../../lib/data.js";
import { count } from "../../lib/numbers.js";
import { go } from "../../lib/route.js";
import { html, useEffect } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Empty } from "../../parts/Empty.js";
import { State } from "../../parts/State.js";
import { Table } from "../../parts/Table.js";

/** @type {() => import("../../parts/Table.js").Column<any>[]} */
const columns = () => [
  {
    name: "name",
    title: t("campaigns.name"),
    cell: (row) => html`<a href=${pageUrl(`/review?campaign=${row.id}`)}>${row.name || row.id.slice(-8)}</a>`,
  },
  { name: "state", title: t("campaigns.state"), cell: (row) => html`<${State} state=${row.state} />` },
  { name: "videos", title: t("review.videos"), end: true, cell: (row) => count(row.counts.succeeded) },
];

export function Choose() {
  const list = useList("/v1/campaigns", {}, { limit: 100 });
  const rows = list.rows.filter((row) => row.counts.succeeded > 0);
  // Where no campaign of a page has a video, those after it may.
  const further = !rows.length && list.hasMore && !list.problem;
  useEffect(() => void (further && list.more()), [further, list.last]);
  const empty = html`
    <${Empty} icon="review" title=${t("review.empty")} action=${html`<a class="button" href=${pageUrl("/campaigns")}>${t("campaigns.title")}</a>`}>
      <p>${t("review.empty.what")}</p>
    </${Empty}>
  `;
  return html`<${Table} label=${t("review.choose")} ...${list} rows=${rows} loaded=${list.loaded && !further} columns=${columns()} empty=${empty}
    open=${(/** @type {any} */ row) => go(`/review?campaign=${row.id}`)} />`;
}
