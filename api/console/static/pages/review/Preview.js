// The chosen video, its draft beside it, and the buttons that say what is thought of it.
import { api, urlOf } from "../../lib/api.js";
import { pageUrl } from "../../lib/base.js";
import { useData } from "../../lib/data.js";
import { may } from "../../lib/session.js";
import { classes, html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { TimeAgo } from "../../parts/Amounts.js";
import { Icon } from "../../parts/Icon.js";
import { Player } from "../../parts/Player.js";
import { told } from "./desk.js";

const file = (/** @type {string} */ id, /** @type {string} */ variant) =>
  urlOf(`/v1/videos/${id}/content`, { variant });

/** @param {{video: any, say: (words: Record<string, any>) => void, reject: () => void}} props */
export function Preview({ video, say, reject }) {
  if (!video) return null;
  const { review } = video;
  const decided = may("campaigns") && !review.applied_at;
  return html`
    <section class="preview card" aria-label=${t("review.preview")}>
      <div class=${classes("players", video.draft_id && "two")}>
        ${video.draft_id && html`<figure><${Player} key=${video.draft_id} src=${file(video.draft_id, "video")} still=${file(video.draft_id, "thumbnail")} label=${t("review.draft")} /><figcaption>${t("review.draft")}</figcaption></figure>`}
        <figure>
          <${Player} key=${video.id} src=${file(video.id, "video")} still=${file(video.id, "thumbnail")} label=${video.custom_id} autoplay=${!matchMedia("(prefers-reduced-motion: reduce)").matches} />
          ${video.draft_id && html`<figcaption>${t("review.final")}</figcaption>`}
        </figure>
      </div>
      <div class="body stack">
        <div class="row"><a href=${pageUrl(`/jobs/${video.id}`)}><strong>${video.custom_id}</strong></a>
          <span class="faint">${t("review.seed", { n: video.seed })}</span>
          ${video.flags.map((/** @type {string} */ flag) => html`<span class="tag bad">${flag}</span>`)}
        </div>
        <p class="prompt">${video.prompt}</p>
        <div class="row" role="group" aria-label=${t("review.rate")}>
          ${[1, 2, 3, 4, 5].map(
            (n) =>
              html`<button class=${classes("star", n <= (review.rating ?? 0) && "on")} disabled=${!decided} aria-pressed=${review.rating === n} aria-label=${t("review.star", { n })} onClick=${() => say({ rating: n })}>★</button>`,
          )}
        </div>
        <div class="row">
          <button class=${classes("button", review.decision === "approve" && "primary")} disabled=${!decided} aria-pressed=${review.decision === "approve"}
            onClick=${() => say({ decision: "approve", reason: null, action: null })}><${Icon} name="check" />${t("review.approve")} <kbd>a</kbd></button>
          <button class=${classes("button", review.decision === "reject" && "danger")} disabled=${!decided} aria-pressed=${review.decision === "reject"} onClick=${reject}>
            <${Icon} name="close" />${t("review.reject")} <kbd>r</kbd></button>
        </div>
        ${review.decision === "reject" && html`<p class="muted">${t(`review.then.${review.action ?? "new_seed"}`)}${review.reason && html`: ${review.reason}`}</p>`}
        ${review.version > 0 && html`<${History} key=${`${video.id} ${review.version}`} id=${video.id} review=${review} />`}
      </div>
    </section>
  `;
}

/** Who said what, once somebody wants to know. @param {{id: string, review: any}} props */
function History({ id, review }) {
  const [open, setOpen] = useState(false);
  const line = html`${told(review)} · ${review.reviewer} · <${TimeAgo} at=${review.decided_at} />`;
  return html`
    <details class="small muted" onToggle=${(/** @type {any} */ event) => setOpen(event.target.open)}>
      <summary>${line}</summary>
      ${open && html`<${Words} id=${id} />`}
    </details>
  `;
}

function Words(/** @type {{id: string}} */ { id }) {
  const { data } = useData((signal) => api(`/v1/reviews/${id}`, { signal }), [id]);
  return html`<ol class="history">
    ${(data?.history ?? []).map((/** @type {any} */ each) => html`<li>${t(`review.kind.${each.kind}`)}: ${told(each)}${each.reason && html` (${each.reason})`} · ${each.reviewer} · <${TimeAgo} at=${each.at} /></li>`)}
  </ol>`;
}
