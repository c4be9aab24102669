// The times that use is told of: days back from the next full hour, and calendar months in the viewer's zone.
export const PERIODS = ["1", "7", "30", "month", "last"];
export const USUAL_PERIOD = "30";

/**
 * In seconds since 1970. It moves on by the hour, so that what is asked stays the same question meanwhile.
 * @param {string} period @param {Date} [today] @returns {{from: number, to: number}}
 */
export function spanOf(period, today = new Date()) {
  const seconds = (/** @type {Date} */ date) => Math.floor(date.getTime() / 1000);
  const next = Math.ceil((seconds(today) + 1) / 3600) * 3600;
  const month = (/** @type {number} */ step) => seconds(new Date(today.getFullYear(), today.getMonth() + step, 1));
  if (period === "month") return { from: month(0), to: next };
  if (period === "last") return { from: month(-1), to: month(0) };
  const days = PERIODS.includes(period) ? Number(period) : Number(USUAL_PERIOD);
  return { from: next - days * 86_400, to: next };
}
