// The sums of a time, as numbers.
import { count, money, percent } from "../../lib/numbers.js";
import { duration } from "../../lib/time.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Figures } from "../../parts/Card.js";

/** @param {{it: any}} props what /v1/usage answers */
export function Totals({ it }) {
  const { total, currency } = it;
  const share = total.gpu_seconds > 0 ? total.wasted_gpu_seconds / total.gpu_seconds : null;
  return html`<${Figures} figures=${[
    {
      name: t("usage.gpu"),
      value: duration(total.gpu_seconds),
      note: t("usage.seconds", { n: count(total.gpu_seconds) }),
    },
    {
      name: t("usage.money"),
      value: money(total.money, currency),
      note: total.money === null ? t("usage.money.none") : t("usage.money.note"),
    },
    { name: t("usage.attempts"), value: count(total.attempts) },
    {
      name: t("usage.wasted"),
      value: duration(total.wasted_gpu_seconds),
      note: share === null ? "" : t("usage.share", { share: percent(share, 1) }),
    },
    { name: t("usage.charge"), value: duration(total.charge), note: t("usage.charge.note") },
  ]} />`;
}
