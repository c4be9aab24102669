// A tenant's limits and quotas: its own, what holds, how much is used; and how they are changed.
import { api } from "../../lib/api.js";
import { bytes, count } from "../../lib/numbers.js";
import { may } from "../../lib/session.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Dialog } from "../../parts/Dialog.js";
import { Form, SelectField, TextField } from "../../parts/Field.js";
import { Progress } from "../../parts/Progress.js";
import { Table } from "../../parts/Table.js";
import { toast } from "../../parts/Toast.js";

/** Changes what is named of a tenant. @param {string} path @param {Record<string, unknown>} body @param {string} [method] */
export const change = (path, body, method = "PATCH") => api(path, { method, body });

const BYTES = new Set(["row_bytes", "stored_bytes"]);
const amount = (/** @type {string} */ limit, /** @type {number} */ value) =>
  BYTES.has(limit) ? bytes(value) : count(value);

/** @param {{path: string, limits: any[], reload: () => void}} props */
export function Limits({ path, limits, reload }) {
  const [editing, setEditing] = useState(/** @type {any} */ (null));
  const columns = [
    { name: "limit", title: t("tenants.limit"), cell: (/** @type {any} */ each) => t(`tenants.limit.${each.limit}`) },
    {
      name: "own",
      title: t("tenants.limit.own"),
      end: true,
      cell: (/** @type {any} */ each) => {
        if (each.own === null) return html`<span class="faint">${t("tenants.default")}</span>`;
        return each.own === "none" ? t("tenants.nolimit") : amount(each.limit, each.own);
      },
    },
    {
      name: "effective",
      title: t("tenants.limit.effective"),
      end: true,
      cell: (/** @type {any} */ each) => (each.effective === null ? "∞" : amount(each.limit, each.effective)),
    },
    {
      name: "used",
      title: t("tenants.limit.used"),
      cell: (/** @type {any} */ each) => html`<${Used} each=${each} />`,
    },
    may("admin") && {
      name: "do",
      title: html`<span class="unseen">${t("tenants.actions")}</span>`,
      end: true,
      cell: (/** @type {any} */ each) =>
        html`<button class="button small quiet" aria-label=${t("tenants.limit.change", { limit: t(`tenants.limit.${each.limit}`) })} onClick=${() => setEditing(each)}>${t("tenants.change")}</button>`,
    },
  ].filter(Boolean);
  return html`
    <${Table} label=${t("tenants.limits")} rows=${limits} id=${(/** @type {any} */ each) => each.limit} columns=${columns} />
    ${editing && html`<${Edit} path=${path} of=${editing} reload=${reload} onClose=${() => setEditing(null)} />`}
  `;
}

function Used(/** @type {{each: any}} */ { each }) {
  if (each.used === null) return html`<span class="faint">–</span>`;
  const text = amount(each.limit, each.used);
  if (each.effective === null) return html`<span class="number">${text}</span>`;
  const share = each.effective ? each.used / each.effective : 1;
  const tone = share >= 1 ? "red" : share >= 0.8 ? "amber" : "accent";
  return html`<${Progress} label=${t(`tenants.limit.${each.limit}`)} value=${share} tone=${tone} text=${text} />`;
}

function Edit(
  /** @type {{path: string, of: any, reload: () => void, onClose: () => void}} */ { path, of, reload, onClose },
) {
  const wordless = typeof of.own === "number";
  const [kind, setKind] = useState(of.own === null ? "default" : wordless ? "number" : "none");
  const [typed, setTyped] = useState(wordless ? String(of.own) : "");
  const save = async () => {
    const value = kind === "number" ? Number(typed) : kind;
    await change(path, { limits: { [of.limit]: value } });
    reload();
    onClose();
    const before = of.own === null ? "default" : of.own;
    toast(t("tenants.saved"), { undo: () => change(path, { limits: { [of.limit]: before } }).then(reload) });
  };
  const field = `limits.${of.limit}`;
  return html`
    <${Dialog} title=${t(`tenants.limit.${of.limit}`)} onClose=${onClose}>
      <${Form} onSubmit=${save} action=${t("save")} fields=${[field, of.limit]} onCancel=${onClose}>
        ${(/** @type {(field: string) => string | null} */ wrong) => html`
          <${SelectField} label=${t("tenants.limit.kind")} value=${kind} onInput=${setKind} options=${["default", "number", "none"].map((each) => [each, t(`tenants.limit.kind.${each}`)])} />
          ${kind === "number" && html`<${TextField} label=${t("tenants.limit.value")} type="number" step="any" min="0" value=${typed} onInput=${setTyped} wrong=${wrong(field) ?? wrong(of.limit)} />`}
        `}
      </${Form}>
    </${Dialog}>
  `;
}
