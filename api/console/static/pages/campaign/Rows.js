// A campaign's rows by keyset, with filters that live in the URL, and what can be done to the chosen one.
import { api } from "../../lib/api.js";
import { pageUrl } from "../../lib/base.js";
import { useList } from "../../lib/data.js";
import { number } from "../../lib/numbers.js";
import { go } from "../../lib/route.js";
import { may } from "../../lib/session.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { failureWord } from "../../parts/Failure.js";
import { Filters, filterValues } from "../../parts/Filters.js";
import { Icon } from "../../parts/Icon.js";
import { State, stateWord } from "../../parts/State.js";
import { Table } from "../../parts/Table.js";
import { toast, toastProblem } from "../../parts/Toast.js";

const STATES = ["waiting", "held", "queued", "running", "succeeded", "failed", "cancelled", "dropped", "waived"];
const EVERY_MS = 10_000;

/** @param {{campaign: any, reload: () => void}} props */
export function Rows({ campaign, reload }) {
  const filters = [
    {
      name: "state",
      label: t("campaigns.state"),
      options: STATES.map((state) => /** @type {[string, string]} */ ([state, stateWord(state)])),
    },
    { name: "custom_id", label: t("campaign.row.custom_id"), type: /** @type {const} */ ("text") },
    { name: "reason", label: t("campaign.row.reason"), type: /** @type {const} */ ("text") },
    { name: "var", label: t("campaign.row.var"), type: /** @type {const} */ ("text"), placeholder: "name:value" },
  ];
  const list = useList(`/v1/campaigns/${campaign.id}/rows`, filterValues(filters), { limit: 100, everyMs: EVERY_MS });
  const act = async (/** @type {string} */ verb, /** @type {any} */ row, body = {}) => {
    try {
      await api(`/v1/campaigns/${campaign.id}/${verb}`, { method: "POST", body: { rows: [row.custom_id], ...body } });
      toast(t(`campaign.${verb}.one`, { row: row.custom_id }));
      list.reload();
      reload();
    } catch (problem) {
      toastProblem(problem);
    }
  };
  return html`
    <${Filters} filters=${filters} />
    <${Table} label=${t("campaign.rows")} ...${list} id=${(/** @type {any} */ row) => row.custom_id} columns=${columns(act)}
      open=${(/** @type {any} */ row) => row.video_id && go(`/jobs/${row.video_id}`)}
      empty=${html`<div class="empty">${t(campaign.counts.rows ? "campaign.rows.none" : "campaign.rows.empty")}</div>`} />
  `;
}

/** @param {(verb: string, row: any) => void} act @returns {import("../../parts/Table.js").Column<any>[]} */
const columns = (act) => [
  {
    name: "custom_id",
    title: t("campaign.row.custom_id"),
    cell: (row) =>
      row.video_id ? html`<a href=${pageUrl(`/jobs/${row.video_id}`)}>${row.custom_id}</a>` : row.custom_id,
  },
  { name: "state", title: t("campaigns.state"), cell: (row) => html`<${State} state=${row.state} />` },
  {
    name: "prompt",
    title: t("campaign.row.prompt"),
    wide: true,
    cell: (row) => html`<span title=${row.prompt}>${row.prompt ?? "–"}</span>`,
  },
  {
    name: "why",
    title: t("campaign.row.why"),
    wide: true,
    cell: (row) =>
      row.error
        ? html`<span title=${`${row.error.code}: ${row.error.message}`}>${failureWord(row.error.code)}</span>`
        : row.flags.join(", "),
  },
  { name: "attempts", title: t("campaign.row.attempts"), end: true, cell: (row) => number(row.attempts, 0) },
  { name: "gpu", title: t("campaign.row.gpu_seconds"), end: true, cell: (row) => number(row.gpu_seconds, 1) },
  {
    name: "act",
    title: html`<span class="unseen">${t("campaign.row.act")}</span>`,
    end: true,
    cell: (row) =>
      row.state === "failed" &&
      may("campaigns") &&
      html`<button class="button icon small quiet" aria-label=${t("campaign.retry.row", { row: row.custom_id })} onClick=${() => act("retry", row)}><${Icon} name="again" /></button>
        <button class="button icon small quiet" aria-label=${t("campaign.waive.row", { row: row.custom_id })} onClick=${() => act("waive", row)}><${Icon} name="check" /></button>`,
  },
];
