// Windows over the page: the browser's own modal dialog, which keeps the focus inside and gives it back.
import { classes, html, useEffect, useId, useRef, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Icon } from "./Icon.js";
import { ProblemBox } from "./Problem.js";

/** @param {{title: string, onClose?: () => void, wide?: boolean, children?: any}} props without `onClose` it cannot be closed */
export function Dialog({ title, onClose, wide = false, children }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const leaving = useRef(false);
  const name = useId();
  useEffect(() => {
    const dialog = /** @type {HTMLDialogElement} */ (element.current);
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    dialog.showModal();
    /** @type {HTMLElement | null} */ (
      dialog.querySelector("[autofocus], .body input, .body select, .body textarea, footer button")
    )?.focus();
    return () => {
      leaving.current = true;
      dialog.close();
      before?.focus?.();
    };
  }, []);
  // A browser closes a dialog at the second Escape whatever the page says.
  const closed = () => {
    if (leaving.current) return;
    if (onClose) onClose();
    else element.current?.showModal();
  };
  const cancel = (/** @type {Event} */ event) => {
    event.preventDefault();
    onClose?.();
  };
  const outside = (/** @type {MouseEvent} */ event) => event.target === element.current && onClose?.();
  return html`
    <dialog ref=${element} class=${classes("dialog", wide && "wide")} aria-labelledby=${name} onCancel=${cancel} onClose=${closed} onMouseDown=${outside}>
      <header>
        <h2 id=${name}>${title}</h2>
        ${onClose && html`<button type="button" class="button icon small quiet" aria-label=${t("close")} onClick=${onClose}><${Icon} name="close" /></button>`}
      </header>
      <div class="body">${children}</div>
    </dialog>
  `;
}

/**
 * Asks before something is done. With `name`, that has to be typed first: for what cannot be undone.
 * @param {{title: string, children?: any, action: string, name?: string, danger?: boolean, onClose: () => void,
 *   onConfirm: () => Promise<any> | any}} props
 */
export function Confirm({ title, children, action, name, danger = Boolean(name), onClose, onConfirm }) {
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(/** @type {any} */ (null));
  const field = useId();
  const confirm = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      await onConfirm();
      onClose();
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
  };
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      <form class="form" onSubmit=${confirm}>
        ${children && html`<div class="muted">${children}</div>`}
        ${
          name &&
          html`<div class="field">
          <label for=${field}>${t("confirm.type", { name })}</label>
          <input id=${field} class="input" autocomplete="off" spellcheck=${false} value=${typed} onInput=${(/** @type {any} */ e) => setTyped(e.target.value)} />
        </div>`
        }
        <${ProblemBox} problem=${problem} />
        <footer>
          <button type="button" class="button" onClick=${onClose}>${t("cancel")}</button>
          <button class=${classes("button", danger ? "danger" : "primary")} disabled=${busy || (name !== undefined && typed !== name)}>${action}</button>
        </footer>
      </form>
    </${Dialog}>
  `;
}

/** For what destroys: its name has to be typed. @param {Parameters<typeof Confirm>[0] & {name: string}} props */
export const ConfirmByName = (props) => html`<${Confirm} ...${props} danger=${true} />`;
