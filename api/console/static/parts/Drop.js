// A field that a file is dragged into or chosen for; what becomes of it is said by whoever uses it.
import { classes, html, useId, useRef, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Icon } from "./Icon.js";
import { sentence } from "./Problem.js";

/**
 * @param {{label: string, hint?: string, accept: string, name?: string | null, busy?: boolean, problem?: any,
 *   take: (file: File) => void, clear: () => void, children?: any}} props `name`: of the file that is there; `children`: a look at it
 */
export function Drop({ label, hint, accept, name, busy = false, problem, take, clear, children }) {
  const id = useId();
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [over, setOver] = useState(false);
  const drop = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    setOver(false);
    const file = event.dataTransfer?.files[0];
    if (file) take(file);
  };
  const hold = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    setOver(true);
  };
  return html`
    <div class="field">
      <label for=${id}>${label}</label>
      <div class=${classes("drop", over && "over")} onDragOver=${hold} onDragLeave=${() => setOver(false)} onDrop=${drop}>
        ${children}
        <div class="grow">
          ${
            name
              ? html`<span class="row tight"><span class="clip">${name}</span><button type="button" class="button icon small quiet" aria-label=${t("drop.clear")} onClick=${clear}><${Icon} name="close" /></button></span>`
              : html`<span class="muted">${t("drop.here")}</span>`
          }
        </div>
        ${busy && html`<span class="spinner" role="status" aria-label=${t("loading")}></span>`}
        <button type="button" class="button small" onClick=${() => input.current?.click()}>${t("drop.choose")}</button>
        <input ref=${input} id=${id} class="unseen" type="file" accept=${accept} onChange=${(
          /** @type {any} */ event,
        ) => {
          const file = event.target.files[0];
          event.target.value = "";
          if (file) take(file);
        }} />
      </div>
      ${hint && html`<div class="hint">${hint}</div>`} ${problem && html`<div class="wrong" role="alert">${sentence(problem)}</div>`}
    </div>
  `;
}
