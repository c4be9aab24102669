// Copies a text, and says so.
import { html, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Icon } from "./Icon.js";

/** @param {{text: string, label?: string}} props `label`: words beside the icon */
export function CopyButton({ text, label }) {
  const [done, setDone] = useState(false);
  const copy = async (/** @type {Event} */ event) => {
    event.stopPropagation();
    await write(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`
    <button type="button" class=${label ? "button small" : "button icon small quiet"} onClick=${copy} aria-label=${done ? t("copied") : (label ?? t("copy"))}>
      <${Icon} name=${done ? "check" : "copy"} />${label}
    </button>
  `;
}

/** The clipboard is there under https and on this machine; elsewhere the old way still works. @param {string} text */
async function write(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** An id, shortened in the middle and copied whole. @param {{id: string, href?: string}} props */
export function Id({ id, href }) {
  const shown = id.length > 20 ? `${id.slice(0, id.indexOf("_") + 1)}…${id.slice(-8)}` : id;
  return html`
    <span class="row tight nowrap">
      ${href ? html`<a class="mono" href=${href} title=${id}>${shown}</a>` : html`<span class="mono" title=${id}>${shown}</span>`}
      <${CopyButton} text=${id} />
    </span>
  `;
}
