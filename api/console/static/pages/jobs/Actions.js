// Actions on many jobs that go on, or were over a moment ago: how far they have come, what was passed over, and stop.
import { api } from "../../lib/api.js";
import { useGet } from "../../lib/data.js";
import { count } from "../../lib/numbers.js";
import { may } from "../../lib/session.js";
import { html, signal, useEffect } from "../../lib/ui.js";
import { has, t } from "../../lib/words.js";
import { Icon } from "../../parts/Icon.js";
import { Progress } from "../../parts/Progress.js";
import { stateWord } from "../../parts/State.js";
import { toastProblem } from "../../parts/Toast.js";
import { ofAll, root } from "./source.js";

/** Those that were begun here, by their ids, until somebody closes them. */
const mine = signal(/** @type {Record<string, any>} */ ({}));

/** An action was begun. @param {any} made */
export const begun = (made) => {
  mine.value = { ...mine.value, [made.id]: made };
};

export function Actions() {
  const url = `${root()}/bulk-actions`;
  const going = Object.values(mine.value).some((each) => each.state === "running");
  const latest = useGet(url, { limit: 5 }, { everyMs: going ? 1000 : 10_000 });
  useEffect(() => latest.reload(), [Object.keys(mine.value).length]);
  useEffect(() => {
    for (const each of latest.data?.data ?? [])
      if (each.state === "running" || each.id in mine.value) mine.value = { ...mine.value, [each.id]: each };
  }, [latest.data]);
  const close = (/** @type {string} */ id) => {
    const { [id]: _, ...rest } = mine.value;
    mine.value = rest;
  };
  const stop = (/** @type {any} */ each) =>
    api(`${url}/${each.id}/cancel`, { method: "POST" }).then(begun).catch(toastProblem);
  const shown = Object.values(mine.value).sort((one, other) => other.asked_at - one.asked_at);
  if (!shown.length) return null;
  return html`<div class="stack actions-on-many">
    ${shown.map((each) => html`<${One} key=${each.id} action=${each} stop=${() => stop(each)} close=${() => close(each.id)} />`)}
  </div>`;
}

/** @param {{action: any, stop: () => void, close: () => void}} props */
function One({ action, stop, close }) {
  const ended = action.state !== "running";
  const of = Math.max(action.expected.count, action.matched);
  const value = action.state === "completed" ? 1 : of ? action.matched / of : 0;
  const sum = (/** @type {Record<string, number>} */ by) => Object.values(by).reduce((all, one) => all + one, 0);
  const reasons = (/** @type {Record<string, number>} */ by) =>
    Object.entries(by)
      .map(
        ([reason, number]) =>
          `${count(number)} ${has(`jobs.skipped.${reason}`) ? t(`jobs.skipped.${reason}`) : stateWord(reason)}`,
      )
      .join(", ");
  const [skipped, failed] = [sum(action.skipped), sum(action.failed)];
  return html`
    <div class="card bulk" role="region" aria-label=${t(`jobs.all.${action.action}`)}>
      <div class="row">
        <b>${t(`jobs.all.${action.action}`)}</b>
        <${Progress} value=${value} label=${t(`jobs.all.${action.action}`)} tone=${ended ? (failed ? "red" : "green") : "accent"} text=${t("jobs.bulk.done", { done: count(action.done), of: count(of, { about: action.expected.about && !ended }) })} />
        <span class="muted small grow">
          ${action.state === "cancelled" && html`<span>${t("jobs.bulk.stopped")} </span>`}
          ${skipped > 0 && html`<span>${t("jobs.bulk.skipped", { reasons: reasons(action.skipped) })} </span>`}
          ${failed > 0 && html`<span class="bad" title=${action.examples.map((/** @type {any} */ one) => `${one.job}: ${one.message}`).join("\n")}>${t("jobs.bulk.failed", { reasons: reasons(action.failed) })} </span>`}
          ${action.waits_for && html`<span>${t("jobs.bulk.waits", { reason: action.waits_for })}</span>`}
        </span>
        ${
          ended
            ? html`<button class="button icon small quiet" aria-label=${t("close")} onClick=${close}><${Icon} name="close" /></button>`
            : may(ofAll() ? "operate" : "submit") &&
              html`<button class="button small" onClick=${stop}><${Icon} name="stop" />${t("jobs.bulk.stop")}</button>`
        }
      </div>
    </div>
  `;
}
