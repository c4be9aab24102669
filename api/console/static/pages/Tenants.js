// Tenants, keys of all and erasures for administrators; for everybody else the keys of their own tenant.
import { pageUrl } from "../lib/base.js";
import { useGet, useList } from "../lib/data.js";
import { count, number } from "../lib/numbers.js";
import { go } from "../lib/route.js";
import { isAdmin, may } from "../lib/session.js";
import { html, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { DateTime, TimeAgo } from "../parts/Amounts.js";
import { Page } from "../parts/Card.js";
import { Id } from "../parts/Copy.js";
import { Dialog } from "../parts/Dialog.js";
import { Empty } from "../parts/Empty.js";
import { Form, TextField } from "../parts/Field.js";
import { Icon } from "../parts/Icon.js";
import { State } from "../parts/State.js";
import { Table } from "../parts/Table.js";
import { Tabs } from "../parts/Tabs.js";
import { Keys } from "./tenants/Keys.js";
import { change } from "./tenants/Limits.js";

export function Tenants() {
  if (!isAdmin.value)
    return html`<${Page} title=${t("tenants.own")} lead=${t("tenants.own.lead")}><${Keys} /></${Page}>`;
  return html`
    <${Page} title=${t("nav.tenants")} lead=${t("tenants.lead")}>
      <${Tabs} label=${t("nav.tenants")} tabs=${[
        { name: "tenants", title: t("tenants.tab"), show: () => html`<${All} />` },
        { name: "keys", title: t("tenants.keys"), show: () => html`<${Keys} all=${true} />` },
        { name: "erasures", title: t("tenants.erasures"), show: () => html`<${Erasures} />` },
      ]} />
    </${Page}>
  `;
}

function All() {
  const list = useList("/v1/admin/tenants");
  const shares = useGet("/v1/admin/shares");
  const [making, setMaking] = useState(false);
  const guaranteed = (/** @type {string} */ name) =>
    (shares.data?.data ?? [])
      .filter((/** @type {any} */ share) => share.tenant === name)
      .reduce((/** @type {number} */ sum, /** @type {any} */ share) => sum + share.guaranteed, 0);
  const columns = [
    {
      name: "name",
      title: t("tenants.name"),
      cell: (/** @type {any} */ row) =>
        html`<a href=${pageUrl(`/tenants/${encodeURIComponent(row.id)}`)}>${row.id}</a>`,
    },
    { name: "weight", title: t("tenants.weight"), end: true, cell: (/** @type {any} */ row) => number(row.weight) },
    {
      name: "guaranteed",
      title: t("tenants.guaranteed"),
      end: true,
      cell: (/** @type {any} */ row) => (guaranteed(row.id) ? count(guaranteed(row.id)) : "–"),
    },
    {
      name: "own",
      title: t("tenants.ownlimits"),
      wide: true,
      cell: (/** @type {any} */ row) =>
        html`<span class="clip">${ownLimits(row) || html`<span class="faint">${t("tenants.defaults")}</span>`}</span>`,
    },
  ];
  return html`
    <div class="stack">
      ${may("admin") && html`<div class="row"><button class="button primary" onClick=${() => setMaking(true)}><${Icon} name="plus" />${t("tenants.new")}</button></div>`}
      <${Table} label=${t("tenants.tab")} ...${list} columns=${columns}
        open=${(/** @type {any} */ row) => go(`/tenants/${encodeURIComponent(row.id)}`)}
        empty=${html`<${Empty} icon="tenants" title=${t("tenants.none")}>${t("tenants.none.hint")}</${Empty}>`} />
      ${making && html`<${NewTenant} onClose=${() => setMaking(false)} />`}
    </div>
  `;
}

const ownLimits = (/** @type {any} */ row) =>
  Object.entries(row.limits)
    .filter(([, value]) => value !== null)
    .map(
      ([name, value]) =>
        `${t(`tenants.limit.${name}`)} ${value === "none" ? "∞" : count(/** @type {number} */ (value))}`,
    )
    .join(" · ");

function NewTenant(/** @type {{onClose: () => void}} */ { onClose }) {
  const [name, setName] = useState("");
  const [weight, setWeight] = useState("1");
  const make = async () => {
    const path = `/v1/admin/tenants/${encodeURIComponent(name.trim())}`;
    await change(path, { weight: Number(weight) }, "PUT");
    go(`/tenants/${encodeURIComponent(name.trim())}`);
  };
  return html`
    <${Dialog} title=${t("tenants.new")} onClose=${onClose}>
      <${Form} onSubmit=${make} action=${t("tenants.make")} fields=${["tenant", "weight"]} onCancel=${onClose}>
        ${(/** @type {(field: string) => string | null} */ wrong) => html`
          <${TextField} label=${t("tenants.name")} value=${name} onInput=${setName} required wrong=${wrong("tenant")} />
          <${TextField} label=${t("tenants.weight")} type="number" step="any" min="0" value=${weight} onInput=${setWeight} hint=${t("tenants.weight.hint")} wrong=${wrong("weight")} />
        `}
      </${Form}>
    </${Dialog}>
  `;
}

function Erasures() {
  const list = useList("/v1/admin/erasures", {}, { everyMs: 5000 });
  const columns = [
    { name: "id", title: t("tenants.erasure"), cell: (/** @type {any} */ row) => html`<${Id} id=${row.id} />` },
    {
      name: "status",
      title: t("tenants.state"),
      cell: (/** @type {any} */ row) => html`<${State} state=${row.status} />`,
    },
    {
      name: "tenant",
      title: t("tenants.name"),
      cell: (/** @type {any} */ row) => row.tenant ?? html`<span class="faint">${t("tenants.erased.name")}</span>`,
    },
    {
      name: "at",
      title: t("tenants.asked"),
      cell: (/** @type {any} */ row) => html`<${TimeAgo} at=${row.requested_at} />`,
    },
    {
      name: "by",
      title: t("tenants.by"),
      cell: (/** @type {any} */ row) => html`<span class="mono clip">${row.requested_by}</span>`,
    },
    {
      name: "waits",
      title: t("tenants.progress"),
      cell: (/** @type {any} */ row) =>
        row.finished_at ? html`<${DateTime} at=${row.finished_at} />` : (row.waits_for ?? t("tenants.atwork")),
    },
    {
      name: "jobs",
      title: t("tenants.erased.jobs"),
      end: true,
      cell: (/** @type {any} */ row) => count(row.erased.jobs ?? 0),
    },
  ];
  return html`<${Table} label=${t("tenants.erasures")} ...${list} columns=${columns}
    empty=${html`<${Empty} icon="trash" title=${t("tenants.erasures.none")}>${t("tenants.erasures.hint")}</${Empty}>`} />`;
}
