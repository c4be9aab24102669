// A tenant's budgets: what its campaigns and batches may use in each day or month, and what happens on the way there.
import { api } from "../../lib/api.js";
import { useGet } from "../../lib/data.js";
import { count } from "../../lib/numbers.js";
import { may } from "../../lib/session.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Card } from "../../parts/Card.js";
import { Confirm, Dialog } from "../../parts/Dialog.js";
import { Empty } from "../../parts/Empty.js";
import { Form, SelectField, TextField } from "../../parts/Field.js";
import { Menu } from "../../parts/Menu.js";
import { Loaded } from "../../parts/Problem.js";
import { Progress } from "../../parts/Progress.js";
import { toast } from "../../parts/Toast.js";

const NEW = { period: "month", unit: "gpu_seconds", amount: "", actions: [{ percent: 80, do: "tell" }] };

/** @param {{path: string}} props */
export function Budgets({ path }) {
  const budgets = useGet(`${path}/budgets`);
  const [shown, setShown] = useState(/** @type {any} */ (null));
  const close = () => setShown(null);
  const lift = async (/** @type {any} */ each) => {
    await api(`${path}/budgets/${each.period}/${each.unit}`, { method: "DELETE" });
    budgets.reload();
    toast(t("tenants.saved"));
  };
  return html`
    <${Card} title=${t("tenants.budgets")} actions=${may("admin") && html`<button class="button small" onClick=${() => setShown({ edit: NEW, fresh: true })}>${t("tenants.budget.new")}</button>`}>
      <${Loaded} of=${budgets}>
        ${(/** @type {any} */ data) =>
          data.data.length
            ? html`<div class="stack">${data.data.map((/** @type {any} */ each) => html`<${One} each=${each} edit=${() => setShown({ edit: each })} lift=${() => setShown({ lift: each })} />`)}</div>`
            : html`<${Empty} icon="usage" title=${t("tenants.budget.none")}>${t("tenants.budget.none.hint")}</${Empty}>`}
      </${Loaded}>
    </${Card}>
    ${shown?.edit && html`<${Edit} path=${path} of=${shown.edit} fresh=${shown.fresh} reload=${budgets.reload} onClose=${close} />`}
    ${shown?.lift && html`<${Confirm} title=${t("tenants.budget.lift")} action=${t("tenants.budget.lift")} danger=${true} onClose=${close} onConfirm=${() => lift(shown.lift)}>${t("tenants.budget.lift.hint")}</${Confirm}>`}
  `;
}

const nameOf = (/** @type {any} */ each) => `${t(`tenants.unit.${each.unit}`)} ${t(`tenants.period.${each.period}`)}`;

function One(/** @type {{each: any, edit: () => void, lift: () => void}} */ { each, edit, lift }) {
  const share = (each.used + each.reserved) / each.amount;
  const tone = share >= 1 ? "red" : share >= 0.8 ? "amber" : "accent";
  const actions = each.actions
    .map((/** @type {any} */ action) => t(`tenants.budget.at.${action.do}`, { percent: action.percent }))
    .join(" · ");
  return html`
    <div class="budget">
      <div class="row"><strong class="grow">${nameOf(each)}</strong><span class="number">${t("tenants.budget.of", { used: count(each.used), amount: count(each.amount) })}</span>
        ${
          may("admin") &&
          html`<${Menu} label=${t("tenants.budget.actions", { name: nameOf(each) })} items=${[
            { title: t("tenants.change"), icon: "note", act: edit },
            { title: t("tenants.budget.lift"), icon: "trash", act: lift },
          ]} />`
        }
      </div>
      <${Progress} label=${nameOf(each)} value=${share} tone=${tone} />
      <div class="muted small">${[each.reserved ? t("tenants.budget.reserved", { amount: count(each.reserved) }) : "", actions].filter(Boolean).join(" · ")}</div>
    </div>
  `;
}

function Edit(
  /** @type {{path: string, of: any, fresh?: boolean, reload: () => void, onClose: () => void}} */ {
    path,
    of,
    fresh,
    reload,
    onClose,
  },
) {
  const [fields, setFields] = useState({ ...of, amount: String(of.amount) });
  const set = (/** @type {string} */ name) => (/** @type {any} */ value) =>
    setFields((/** @type {any} */ before) => ({ ...before, [name]: value }));
  const at = (/** @type {string} */ what) =>
    String(fields.actions.find((/** @type {any} */ each) => each.do === what)?.percent ?? "");
  const setAt = (/** @type {string} */ what) => (/** @type {string} */ value) => {
    const others = fields.actions.filter((/** @type {any} */ each) => each.do !== what);
    set("actions")(value === "" ? others : [...others, { percent: Number(value), do: what }]);
  };
  const save = async () => {
    const actions = [...fields.actions].sort((a, b) => a.percent - b.percent);
    await api(`${path}/budgets/${fields.period}/${fields.unit}`, {
      method: "PUT",
      body: { amount: Number(fields.amount), actions },
    });
    reload();
    onClose();
    toast(t("tenants.saved"));
  };
  return html`
    <${Dialog} title=${fresh ? t("tenants.budget.new") : nameOf(of)} onClose=${onClose}>
      <${Form} onSubmit=${save} action=${t("save")} fields=${["amount", "actions"]} onCancel=${onClose}>
        ${(/** @type {(field: string) => string | null} */ wrong) => html`
          ${fresh && html`<${SelectField} label=${t("tenants.budget.period")} value=${fields.period} onInput=${set("period")} options=${["day", "month"].map((each) => [each, t(`tenants.period.${each}`)])} />`}
          ${fresh && html`<${SelectField} label=${t("tenants.budget.unit")} value=${fields.unit} onInput=${set("unit")} options=${["gpu_seconds", "money"].map((each) => [each, t(`tenants.unit.${each}`)])} />`}
          <${TextField} label=${t("tenants.budget.amount")} type="number" step="any" min="0" value=${fields.amount} onInput=${set("amount")} wrong=${wrong("amount")} />
          ${["tell", "finish", "cancel"].map((what) => html`<${TextField} label=${t(`tenants.budget.${what}`)} hint=${t(`tenants.budget.${what}.hint`)} type="number" min="1" max="1000" value=${at(what)} onInput=${setAt(what)} />`)}
          ${wrong("actions") && html`<div class="wrong">${wrong("actions")}</div>`}
        `}
      </${Form}>
    </${Dialog}>
  `;
}
