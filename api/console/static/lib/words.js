// Every text that people read, in their language: `t("jobs.title")`, `t("table.shown", { count: 3 })`.
import en from "../words/en.js";
import { keep as keepText, kept } from "./kept.js";
import { signal } from "./ui.js";

export const LANGUAGES = /** @type {const} */ ({ en: "English", zh: "中文" });
const KEPT = "cogmill.language";

/** @typedef {keyof typeof LANGUAGES} Language */
/** @type {Record<string, Record<string, string>>} */
const known = { en };

/** The language of all texts, numbers and times. */
export const language = signal(/** @type {Language} */ ("en"));

/** Of its numbers and times, as `Intl` has it. */
export const locale = () => (language.value === "zh" ? "zh-CN" : "en-GB");

/** Chooses the language that was chosen before, or the browser's. */
export async function readLanguage() {
  const wanted = kept(KEPT) ?? navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag in LANGUAGES);
  await setLanguage(wanted && wanted in LANGUAGES ? /** @type {Language} */ (wanted) : "en", { keep: false });
}

/** @param {Language} next */
export async function setLanguage(next, { keep = true } = {}) {
  known[next] ??= (await import(`../words/${next}.js`)).default;
  language.value = next;
  document.documentElement.lang = next === "zh" ? "zh-CN" : next;
  if (keep) keepText(KEPT, next);
}

/**
 * The text of a key, with {names} filled in. "key.one" is taken instead of "key" where `count` is one.
 * @param {string} key @param {Record<string, unknown>} [values]
 */
export function t(key, values = {}) {
  const words = known[language.value];
  const one = String(values.count) === "1" ? words[`${key}.one`] : undefined;
  const text = one ?? words[key] ?? en[/** @type {keyof typeof en} */ (key)] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** Whether there is a text of this key: for codes that the API may extend. @param {string} key */
export const has = (key) => key in en;
