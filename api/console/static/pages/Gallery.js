// A contact sheet of finished videos: they play where somebody points or moves to with the keyboard.
import { urlOf } from "../lib/api.js";
import { pageUrl } from "../lib/base.js";
import { useList } from "../lib/data.js";
import { typing } from "../lib/keys.js";
import { number } from "../lib/numbers.js";
import { go } from "../lib/route.js";
import { ago } from "../lib/time.js";
import { classes, html, useEffect, useRef, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Page } from "../parts/Card.js";
import { Empty } from "../parts/Empty.js";
import { Filters } from "../parts/Filters.js";
import { Loading, ProblemBox } from "../parts/Problem.js";
import { asked } from "./jobs/filters.js";
import { Order } from "./jobs/Order.js";
import { shaped } from "./jobs/source.js";

const FILTERS = () => [
  {
    name: "text",
    label: t("jobs.filter.text"),
    type: /** @type {const} */ ("text"),
    placeholder: t("jobs.filter.text.hint"),
  },
  { name: "model", label: t("jobs.filter.model"), type: /** @type {const} */ ("text") },
  { name: "campaign", label: t("jobs.filter.campaign"), type: /** @type {const} */ ("text") },
];

export function Gallery() {
  const list = useList("/v1/jobs", { ...asked(false), state: "succeeded" }, { limit: 48 });
  const videos = list.rows.map(shaped);
  const [chosen, setChosen] = useState(-1);
  const sheet = useRef(/** @type {HTMLUListElement | null} */ (null));
  const move = (/** @type {number} */ by) => {
    const next = Math.max(0, Math.min(chosen + by, videos.length - 1));
    setChosen(next);
    const card = /** @type {HTMLElement | undefined} */ (sheet.current?.children[next]);
    card?.querySelector("a")?.focus({ preventScroll: true });
    card?.scrollIntoView({ block: "nearest" });
    if (next >= videos.length - 12) list.more();
  };
  useEffect(() => {
    const press = (/** @type {KeyboardEvent} */ event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || typing(event) || document.querySelector("dialog[open]"))
        return;
      const wide = columnsOf(sheet.current);
      const by = {
        j: 1,
        k: -1,
        ArrowRight: 1,
        ArrowLeft: -1,
        ArrowDown: wide,
        ArrowUp: -wide,
        Home: -videos.length,
        End: videos.length,
      }[event.key];
      if (by === undefined) return;
      // Arrows scroll the page until somebody is on the sheet; j and k go there.
      if (event.key.length > 1 && !sheet.current?.contains(document.activeElement)) return;
      event.preventDefault();
      move(chosen < 0 ? 1 : by);
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  });
  return html`
    <${Page} title=${t("gallery.title")} lead=${t("gallery.lead")}>
      <${Filters} filters=${FILTERS()}><${Order} /></${Filters}>
      ${list.problem && html`<${ProblemBox} problem=${list.problem} again=${list.reload} />`}
      ${!list.loaded && !list.problem && html`<${Loading} />`}
      ${list.loaded && !videos.length && !list.hasMore && html`<div class="card"><${Empty} icon="gallery" title=${t("gallery.none")}><p>${t("gallery.none.hint")}</p></${Empty}></div>`}
      <ul class="gallery-sheet" ref=${sheet} aria-label=${t("gallery.title")}>
        ${videos.map((video, at) => html`<${Still} key=${video.id} video=${video} chosen=${at === chosen} choose=${() => setChosen(at)} />`)}
      </ul>
      ${list.hasMore && html`<${Further} more=${list.more} loading=${list.loading} />`}
    </${Page}>
  `;
}

/** One video: its still, until it plays. @param {{video: any, chosen: boolean, choose: () => void}} props */
function Still({ video, chosen, choose }) {
  const [playing, setPlaying] = useState(false);
  const [broken, setBroken] = useState(false);
  const content = `/v1/videos/${encodeURIComponent(video.id)}/content`;
  const still = urlOf(content, { variant: "thumbnail" });
  const play = () => setPlaying(true);
  const stop = () => setPlaying(false);
  return html`
    <li class=${classes("still", chosen && "chosen")} onPointerEnter=${play} onPointerLeave=${stop}>
      <a href=${pageUrl(`/jobs/${video.id}`)} onFocus=${() => {
        choose();
        play();
      }} onBlur=${stop} onKeyDown=${(/** @type {KeyboardEvent} */ e) => {
        if (e.key === "Enter") {
          e.preventDefault();
          go(`/jobs/${video.id}`);
        }
      }}>
        <span class="frame" style=${{ aspectRatio: video.size.replace("x", " / ") }}>
          ${broken ? html`<span class="muted small">${t("player.broken")}</span>` : html`<img src=${still} alt="" loading="lazy" decoding="async" onError=${() => setBroken(true)} />`}
          ${playing && !broken && html`<video src=${urlOf(content)} poster=${still} muted loop autoplay playsinline aria-hidden="true"></video>`}
        </span>
        <span class="clip" title=${video.prompt}>${video.prompt}</span>
        <span class="muted small">${video.size} · ${t("gallery.seconds", { seconds: number(Number(video.seconds), 1) })} · ${ago(video.finished_at)}</span>
      </a>
    </li>
  `;
}

/** Loads more once it comes into sight. @param {{more: () => void, loading: boolean}} props */
function Further({ more, loading }) {
  const element = useRef(/** @type {HTMLDivElement | null} */ (null));
  useEffect(() => {
    const seen = new IntersectionObserver((entries) => entries.some((each) => each.isIntersecting) && more(), {
      rootMargin: "600px",
    });
    if (element.current) seen.observe(element.current);
    return () => seen.disconnect();
  }, [more]);
  return html`<div ref=${element} class="row more"><button class="button small" disabled=${loading} onClick=${more}>${t("table.more")}</button></div>`;
}

/** How many stand beside each other. @param {HTMLElement | null} sheet */
function columnsOf(sheet) {
  return sheet ? getComputedStyle(sheet).gridTemplateColumns.split(" ").length : 1;
}
