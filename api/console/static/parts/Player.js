// A video, or the still that stands for it until there is one.
import { html, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";

/** @param {{src?: string | null, still?: string | null, label: string, autoplay?: boolean, loop?: boolean}} props `still`: a preview or a cover */
export function Player({ src, still, label, autoplay = false, loop = true }) {
  const [broken, setBroken] = useState(false);
  if (src && !broken) {
    return html`<div class="player">
      <video key=${src} src=${src} poster=${still ?? undefined} aria-label=${label} controls loop=${loop} autoplay=${autoplay} muted=${autoplay} playsinline preload="metadata" onError=${() => setBroken(true)}></video>
    </div>`;
  }
  return html`<div class="player">${still ? html`<img src=${still} alt=${label} />` : html`<span>${t(broken ? "player.broken" : "player.none")}</span>`}</div>`;
}
