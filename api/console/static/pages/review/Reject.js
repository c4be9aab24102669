// Asks why a video is rejected, and what shall become of it; Enter is enough.
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Dialog } from "../../parts/Dialog.js";
import { TextField } from "../../parts/Field.js";

const KEPT = 6;
/** Reasons of late, to be taken again: one mistake is seldom made once. @type {string[]} */
const lately = [];

/** @param {{video: any, onClose: () => void, onReject: (words: {reason: string | null, action: string}) => void}} props */
export function Reject({ video, onClose, onReject }) {
  const [reason, setReason] = useState(video.review.reason ?? "");
  const [action, setAction] = useState(video.review.action ?? "new_seed");
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    const words = reason.trim();
    if (words && !lately.includes(words)) {
      lately.unshift(words);
      lately.length = Math.min(lately.length, KEPT);
    }
    onReject({ reason: words || null, action });
    onClose();
  };
  return html`
    <${Dialog} title=${t("review.reject.title", { row: video.custom_id })} onClose=${onClose}>
      <form class="form" onSubmit=${send}>
        <${TextField} label=${t("review.reason")} value=${reason} onInput=${setReason} maxlength="500" autocomplete="off" />
        ${lately.length > 0 && html`<div class="row">${lately.map((each) => html`<button type="button" class="tag" onClick=${() => setReason(each)}>${each}</button>`)}</div>`}
        <fieldset class="choices">
          <legend>${t("review.then")}</legend>
          ${["new_seed", "drop"].map(
            (each) =>
              html`<label class="check"><input type="radio" name="action" value=${each} checked=${action === each} onChange=${() => setAction(each)} /> ${t(`review.then.${each}`)}</label>`,
          )}
        </fieldset>
        <footer>
          <button type="button" class="button" onClick=${onClose}>${t("cancel")}</button>
          <button class="button danger">${t("review.reject")}</button>
        </footer>
      </form>
    </${Dialog}>
  `;
}
