// Short notices at the foot of the page, with a way back where there is one.
import { html, signal } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Icon } from "./Icon.js";
import { sentence } from "./Problem.js";

/** @typedef {{id: number, text: string, bad?: boolean, undo?: () => any}} Notice */
const notices = signal(/** @type {Notice[]} */ ([]));
const SHOWN_MS = 6000;
let last = 0;

/** Says that something was done; with `undo`, how it is taken back. @param {string} text @param {{undo?: () => any}} [how] */
export const toast = (text, { undo } = {}) => show({ id: ++last, text, undo });

/** Says what went wrong with something that has no place of its own on the page. @param {any} problem */
export const toastProblem = (problem) =>
  show({
    id: ++last,
    text: problem.requestId ? `${sentence(problem)} (${problem.requestId})` : sentence(problem),
    bad: true,
  });

function show(/** @type {Notice} */ notice) {
  notices.value = [...notices.value.slice(-2), notice];
  setTimeout(() => dismiss(notice.id), notice.undo || notice.bad ? SHOWN_MS * 2 : SHOWN_MS);
}

const dismiss = (/** @type {number} */ id) => (notices.value = notices.value.filter((each) => each.id !== id));

async function undo(/** @type {Notice} */ notice) {
  dismiss(notice.id);
  try {
    await notice.undo?.();
    toast(t("undone"));
  } catch (problem) {
    toastProblem(problem);
  }
}

/**
 * Does something after a while in which it can be taken back: for what the API itself cannot undo.
 * @param {string} text @param {() => Promise<any>} act @param {{restore?: () => void}} [how] `restore`: shows again what was hidden
 */
export function later(text, act, { restore } = {}) {
  const back = () => {
    clearTimeout(timer);
    restore?.();
  };
  const failed = (/** @type {any} */ problem) => {
    back();
    toastProblem(problem);
  };
  const timer = setTimeout(() => act().catch(failed), SHOWN_MS);
  toast(text, { undo: back });
}

export const Toasts = () => html`
  <div class="toasts" role="status" aria-live="polite">
    ${notices.value.map(
      (notice) => html`
        <div key=${notice.id} class="toast ${notice.bad ? "bad" : ""}">
          <span class="grow">${notice.text}</span>
          ${notice.undo && html`<button class="button" onClick=${() => undo(notice)}>${t("undo")}</button>`}
          <button class="button icon" aria-label=${t("close")} onClick=${() => dismiss(notice.id)}><${Icon} name="close" /></button>
        </div>
      `,
    )}
  </div>
`;
