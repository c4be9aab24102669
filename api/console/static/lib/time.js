// Times in the viewer's zone, durations, and how long ago; the API's moments are seconds or ISO texts.
import { signal } from "./ui.js";
import { locale, t } from "./words.js";

/** Milliseconds now, moving on each second while somebody looks. */
export const now = signal(Date.now());
setInterval(() => document.hidden || (now.value = Date.now()), 1000);

/** @typedef {number | string | Date | null | undefined} Moment seconds since 1970, or ISO 8601 */

/** @param {Moment} moment @returns {Date | null} */
export function dateOf(moment) {
  if (moment === null || moment === undefined || moment === "") return null;
  const date = typeof moment === "number" ? new Date(moment * 1000) : new Date(moment);
  return Number.isNaN(date.getTime()) ? null : date;
}

/** 30 Nov 2026, 08:03:12. @param {Moment} moment */
export function dateTime(moment) {
  const date = dateOf(moment);
  return date ? date.toLocaleString(locale(), { dateStyle: "medium", timeStyle: "medium" }) : "–";
}

/** 08:03 today, else 28 Nov, 08:03. @param {Moment} moment */
export function clock(moment) {
  const date = dateOf(moment);
  if (!date) return "–";
  const time = { hour: "2-digit", minute: "2-digit" };
  const day = date.toDateString() === new Date().toDateString() ? {} : { day: "numeric", month: "short" };
  return date.toLocaleString(locale(), /** @type {any} */ ({ ...day, ...time }));
}

/** 28 Nov. @param {Moment} moment */
export function day(moment) {
  return dateOf(moment)?.toLocaleString(locale(), { day: "numeric", month: "short" }) ?? "–";
}

const UNITS = /** @type {const} */ ([
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
]);

/** 2 h 5 min, 3 min 20 s, 4.2 s: the two largest units. @param {number | null | undefined} seconds @returns {string} */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (seconds < 10) return t("time.s", { n: seconds < 0.05 ? 0 : seconds.toFixed(1) });
  let rest = Math.round(seconds);
  const parts = [];
  for (const [unit, size] of UNITS) {
    const n = Math.floor(rest / size);
    rest -= n * size;
    if (n) parts.push(t(`time.${unit}`, { n }));
    if (parts.length && (parts.length === 2 || !n)) break;
  }
  return parts.join(" ");
}

/** "3 minutes ago", "in 2 hours"; the part TimeAgo goes on with the clock. @param {Moment} moment @param {number} [at] milliseconds */
export function ago(moment, at = now.peek()) {
  const date = dateOf(moment);
  if (!date) return "–";
  const seconds = (date.getTime() - at) / 1000;
  const size = Math.abs(seconds);
  if (size < 5) return t("time.now");
  const words = new Intl.RelativeTimeFormat(locale(), { numeric: "always", style: "short" });
  if (size < 60) return words.format(Math.round(seconds), "second");
  if (size < 3600) return words.format(Math.round(seconds / 60), "minute");
  if (size < 86400) return words.format(Math.round(seconds / 3600), "hour");
  return words.format(Math.round(seconds / 86400), "day");
}

/** The viewer's zone, such as Europe/Berlin. */
export const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;
