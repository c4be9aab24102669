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
    place(/** @type {HTMLDivElement} */ (box.current));
    document.addEventListener("pointerdown", leave);
    addEventListener("scroll", leave, true);
    /** @type {HTMLElement | null} */ (box.current?.querySelector("[role^=menuitem]"))?.focus();
    return () => {
      document.removeEventListener("pointerdown", leave);
      removeEventListener("scroll", leave, true);
    };
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
        html`<div role="menu" popover="manual" aria-label=${label}>
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

/** Puts the list over everything, below its button or above it: a table's edge must not cut it off. @param {HTMLDivElement} box */
function place(box) {
  const list = /** @type {HTMLElement} */ (box.querySelector("[role=menu]"));
  list.showPopover();
  const button = /** @type {HTMLElement} */ (box.querySelector("button")).getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = list;
  const below = button.bottom + 6 + height <= innerHeight;
  list.style.top = `${below ? button.bottom + 6 : Math.max(6, button.top - 6 - height)}px`;
  list.style.left = `${Math.max(6, button.right - width)}px`;
}
