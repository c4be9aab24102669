// Light or dark: as the system has it, until somebody chooses.
import { keep, kept } from "./kept.js";
import { computed, effect, signal } from "./ui.js";

const KEPT = "cogmill.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const system = signal(dark.matches);
dark.addEventListener("change", () => (system.value = dark.matches));

/** @typedef {"light" | "dark" | "system"} Choice */
const before = kept(KEPT);
export const choice = signal(/** @type {Choice} */ (before === "light" || before === "dark" ? before : "system"));

/** The theme that is seen. */
export const theme = computed(() => (choice.value === "system" ? (system.value ? "dark" : "light") : choice.value));

effect(() => {
  document.documentElement.dataset.theme = theme.value;
});

/** @param {Choice} next */
export function chooseTheme(next) {
  choice.value = next;
  keep(KEPT, next === "system" ? null : next);
}
