// Fields of forms with their labels, hints and what is wrong with them; and a form that sends itself.
import { html, useId, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { ProblemBox, sentence } from "./Problem.js";

/**
 * One field. `children` is a control, given as a function of the attributes that bind it to its label.
 * @param {{label: string, hint?: any, wrong?: string | null, children: (attributes: any) => any}} props
 */
export function Field({ label, hint, wrong, children }) {
  const id = useId();
  const told = [hint && `${id}-hint`, wrong && `${id}-wrong`].filter(Boolean).join(" ");
  const attributes = { id, "aria-describedby": told || undefined, "aria-invalid": wrong ? "true" : undefined };
  return html`
    <div class="field">
      <label for=${id}>${label}</label>
      ${children(attributes)} ${hint && html`<div class="hint" id="${id}-hint">${hint}</div>`}
      ${wrong && html`<div class="wrong" id="${id}-wrong">${wrong}</div>`}
    </div>
  `;
}

/** @param {{label: string, value: string | number, onInput: (value: string) => void, type?: string, hint?: any, wrong?: any} & Record<string, any>} props */
export const TextField = ({ label, hint, wrong, value, onInput, type = "text", ...more }) => html`
  <${Field} label=${label} hint=${hint} wrong=${wrong}>
    ${(/** @type {any} */ bound) => html`<input class="input" type=${type} value=${value} onInput=${(/** @type {any} */ e) => onInput(e.target.value)} ...${bound} ...${more} />`}
  </${Field}>
`;

/** @param {{label: string, value: string, onInput: (value: string) => void, hint?: any, wrong?: any} & Record<string, any>} props */
export const AreaField = ({ label, hint, wrong, value, onInput, ...more }) => html`
  <${Field} label=${label} hint=${hint} wrong=${wrong}>
    ${(/** @type {any} */ bound) => html`<textarea class="input" value=${value} onInput=${(/** @type {any} */ e) => onInput(e.target.value)} ...${bound} ...${more}></textarea>`}
  </${Field}>
`;

/** @param {{label: string, value: string, options: [string, string][], onInput: (value: string) => void, hint?: any, wrong?: any}} props `options`: [value, word] */
export const SelectField = ({ label, hint, wrong, value, options, onInput }) => html`
  <${Field} label=${label} hint=${hint} wrong=${wrong}>
    ${(/** @type {any} */ bound) => html`
      <select class="input" value=${value} onChange=${(/** @type {any} */ e) => onInput(e.target.value)} ...${bound}>
        ${options.map(([each, word]) => html`<option value=${each} selected=${each === value}>${word}</option>`)}
      </select>
    `}
  </${Field}>
`;

/** @param {{label: any, checked: boolean, onInput: (checked: boolean) => void}} props */
export const CheckField = ({ label, checked, onInput }) => html`
  <label class="check"><input type="checkbox" checked=${checked} onChange=${(/** @type {any} */ e) => onInput(e.target.checked)} /> ${label}</label>
`;

/**
 * A form that sends itself once, and shows the problem: beside its field where it names one of `fields`.
 * @param {{onSubmit: () => Promise<any>, action: string, fields?: string[], onCancel?: () => void, children: (wrong: (field: string) => string | null) => any}} props
 */
export function Form({ onSubmit, action, fields = [], onCancel, children }) {
  const [problem, setProblem] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setProblem(null);
    try {
      await onSubmit();
    } catch (error) {
      setProblem(error);
    } finally {
      setBusy(false);
    }
  };
  const wrong = (/** @type {string} */ field) => (problem?.param === field ? sentence(problem) : null);
  return html`
    <form class="form" onSubmit=${submit} novalidate>
      ${children(wrong)} ${problem && !fields.includes(problem.param) && html`<${ProblemBox} problem=${problem} />`}
      <footer class="row">
        ${onCancel && html`<button type="button" class="button" onClick=${onCancel}>${t("cancel")}</button>`}
        <button class="button primary" disabled=${busy}>${action}</button>
      </footer>
    </form>
  `;
}
