// Shortcuts: single keys, and `g` followed by a letter, while nobody types; each shown by `?`.
import { signal, useEffect } from "./ui.js";

/** @typedef {{keys: string, words: string, act: () => void}} Shortcut `keys` such as "?", "g j" or "ctrl+k"; `words`: a key of words */

/** All that work now, in the order in which they were set. */
export const shortcuts = signal(/** @type {Shortcut[]} */ ([]));

/** Shortcuts for as long as a component is there. @param {Shortcut[]} mine @param {unknown[]} [deps] */
export function useShortcuts(mine, deps = []) {
  useEffect(() => {
    shortcuts.value = [...shortcuts.value, ...mine];
    return () => {
      shortcuts.value = shortcuts.value.filter((each) => !mine.includes(each));
    };
  }, deps);
}

/** Whether an event belongs to what somebody types. @param {Event} event */
export const typing = (event) =>
  Boolean(
    /** @type {Element} */ (event.target).closest?.(
      "input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]",
    ),
  );

let first = "";
let firstAt = 0;

addEventListener("keydown", (event) => {
  const strong = event.ctrlKey || event.metaKey;
  if (event.altKey || event.key.length !== 1 || (!strong && (typing(event) || document.querySelector("dialog[open]"))))
    return;
  const pressed = strong ? `ctrl+${event.key.toLowerCase()}` : event.key;
  const both = Date.now() - firstAt < 1200 ? `${first} ${pressed}` : pressed;
  const found =
    shortcuts.value.findLast((each) => each.keys === both) ?? shortcuts.value.findLast((each) => each.keys === pressed);
  first = pressed;
  firstAt = found ? 0 : Date.now();
  if (!found) return;
  event.preventDefault();
  found.act();
});
