// Workers of every cluster, one by one: what each holds and does, and draining, replacing and calling it back.
import { api } from "../../lib/api.js";
import { pageUrl } from "../../lib/base.js";
import { may } from "../../lib/session.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { TimeAgo } from "../../parts/Amounts.js";
import { Empty } from "../../parts/Empty.js";
import { Filters, filterValues } from "../../parts/Filters.js";
import { Progress } from "../../parts/Progress.js";
import { State } from "../../parts/State.js";
import { Table } from "../../parts/Table.js";
import { toast, toastProblem } from "../../parts/Toast.js";
import { Asking } from "./Asking.js";
import { doing, shareOf, stageWord } from "./doing.js";
import { filterOf } from "./filter.js";

/** @param {{list: any}} props `list`: as `useList` gives it */
export function Workers({ list }) {
  const [asked, setAsked] = useState(/** @type {{worker: any, kind: "drain" | "replace"} | null} */ (null));
  const filters = filterOf(list.rows);
  const rows = list.rows.filter((/** @type {any} */ row) =>
    Object.entries(filterValues(filters)).every(
      ([name, value]) => (name === "does" ? doing(row).state : row[name]) === value,
    ),
  );
  const resume = async (/** @type {any} */ worker) => {
    try {
      await api(`/v1/admin/workers/${encodeURIComponent(worker.id)}/resume`, { method: "POST" });
      toast(t("fleet.called", { worker: worker.name }));
    } catch (problem) {
      toastProblem(problem);
    }
    list.reload();
  };
  const done = () => {
    setAsked(null);
    list.reload();
  };
  const button = (/** @type {string} */ word, /** @type {any} */ worker, /** @type {() => void} */ act) =>
    html`<button class="button small quiet" aria-label=${t(`fleet.${word}.of`, { worker: worker.name })} onClick=${act}>${t(`fleet.${word}`)}</button>`;
  const actions = (/** @type {any} */ worker) => html`
    ${worker.order && button("call", worker, () => resume(worker))}
    ${worker.incarnation !== null && button("drain", worker, () => setAsked({ worker, kind: "drain" }))}
    ${worker.incarnation !== null && button("replace", worker, () => setAsked({ worker, kind: "replace" }))}
  `;
  const columns = [
    {
      name: "worker",
      title: t("fleet.worker"),
      cell: (/** @type {any} */ row) =>
        html`<strong>${row.name}</strong> <span class="muted small">${row.pool} · ${row.cluster}</span>`,
    },
    {
      name: "state",
      title: t("fleet.does"),
      wide: true,
      cell: (/** @type {any} */ row) => html`<${Doing} worker=${row} />`,
    },
    {
      name: "renders",
      title: t("fleet.renders"),
      wide: true,
      cell: (/** @type {any} */ row) => html`<${Renders} renders=${row.renders} />`,
    },
    {
      name: "model",
      title: t("fleet.model"),
      cell: (/** @type {any} */ row) =>
        html`${row.model ?? "–"}${row.adapters.length > 0 && html` <span class="muted small" title=${row.adapters.join(", ")}>+ ${row.adapters.join(", ")}</span>`}`,
    },
    { name: "beat", title: t("fleet.beat"), cell: (/** @type {any} */ row) => html`<${TimeAgo} at=${row.beat_at} />` },
    ...(may("operate")
      ? [{ name: "act", title: html`<span class="unseen">${t("fleet.act")}</span>`, end: true, cell: actions }]
      : []),
  ];
  const empty = list.rows.length
    ? html`<${Empty} icon="filter" title=${t("fleet.none.fits")} />`
    : html`<${Empty} icon="fleet" title=${t("fleet.none")}><p>${t("fleet.none.hint")}</p></${Empty}>`;
  return html`
    <${Filters} filters=${filters} />
    <${Table} label=${t("fleet.workers")} ...${list} rows=${rows} columns=${columns} empty=${empty} />
    ${asked && html`<${Asking} ...${asked} onClose=${() => setAsked(null)} done=${done} />`}
  `;
}

/** In one word what it does; and what was asked of it, or why it cannot. */
function Doing(/** @type {{worker: any}} */ { worker }) {
  const { state } = doing(worker);
  const { order } = worker;
  return html`
    <${State} state=${state} />
    ${order && html` <span class="small muted" title=${order.asked_by}>${t(`fleet.order.${order.kind}`)}${order.left_s !== null && ` · ${t("fleet.left", { seconds: Math.round(order.left_s) })}`}</span>`}
    ${worker.reason && html` <span class="small reason" title="${worker.reason} ${worker.detail ?? ""}">${worker.reason}${worker.failures > 1 && ` (${worker.failures}×)`}</span>`}
  `;
}

/** Each job that it holds, with its stage and step. */
function Renders(/** @type {{renders: any[]}} */ { renders }) {
  if (!renders.length) return html`<span class="muted">–</span>`;
  return html`<span class="renders">${renders.map(
    (render) => html`
      <span class="row">
        <a class="mono small" title="${render.job} · ${render.tenant}" href=${pageUrl(`/jobs/${render.job}`)}>…${render.job.slice(-6)}</a>
        <${Progress} value=${shareOf(render)} label=${render.job} tone=${render.stage === "preempted" ? "violet" : "blue"} text="${stageWord(render.stage)} ${render.step}/${render.steps}" />
      </span>
    `,
  )}</span>`;
}
