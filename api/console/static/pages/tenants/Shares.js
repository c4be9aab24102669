// What a tenant has of single pools: workers that it is sure of, and how many jobs it may run there.
import { api } from "../../lib/api.js";
import { useGet } from "../../lib/data.js";
import { count } from "../../lib/numbers.js";
import { may } from "../../lib/session.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Card } from "../../parts/Card.js";
import { Dialog } from "../../parts/Dialog.js";
import { Form, TextField } from "../../parts/Field.js";
import { Loaded } from "../../parts/Problem.js";
import { Table } from "../../parts/Table.js";
import { toast } from "../../parts/Toast.js";

/** @param {{tenant: string}} props */
export function Shares({ tenant }) {
  const shares = useGet("/v1/admin/shares");
  const pools = useGet("/v1/admin/pools");
  const [editing, setEditing] = useState(/** @type {any} */ (null));
  const rows = (pools.data?.data ?? []).map((/** @type {any} */ pool) => {
    const its = shares.data?.data.find((/** @type {any} */ each) => each.tenant === tenant && each.pool === pool.id);
    return { pool: pool.id, guaranteed: its?.guaranteed ?? 0, running: its?.running ?? null };
  });
  const columns = [
    { name: "pool", title: t("tenants.pool"), cell: (/** @type {any} */ row) => row.pool },
    {
      name: "guaranteed",
      title: t("tenants.guaranteed"),
      end: true,
      cell: (/** @type {any} */ row) => count(row.guaranteed),
    },
    {
      name: "running",
      title: t("tenants.cap"),
      end: true,
      cell: (/** @type {any} */ row) => (row.running === null ? "∞" : count(row.running)),
    },
    may("admin") && {
      name: "do",
      title: html`<span class="unseen">${t("tenants.actions")}</span>`,
      end: true,
      cell: (/** @type {any} */ row) =>
        html`<button class="button small quiet" aria-label=${t("tenants.share.change", { pool: row.pool })} onClick=${() => setEditing(row)}>${t("tenants.change")}</button>`,
    },
  ].filter(Boolean);
  return html`
    <${Card} title=${t("tenants.shares")} bare=${true}>
      <${Loaded} of=${shares}>${() => html`<${Table} label=${t("tenants.shares")} rows=${rows} id=${(/** @type {any} */ row) => row.pool} columns=${columns} />`}</${Loaded}>
    </${Card}>
    ${editing && html`<${Edit} tenant=${tenant} of=${editing} reload=${shares.reload} onClose=${() => setEditing(null)} />`}
  `;
}

function Edit(
  /** @type {{tenant: string, of: any, reload: () => void, onClose: () => void}} */ { tenant, of, reload, onClose },
) {
  const [guaranteed, setGuaranteed] = useState(String(of.guaranteed));
  const [running, setRunning] = useState(of.running === null ? "" : String(of.running));
  const put = (/** @type {any} */ body) =>
    api(`/v1/admin/tenants/${encodeURIComponent(tenant)}/shares/${encodeURIComponent(of.pool)}`, {
      method: "PUT",
      body,
    });
  const save = async () => {
    await put({ guaranteed: Number(guaranteed), running: running === "" ? null : Number(running) });
    reload();
    onClose();
    toast(t("tenants.saved"), { undo: () => put({ guaranteed: of.guaranteed, running: of.running }).then(reload) });
  };
  return html`
    <${Dialog} title=${t("tenants.share.title", { pool: of.pool })} onClose=${onClose}>
      <${Form} onSubmit=${save} action=${t("save")} fields=${["guaranteed", "running"]} onCancel=${onClose}>
        ${(/** @type {(field: string) => string | null} */ wrong) => html`
          <${TextField} label=${t("tenants.guaranteed")} hint=${t("tenants.guaranteed.hint")} type="number" min="0" value=${guaranteed} onInput=${setGuaranteed} wrong=${wrong("guaranteed")} />
          <${TextField} label=${t("tenants.cap")} hint=${t("tenants.cap.hint")} type="number" min="0" value=${running} onInput=${setRunning} wrong=${wrong("running")} />
        `}
      </${Form}>
    </${Dialog}>
  `;
}
