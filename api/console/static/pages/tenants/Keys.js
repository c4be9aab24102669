// Keys: of one tenant, of all, or one's own; made, shown once, replaced and revoked.
import { api } from "../../lib/api.js";
import { pageUrl } from "../../lib/base.js";
import { useList } from "../../lib/data.js";
import { may, session } from "../../lib/session.js";
import { dateTime, now } from "../../lib/time.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { TimeAgo } from "../../parts/Amounts.js";
import { Id } from "../../parts/Copy.js";
import { ConfirmByName, Dialog } from "../../parts/Dialog.js";
import { Empty } from "../../parts/Empty.js";
import { CheckField, Form, SelectField } from "../../parts/Field.js";
import { Icon } from "../../parts/Icon.js";
import { Menu } from "../../parts/Menu.js";
import { Once } from "../../parts/Once.js";
import { State } from "../../parts/State.js";
import { Table } from "../../parts/Table.js";
import { toast } from "../../parts/Toast.js";
import { NewKey } from "./NewKey.js";

/** How a key stands, as the API's clock and this one have it. @param {any} key */
const standing = (key) => {
  if (key.revoked_at) return "revoked";
  return key.expires_at && key.expires_at * 1000 <= now.value ? "expired" : "active";
};

/** @param {{tenant?: string, all?: boolean}} props `tenant`: that one's, for administrators; `all`: everybody's; neither: one's own */
export function Keys({ tenant, all = false }) {
  const root = tenant || all ? "/v1/admin/keys" : "/v1/keys";
  const mine = tenant || all ? may("admin") : may("keys");
  const list = useList(root, tenant ? { tenant } : {});
  const [shown, setShown] = useState(/** @type {any} */ (null));
  const close = () => setShown(null);
  const done = (/** @type {any} */ whole) => {
    list.reload();
    setShown(whole?.key ? { once: whole } : null);
  };
  const columns = [
    {
      name: "name",
      title: t("tenants.key.name"),
      cell: (/** @type {any} */ key) =>
        html`<span class="clip">${key.name || html`<span class="faint">${t("tenants.key.unnamed")}</span>`}</span>`,
    },
    { name: "id", title: t("tenants.key.id"), cell: (/** @type {any} */ key) => html`<${Id} id=${key.id} />` },
    all && {
      name: "tenant",
      title: t("tenants.name"),
      cell: (/** @type {any} */ key) =>
        html`<a href=${pageUrl(`/tenants/${encodeURIComponent(key.tenant)}`)}>${key.tenant}</a>`,
    },
    {
      name: "state",
      title: t("tenants.state"),
      cell: (/** @type {any} */ key) =>
        html`<${State} state=${standing(key)} />${key.id === session.value?.key_id && html` <span class="tag">${t("tenants.key.this")}</span>`}`,
    },
    {
      name: "scopes",
      title: t("tenants.key.scopes"),
      wide: true,
      cell: (/** @type {any} */ key) =>
        html`<span class="clip scopes" title=${key.scopes.join(", ")}>${key.scopes.join(", ")}</span>`,
    },
    {
      name: "used",
      title: t("tenants.key.used"),
      cell: (/** @type {any} */ key) =>
        key.last_used_at ? html`<${TimeAgo} at=${key.last_used_at} />` : t("tenants.key.never"),
    },
    {
      name: "expires",
      title: t("tenants.key.expires"),
      cell: (/** @type {any} */ key) => (key.expires_at ? html`<${TimeAgo} at=${key.expires_at} />` : "–"),
    },
    mine && {
      name: "do",
      title: html`<span class="unseen">${t("tenants.actions")}</span>`,
      end: true,
      cell: (/** @type {any} */ key) =>
        standing(key) === "active" &&
        html`<${Menu} label=${t("tenants.key.actions", { name: key.name || key.id })} items=${[
          ...(key.replaced_by
            ? []
            : [{ title: t("tenants.key.rotate"), icon: "again", act: () => setShown({ rotate: key }) }]),
          { title: t("tenants.key.revoke"), icon: "trash", act: () => setShown({ revoke: key }) },
        ]} />`,
    },
  ].filter(Boolean);
  return html`
    <div class="stack">
      ${mine && html`<div class="row"><button class="button primary" onClick=${() => setShown({ make: true })}><${Icon} name="plus" />${t("tenants.key.new")}</button></div>`}
      <${Table} label=${t("tenants.keys")} ...${list} columns=${columns} open=${(/** @type {any} */ key) => setShown({ look: key })}
        empty=${html`<${Empty} icon="key" title=${t("tenants.key.none")}>${t("tenants.key.none.hint")}</${Empty}>`} />
      ${shown?.make && html`<${NewKey} root=${root} tenant=${tenant} all=${all} onDone=${done} onClose=${close} />`}
      ${shown?.look && html`<${Look} of=${shown.look} onClose=${close} />`}
      ${shown?.rotate && html`<${Rotate} root=${root} of=${shown.rotate} onDone=${done} onClose=${close} />`}
      ${shown?.revoke && html`<${Revoke} root=${root} of=${shown.revoke} onDone=${done} onClose=${close} />`}
      ${shown?.once && html`<${Once} title=${t("tenants.key.once")} secret=${shown.once.key} onClose=${close}>${t("tenants.key.once.hint")}</${Once}>`}
    </div>
  `;
}

