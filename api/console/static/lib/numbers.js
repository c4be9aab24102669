// Numbers as people read them, in the viewer's language.
import { locale, t } from "./words.js";

/** @type {Map<string, Intl.NumberFormat>} */
const formats = new Map();

function format(/** @type {number} */ value, /** @type {Intl.NumberFormatOptions} */ how) {
  const key = locale() + JSON.stringify(how);
  let found = formats.get(key);
  if (!found) formats.set(key, (found = new Intl.NumberFormat(locale(), how)));
  return found.format(value);
}

/** 12,345; with "about" before it where it is an estimate. @param {number | null | undefined} value @param {{about?: boolean}} [how] */
export function count(value, { about = false } = {}) {
  if (value === null || value === undefined) return "–";
  return about ? t("about", { value: short(value) }) : format(value, { maximumFractionDigits: 0 });
}

/** 1.2M, 34k: for axes and small cards. @param {number | null | undefined} value */
export function short(value) {
  if (value === null || value === undefined) return "–";
  return format(value, { notation: "compact", maximumFractionDigits: Math.abs(value) < 1000 ? 2 : 1 });
}

/** @param {number | null | undefined} value of 0 to 1 @param {number} [digits] */
export const percent = (value, digits = 0) =>
  value === null || value === undefined ? "–" : format(value, { style: "percent", maximumFractionDigits: digits });

/** @param {number | null | undefined} value @param {number} [digits] */
export const number = (value, digits = 2) =>
  value === null || value === undefined ? "–" : format(value, { maximumFractionDigits: digits });

/** @param {number | null | undefined} amount @param {string} [currency] none: bare, since the operator's unit is not known */
export function money(amount, currency) {
  if (amount === null || amount === undefined) return "–";
  const digits = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return format(amount, currency ? { style: "currency", currency, ...digits } : digits);
}

/** 3.4 MB. @param {number | null | undefined} value */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(value, 1)) / 3), units.length - 1);
  return `${format(value / 1000 ** power, { maximumFractionDigits: power ? 1 : 0 })} ${units[power]}`;
}
