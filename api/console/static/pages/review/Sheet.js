// A contact sheet of thousands of videos: only those in sight are in the page.
import { urlOf } from "../../lib/api.js";
import { classes, html, useEffect, useLayoutEffect, useRef, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Icon } from "../../parts/Icon.js";

const WIDTH_PX = 158;
const GAP_PX = 8;
const ROW_PX = 140;
const BEYOND = 2;

/** @param {{desk: ReturnType<typeof import("./desk.js").openDesk>}} props */
export function Sheet({ desk }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const { columns, top, height } = useBox(box);
  const videos = desk.videos.value;
  const chosen = desk.chosen.value;
  const rows = Math.ceil(videos.length / columns);
  const first = Math.max(0, Math.floor(top / ROW_PX) - BEYOND);
  const last = Math.min(rows, Math.ceil((top + height) / ROW_PX) + BEYOND);
  useEffect(() => {
    if (last >= rows - 1) desk.more();
  }, [last, rows]);
  useLayoutEffect(() => reveal(box.current, Math.floor(chosen / columns)), [chosen, columns]);
  const shown = videos.slice(first * columns, last * columns);
  return html`
    <div ref=${box} class="sheet" role="listbox" aria-label=${t("review.sheet")} tabindex="0" aria-activedescendant=${videos[chosen] && `tile-${videos[chosen].id}`}>
      <div style=${{ height: `${rows * ROW_PX}px` }}>
        <div class="tiles" style=${{ transform: `translateY(${first * ROW_PX}px)`, gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))` }}>
          ${shown.map((video, i) => html`<${Tile} key=${video.id} video=${video} chosen=${first * columns + i === chosen} choose=${() => (desk.chosen.value = first * columns + i)} />`)}
        </div>
      </div>
    </div>
  `;
}

/** @param {{video: any, chosen: boolean, choose: () => void}} props */
function Tile({ video, chosen, choose }) {
  const { review } = video;
  const [broken, setBroken] = useState(false);
  return html`
    <div id="tile-${video.id}" role="option" aria-selected=${chosen} class=${classes("tile", review.decision)} onClick=${choose} title=${video.prompt}>
      ${
        broken
          ? html`<span class="none"><${Icon} name="play" /></span>`
          : html`<img src=${urlOf(`/v1/videos/${video.id}/content`, { variant: "thumbnail" })} alt="" loading="lazy" decoding="async" onError=${() => setBroken(true)} />`
      }
      <span class="foot">
        <span class="clip">${video.custom_id}</span>
        ${review.rating && html`<span class="stars" aria-label=${t("review.rated", { n: review.rating })}>${"★".repeat(review.rating)}</span>`}
      </span>
      ${review.decision && html`<span class="mark" aria-label=${t(`review.is.${review.decision}`)}><${Icon} name=${review.decision === "approve" ? "check" : "close"} /></span>`}
      ${video.draft_id && html`<span class="flag">${t("review.final")}</span>`}
      ${video.flags.length > 0 && html`<span class="flag bad">${video.flags.join(", ")}</span>`}
    </div>
  `;
}

/** How many columns there are, and which part is in sight. */
function useBox(/** @type {{current: HTMLDivElement | null}} */ box) {
  const [seen, setSeen] = useState({ columns: 4, top: 0, height: 800 });
  useLayoutEffect(() => {
    const element = /** @type {HTMLDivElement} */ (box.current);
    const look = () =>
      setSeen({
        columns: Math.max(2, Math.floor((element.clientWidth + GAP_PX) / (WIDTH_PX + GAP_PX))),
        top: element.scrollTop,
        height: element.clientHeight,
      });
    look();
    const fit = new ResizeObserver(look);
    fit.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    return () => {
      fit.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, []);
  return seen;
}

function reveal(/** @type {HTMLDivElement | null} */ box, /** @type {number} */ row) {
  if (!box) return;
  const top = row * ROW_PX;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW_PX > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW_PX - box.clientHeight;
}
