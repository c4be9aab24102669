// The shortcuts that work now, shown by `?`.
import { pageUrl } from "../lib/base.js";
import { shortcuts, useShortcuts } from "../lib/keys.js";
import { go } from "../lib/route.js";
import { html, signal } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Dialog } from "../parts/Dialog.js";
import { visibleRoutes } from "./Navigation.js";

export const keysOpen = signal(false);

/** Those of every list; the table itself listens to them. */
const LISTS = [
  ["j", "keys.down"],
  ["k", "keys.up"],
  ["Enter", "keys.open"],
];

export function Keys() {
  useShortcuts([
    { keys: "?", words: "keys.title", act: () => (keysOpen.value = !keysOpen.value) },
    ...visibleRoutes()
      .filter((route) => route.key)
      .map((route) => ({ keys: `g ${route.key}`, words: `nav.${route.name}`, act: () => go(route.path) })),
  ]);
  if (!keysOpen.value) return null;
  const rows = [...LISTS, ...shortcuts.value.map((each) => [each.keys, each.words])];
  return html`
    <${Dialog} title=${t("keys.title")} onClose=${() => (keysOpen.value = false)}>
      <dl class="keys">
        ${rows.map(([keys, words]) => html`<dt>${keys.split(/[ +]/).map((key) => html`<kbd>${key === "ctrl" ? "Ctrl" : key}</kbd>`)}</dt><dd>${t(words)}</dd>`)}
      </dl>
    </${Dialog}>
  `;
}

export { pageUrl };
