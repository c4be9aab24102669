// GPU seconds over the time that is told of, by the hour, or by the day where that is long.

import { short } from "../../lib/numbers.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Card } from "../../parts/Card.js";
import { Chart } from "../../parts/Chart.js";

const HOUR_S = 3600;
const DAYS_FROM_S = 3 * 86_400;

/** @param {{lines: any[], span: {from: number, to: number}}} props `lines`: by hour; hours without any are missing */
export function Over({ lines, span }) {
  const step = span.to - span.from > DAYS_FROM_S ? 24 * HOUR_S : HOUR_S;
  // Days are the viewer's: they begin with the time that is told of.
  const slots = Array.from({ length: Math.max(1, Math.ceil((span.to - span.from) / step)) }, () => ({
    used: 0,
    wasted: 0,
  }));
  for (const line of lines) {
    const slot = slots[Math.floor((line.hour - span.from) / step)];
    if (!slot) continue;
    slot.used += line.gpu_seconds - line.wasted_gpu_seconds;
    slot.wasted += line.wasted_gpu_seconds;
  }
  // Of one unit, so that the axis can be read: hours of GPUs.
  const hours = (/** @type {number} */ n) => t("time.h", { n: short(n) });
  return html`
    <${Card} title=${step === HOUR_S ? t("usage.over.hours") : t("usage.over.days")}>
      <${Chart} label=${t("usage.gpu")} times=${slots.map((_, i) => span.from + i * step)} stacked format=${hours} lines=${[
        { name: t("usage.useful"), tone: "green", values: slots.map((slot) => slot.used / HOUR_S) },
        { name: t("usage.wasted"), tone: "red", values: slots.map((slot) => slot.wasted / HOUR_S) },
      ]} />
    </${Card}>
  `;
}