const OVERLAPS = /** @type {const} */ ([0, 3600, 86_400, 604_800]);

function Rotate(
  /** @type {{root: string, of: any, onDone: (whole: any) => void, onClose: () => void}} */ {
    root,
    of,
    onDone,
    onClose,
  },
) {
  const [overlap, setOverlap] = useState("86400");
  const rotate = async () =>
    onDone(await api(`${root}/${of.id}/rotate`, { method: "POST", body: { overlap_s: Number(overlap) } }));
  return html`
    <${Dialog} title=${t("tenants.key.rotate.title", { name: of.name || of.id })} onClose=${onClose}>
      <p class="muted">${t("tenants.key.rotate.hint")}</p><br />
      <${Form} onSubmit=${rotate} action=${t("tenants.key.rotate")} onCancel=${onClose}>
        ${() => html`<${SelectField} label=${t("tenants.key.overlap")} value=${overlap} onInput=${setOverlap} options=${OVERLAPS.map((seconds) => [String(seconds), t(`tenants.overlap.${seconds}`)])} />`}
      </${Form}>
    </${Dialog}>
  `;
}

function Revoke(
  /** @type {{root: string, of: any, onDone: (nothing?: any) => void, onClose: () => void}} */ {
    root,
    of,
    onDone,
    onClose,
  },
) {
  const [descendants, setDescendants] = useState(false);
  const revoke = async () => {
    await api(`${root}/${of.id}/revoke`, { method: "POST", body: { descendants } });
    toast(t("tenants.key.revoked"));
    onDone();
  };
  const self = of.id === session.value?.key_id;
  return html`
    <${ConfirmByName} title=${t("tenants.key.revoke.title")} action=${t("tenants.key.revoke")} name=${of.name || of.id} onClose=${onClose} onConfirm=${revoke}>
      <div class="stack">
        <p>${t("tenants.key.revoke.hint")}</p>
        ${self && html`<p><strong>${t("tenants.key.revoke.self")}</strong></p>`}
        <${CheckField} label=${t("tenants.key.descendants")} checked=${descendants} onInput=${setDescendants} />
      </div>
    </${ConfirmByName}>
  `;
}

function Look(/** @type {{of: any, onClose: () => void}} */ { of, onClose }) {
  const told = [
    [t("tenants.key.id"), html`<${Id} id=${of.id} />`],
    [t("tenants.name"), of.tenant],
    [t("tenants.state"), html`<${State} state=${standing(of)} />`],
    [
      t("tenants.key.scopes"),
      html`<span class="row tight">${of.scopes.map((/** @type {string} */ scope) => html`<span class="tag">${scope}</span>`)}</span>`,
    ],
    [
      t("tenants.key.allow"),
      of.allow.length ? html`<span class="mono">${of.allow.join(", ")}</span>` : t("tenants.key.anywhere"),
    ],
    [t("tenants.key.made"), dateTime(of.created_at)],
    [t("tenants.key.maker"), of.made_by ? html`<${Id} id=${of.made_by} />` : t("tenants.key.operator")],
    [t("tenants.key.expires"), of.expires_at ? dateTime(of.expires_at) : t("tenants.key.nolimit")],
    [t("tenants.key.used"), of.last_used_at ? dateTime(of.last_used_at) : t("tenants.key.never")],
    [t("tenants.key.revokedat"), of.revoked_at && dateTime(of.revoked_at)],
    [t("tenants.key.replaced"), of.replaced_by && html`<${Id} id=${of.replaced_by} />`],
  ];
  return html`
    <${Dialog} title=${of.name || of.id} onClose=${onClose}>
      <dl class="facts">${told.filter(([, value]) => value).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
    </${Dialog}>
  `;
}
