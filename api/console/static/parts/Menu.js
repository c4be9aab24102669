// A button with a list of actions below it.
import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { Icon } from "./Icon.js";

/**
 * @param {{label: string, icon?: string, children?: any, items: {title: any, icon?: string, act: () => void, checked?: boolean}[]}} props
 *   `children`: the button's inside, else its icon
 */
export function Menu({ label, icon = "more", children, items }) {
  const [open, setOpen] = useState(false);
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  useEffect(() => {
    if (!open) return undefined;
    const leave = (/** @type {Event} */ event) =>
      box.current?.contains(/** @type {Node} */ (event.target)) || setOpen(false);
    document.addEventListener("pointerdown", leave);
    /** @type {HTMLElement | null} */ (box.current?.querySelector("[role^=menuitem]"))?.focus();
    return () => document.removeEventListener("pointerdown", leave);
  }, [open]);
  const close = () => {
    setOpen(false);
    box.current?.querySelector("button")?.focus();
  };
  const take = (/** @type {() => void} */ act) => {
    close();
    act();
  };
  const press = (/** @type {KeyboardEvent} */ event) => {
    if (!open) return;
    if (event.key === "Escape") close();
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      const all = [.../** @type {NodeListOf<HTMLElement>} */ (box.current?.querySelectorAll("[role^=menuitem]") ?? [])];
      all[(all.indexOf(/** @type {any} */ (document.activeElement)) + step + all.length) % all.length].focus();
    } else if (event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
  };
  return html`
    <div class="menu" ref=${box} onKeyDown=${press}>
      <button type="button" class="button icon quiet" aria-label=${label} title=${label} aria-haspopup="menu" aria-expanded=${open} onClick=${() => setOpen(!open)}>
        ${children ?? html`<${Icon} name=${icon} />`}
      </button>
      ${
        open &&
        html`<div role="menu" aria-label=${label}>
        ${items.map(
          (
            item,
          ) => html`<button type="button" role=${item.checked === undefined ? "menuitem" : "menuitemradio"} aria-checked=${item.checked} onClick=${() => take(item.act)}>
            ${item.icon && html`<${Icon} name=${item.icon} />`}<span class="grow">${item.title}</span>${item.checked && html`<${Icon} name="check" />`}
          </button>`,
        )}
      </div>`
      }
    </div>
  `;
}
