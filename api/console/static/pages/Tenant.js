// One tenant: its weight, limits and how much of them is used, guarantees, budgets, keys; and its end.
import { api } from "../lib/api.js";
import { pageUrl } from "../lib/base.js";
import { useGet } from "../lib/data.js";
import { count, number, percent, short } from "../lib/numbers.js";
import { go } from "../lib/route.js";
import { may, session } from "../lib/session.js";
import { html, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Card, Figures, Page } from "../parts/Card.js";
import { ConfirmByName, Dialog } from "../parts/Dialog.js";
import { CheckField, Form, TextField } from "../parts/Field.js";
import { Icon } from "../parts/Icon.js";
import { Loaded } from "../parts/Problem.js";
import { toast } from "../parts/Toast.js";
import { Budgets } from "./tenants/Budgets.js";
import { Keys } from "./tenants/Keys.js";
import { change, Limits } from "./tenants/Limits.js";
import { Shares } from "./tenants/Shares.js";

export function Tenant(/** @type {{id: string}} */ { id }) {
  const path = `/v1/admin/tenants/${encodeURIComponent(id)}`;
  const tenant = useGet(path);
  const limits = useGet(`${path}/limits`, {}, { everyMs: 10_000 });
  const usage = useGet("/v1/admin/usage", { tenant: id });
  const reload = () => {
    tenant.reload();
    limits.reload();
  };
  return html`
    <${Page} title=${id} crumb=${html`<a href=${pageUrl("/tenants")}>${t("nav.tenants")}</a>`}>
      <${Loaded} of=${tenant}>
        ${(/** @type {any} */ data) => html`
          <div class="stack wide tenant">
            <${Head} id=${id} path=${path} tenant=${data} limits=${limits.data} usage=${usage.data} reload=${reload} />
            <${Card} title=${t("tenants.limits")} bare=${true}>
              <${Loaded} of=${limits}>${(/** @type {any} */ each) => html`<${Limits} path=${path} limits=${each.data} reload=${reload} />`}</${Loaded}>
            </${Card}>
            <div class="grid half">
              <${Shares} tenant=${id} />
              <${Budgets} path=${path} />
            </div>
            <section class="stack"><h2>${t("tenants.keys")}</h2><${Keys} tenant=${id} /></section>
            ${may("admin") && id !== session.value?.tenant && html`<${End} id=${id} path=${path} />`}
          </div>
        `}
      </${Loaded}>
    </${Page}>
  `;
}

function Head(
  /** @type {{id: string, path: string, tenant: any, limits: any, usage: any, reload: () => void}} */ {
    id,
    path,
    tenant,
    limits,
    usage,
    reload,
  },
) {
  const [editing, setEditing] = useState(false);
  const used = (/** @type {string} */ name) =>
    limits?.data.find((/** @type {any} */ each) => each.limit === name)?.used;
  const total = usage?.total;
  return html`
    <${Figures} figures=${[
      {
        name: t("tenants.weight"),
        value: html`<span class="row tight">${number(tenant.weight)}${may("admin") && html`<button class="button small quiet" onClick=${() => setEditing(true)}>${t("tenants.change")}</button>`}</span>`,
      },
      {
        name: t("tenants.limit.queued"),
        value: count(used("queued") ?? 0),
        href: `${pageUrl("/jobs")}?state=queued&tenant=${encodeURIComponent(id)}`,
      },
      {
        name: t("tenants.limit.running"),
        value: count(used("running") ?? 0),
        href: `${pageUrl("/jobs")}?state=running&tenant=${encodeURIComponent(id)}`,
      },
      {
        name: t("tenants.month"),
        value: total ? short(total.gpu_seconds) : "–",
        note:
          total && total.gpu_seconds > 0
            ? t("tenants.wasted", { share: percent(total.wasted_gpu_seconds / total.gpu_seconds, 1) })
            : null,
        href: `${pageUrl("/usage")}?tenant=${encodeURIComponent(id)}`,
      },
    ]} />
    ${editing && html`<${Weight} path=${path} weight=${tenant.weight} reload=${reload} onClose=${() => setEditing(false)} />`}
  `;
}

function Weight(
  /** @type {{path: string, weight: number, reload: () => void, onClose: () => void}} */ {
    path,
    weight,
    reload,
    onClose,
  },
) {
  const [typed, setTyped] = useState(String(weight));
  const save = async () => {
    await change(path, { weight: Number(typed) });
    reload();
    onClose();
    toast(t("tenants.saved"), { undo: () => change(path, { weight }).then(reload) });
  };
  return html`
    <${Dialog} title=${t("tenants.weight")} onClose=${onClose}>
      <${Form} onSubmit=${save} action=${t("save")} fields=${["weight"]} onCancel=${onClose}>
        ${(/** @type {(field: string) => string | null} */ wrong) => html`<${TextField} label=${t("tenants.weight")} hint=${t("tenants.weight.hint")} type="number" step="any" min="0" value=${typed} onInput=${setTyped} wrong=${wrong("weight")} />`}
      </${Form}>
    </${Dialog}>
  `;
}

function End(/** @type {{id: string, path: string}} */ { id, path }) {
  const [asking, setAsking] = useState(false);
  const [keep, setKeep] = useState(false);
  const erase = async () => {
    await api(`${path}/erasure`, { method: "POST", body: { confirm: id, keep_usage: keep } });
    toast(t("tenants.erase.begun"));
    go("/tenants?tab=erasures");
  };
  return html`
    <${Card} title=${t("tenants.erase.title")} class="danger">
      <div class="row"><p class="grow muted">${t("tenants.erase.hint")}</p>
        <button class="button danger" onClick=${() => setAsking(true)}><${Icon} name="trash" />${t("tenants.erase")}</button></div>
    </${Card}>
    ${
      asking &&
      html`<${ConfirmByName} title=${t("tenants.erase.ask", { name: id })} action=${t("tenants.erase")} name=${id} onClose=${() => setAsking(false)} onConfirm=${erase}>
        <div class="stack"><p>${t("tenants.erase.warn")}</p><${CheckField} label=${t("tenants.erase.keep")} checked=${keep} onInput=${setKeep} /></div>
      </${ConfirmByName}>`
    }
  `;
}
