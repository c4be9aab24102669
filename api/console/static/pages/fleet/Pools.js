// Pools: what waits and runs there, until when, and pausing and resuming each or the whole queue.
import { api } from "../../lib/api.js";
import { count } from "../../lib/numbers.js";
import { may } from "../../lib/session.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { DateTime, TimeAgo } from "../../parts/Amounts.js";
import { Card } from "../../parts/Card.js";
import { Dialog } from "../../parts/Dialog.js";
import { Form, TextField } from "../../parts/Field.js";
import { State } from "../../parts/State.js";
import { Table } from "../../parts/Table.js";
import { toast, toastProblem } from "../../parts/Toast.js";

/** @param {{pools: any[], reload: () => void}} props */
export function Pools({ pools, reload }) {
  // The pool that is about to be paused; "*" is the whole queue, as the server has it.
  const [pausing, setPausing] = useState(/** @type {string | null} */ (null));
  const whole = pools.some((pool) => pool.pauses.some((/** @type {any} */ pause) => pause.of === "queue"));
  const operates = may("operate");
  const resume = async (/** @type {string} */ pool) => {
    try {
      await api(pool === "*" ? "/v1/admin/queue/resume" : `/v1/admin/pools/${encodeURIComponent(pool)}/resume`, {
        method: "POST",
      });
      toast(pool === "*" ? t("fleet.resumed.all") : t("fleet.resumed", { pool }));
    } catch (problem) {
      toastProblem(problem);
    }
    reload();
  };
  const paused = () => {
    setPausing(null);
    reload();
  };
  const columns = [
    {
      name: "pool",
      title: t("overview.pool"),
      cell: (/** @type {any} */ row) => html`<strong>${row.id}</strong> <span class="muted small">${row.model}</span>`,
    },
    {
      name: "state",
      title: t("fleet.state"),
      wide: true,
      cell: (/** @type {any} */ row) => html`<${Paused} pauses=${row.pauses} />`,
    },
    { name: "waiting", title: t("overview.waiting"), end: true, cell: (/** @type {any} */ row) => count(row.queued) },
    { name: "running", title: t("overview.running"), end: true, cell: (/** @type {any} */ row) => count(row.running) },
    {
      name: "done",
      title: t("overview.done"),
      cell: (/** @type {any} */ row) =>
        row.forecast?.likely_at && row.queued + row.running ? html`<${TimeAgo} at=${row.forecast.likely_at} />` : "–",
    },
    ...(operates
      ? [
          {
            name: "act",
            title: html`<span class="unseen">${t("fleet.act")}</span>`,
            end: true,
            cell: (/** @type {any} */ row) => button(row),
          },
        ]
      : []),
  ];
  const button = (/** @type {any} */ row) =>
    row.pauses.some((/** @type {any} */ pause) => pause.of === "pool")
      ? html`<button class="button small" aria-label=${t("fleet.resume.of", { pool: row.id })} onClick=${() => resume(row.id)}>${t("fleet.resume")}</button>`
      : html`<button class="button small" aria-label=${t("fleet.pause.of", { pool: row.id })} onClick=${() => setPausing(row.id)}>${t("fleet.pause")}</button>`;
  const actions =
    operates &&
    (whole
      ? html`<button class="button small primary" onClick=${() => resume("*")}>${t("fleet.resume.all")}</button>`
      : html`<button class="button small" onClick=${() => setPausing("*")}>${t("fleet.pause.all")}</button>`);
  return html`
    <${Card} title=${t("fleet.pools")} actions=${actions} bare><${Table} label=${t("fleet.pools")} rows=${pools} columns=${columns} /></${Card}>
    ${pausing !== null && html`<${Pausing} pool=${pausing} onClose=${() => setPausing(null)} done=${paused} />`}
  `;
}

/** Who paused it, when and why; both pauses where both stand. */
function Paused(/** @type {{pauses: any[]}} */ { pauses }) {
  if (!pauses.length) return html`<${State} state="active" />`;
  return html`<div class="row"><${State} state="paused" />${pauses.map(
    (pause) => html`
    <span class="small" title="${pause.paused_by}">${pause.of === "queue" && html`<strong>${t("fleet.whole")}</strong> `}${pause.reason} <span class="muted">· <${DateTime} at=${pause.paused_at} /></span></span>`,
  )}</div>`;
}

/** Asks for the reason, which everybody who waits is told. */
function Pausing(/** @type {{pool: string, onClose: () => void, done: () => void}} */ { pool, onClose, done }) {
  const [reason, setReason] = useState("");
  const pause = async () => {
    await api(pool === "*" ? "/v1/admin/queue/pause" : `/v1/admin/pools/${encodeURIComponent(pool)}/pause`, {
      method: "POST",
      body: { reason },
    });
    toast(pool === "*" ? t("fleet.paused.all") : t("fleet.paused", { pool }));
    done();
  };
  return html`
    <${Dialog} title=${pool === "*" ? t("fleet.pause.all.ask") : t("fleet.pause.ask", { pool })} onClose=${onClose}>
      <${Form} onSubmit=${pause} action=${t("fleet.pause")} fields=${["reason"]} onCancel=${onClose}>
        ${(/** @type {(field: string) => string | null} */ wrong) => html`
          <p class="muted">${t("fleet.pause.hint")}</p>
          <${TextField} label=${t("fleet.reason")} hint=${t("fleet.reason.hint")} wrong=${wrong("reason")} value=${reason} onInput=${setReason} />
        `}
      </${Form}>
    </${Dialog}>
  `;
}
