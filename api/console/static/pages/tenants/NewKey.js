// A new key: whose, what it may, until when and from where.
import { api } from "../../lib/api.js";
import { session } from "../../lib/session.js";
import { classes, html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Dialog } from "../../parts/Dialog.js";
import { CheckField, Form, SelectField, TextField } from "../../parts/Field.js";

const USUAL = ["read", "submit", "campaigns", "webhooks", "keys"];
const ROLES = ["viewer", "operator", "admin"];
const DAYS = /** @type {const} */ ([0, 1, 7, 30, 90, 365]);

/** @param {{root: string, tenant?: string, all: boolean, onDone: (whole: any) => void, onClose: () => void}} props */
export function NewKey({ root, tenant, all, onDone, onClose }) {
  const admin = root !== "/v1/keys";
  const mine = session.value?.rights ?? [];
  const offered = admin ? USUAL : USUAL.filter((scope) => mine.includes(scope));
  const [fields, setFields] = useState({ tenant: tenant ?? "", name: "", role: "", days: "0", allow: "" });
  const [scopes, setScopes] = useState(/** @type {string[]} */ (offered));
  const set = (/** @type {string} */ name) => (/** @type {string} */ value) =>
    setFields((before) => ({ ...before, [name]: value }));
  const tick = (/** @type {string} */ scope) => (/** @type {boolean} */ on) =>
    setScopes((before) => (on ? [...before, scope] : before.filter((each) => each !== scope)));
  const make = async () => {
    const allow = fields.allow.split(/[\s,]+/).filter(Boolean);
    const body = {
      name: fields.name.trim(),
      ...(admin && { tenant: fields.tenant.trim() }),
      ...(fields.role ? { role: fields.role } : {}),
      ...(scopes.length || !fields.role ? { scopes } : {}),
      ...(allow.length && { allow }),
      ...(fields.days !== "0" && { expires_at: Math.floor(Date.now() / 1000) + Number(fields.days) * 86_400 }),
    };
    onDone(await api(root, { method: "POST", body }));
  };
  return html`
    <${Dialog} title=${t("tenants.key.new")} onClose=${onClose}>
      <${Form} onSubmit=${make} action=${t("tenants.key.make")} fields=${["name", "tenant", "scopes", "allow", "expires_at"]} onCancel=${onClose}>
        ${(/** @type {(field: string) => string | null} */ wrong) => html`
          <${TextField} label=${t("tenants.key.name")} hint=${t("tenants.key.name.hint")} value=${fields.name} onInput=${set("name")} maxlength="200" autofocus=${true} wrong=${wrong("name")} />
          ${all && html`<${TextField} label=${t("tenants.name")} value=${fields.tenant} onInput=${set("tenant")} required wrong=${wrong("tenant")} />`}
          <fieldset class=${classes("field", "plain")}>
            <legend class="label">${t("tenants.key.scopes")}</legend>
            ${offered.map((scope) => html`<${CheckField} label=${html`<span>${scope} <span class="muted small">${t(`tenants.scope.${scope}`)}</span></span>`} checked=${scopes.includes(scope)} onInput=${tick(scope)} />`)}
            ${wrong("scopes") && html`<div class="wrong">${wrong("scopes")}</div>`}
          </fieldset>
          ${admin && html`<${SelectField} label=${t("tenants.key.role")} hint=${t("tenants.key.role.hint")} value=${fields.role} onInput=${set("role")} options=${[["", t("tenants.role.none")], ...ROLES.filter((role) => role !== "admin" || session.value?.role === "admin").map((role) => [role, t(`tenants.role.${role}`)])]} />`}
          <${SelectField} label=${t("tenants.key.expires")} value=${fields.days} onInput=${set("days")} options=${DAYS.map((days) => [String(days), t(`tenants.days.${days}`)])} wrong=${wrong("expires_at")} />
          <${TextField} label=${t("tenants.key.allow")} hint=${t("tenants.key.allow.hint")} value=${fields.allow} onInput=${set("allow")} placeholder="203.0.113.0/24" wrong=${wrong("allow")} />
        `}
      </${Form}>
    </${Dialog}>
  `;
}
