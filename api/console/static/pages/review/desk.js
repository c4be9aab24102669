// One reviewer's desk: which videos lie on it, what is said of them, sent at once and taken back; without any markup.
import { api, awaySince } from "../../lib/api.js";
import { newId } from "../../lib/ids.js";
import { batch, computed, signal } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { toast, toastProblem } from "../../parts/Toast.js";

const PAGE = 100;
const HELD = 30;
const RENEW_MS = 120_000;
const COUNT_MS = 5_000;

let desk = "";

/** Tells this tab's desk from others of the same key: what one is given, the others are not. */
function holder() {
  const name = "cogmill.desk";
  desk ||= newId().slice(0, 8);
  try {
    desk = sessionStorage.getItem(name) ?? desk;
    sessionStorage.setItem(name, desk);
  } catch {
    // a browser that keeps nothing: another desk after each reload
  }
  return desk;
}

/**
 * @param {string} campaign
 * @param {{queue: boolean, filters: Record<string, string>}} how `queue`: only what nobody else looks at, undecided
 */
export function openDesk(campaign, { queue, filters }) {
  const base = `/v1/campaigns/${campaign}/reviews`;
  const videos = signal(/** @type {any[]} */ ([]));
  const chosen = signal(0);
  const counts = signal(/** @type {any} */ (null));
  const state = signal({ loading: false, loaded: false, hasMore: true, problem: /** @type {any} */ (null) });
  const current = computed(() => videos.value[chosen.value] ?? null);
  /** @type {string[]} */
  const said = [];
  let last = /** @type {string | null} */ (null);
  const stop = new AbortController();

  const next = () =>
    queue
      ? api(`${base}/hold`, {
          method: "POST",
          body: { holder: holder(), limit: HELD, after: last },
          signal: stop.signal,
        })
      : api(base, { query: { limit: PAGE, after: last, ...filters }, signal: stop.signal });

  const more = async () => {
    if (state.value.loading || !state.value.hasMore) return;
    state.value = { ...state.value, loading: true, problem: null };
    try {
      // A filter may leave nothing of a page: then the one after it is looked at.
      for (let found = 0, hasMore = true; found === 0 && hasMore; ) {
        const page = await next();
        const seen = new Set(videos.value.map((video) => video.id));
        const fresh = page.data.filter((/** @type {any} */ video) => !seen.has(video.id));
        found = fresh.length;
        hasMore = page.has_more;
        last = page.last_id ?? last;
        batch(() => {
          videos.value = [...videos.value, ...fresh];
          const loading = found === 0 && hasMore;
          state.value = { loading, loaded: state.value.loaded || !loading, hasMore, problem: null };
        });
      }
    } catch (problem) {
      if (!stop.signal.aborted) state.value = { ...state.value, loading: false, problem };
    }
  };

  const count = async () => {
    counts.value = await api(`${base}/counts`, { signal: stop.signal }).catch(() => counts.value);
  };

  /** From the first video on: what others have given back comes round again. */
  const again = () => {
    last = null;
    videos.value = videos.value.filter((video) => !video.review.decision);
    state.value = { ...state.value, hasMore: true };
    return more();
  };

  const put = (/** @type {string} */ id, /** @type {any} */ review) => {
    videos.value = videos.value.map((video) => (video.id === id ? { ...video, review } : video));
  };
  const reviewOf = (/** @type {string} */ id) => videos.value.find((video) => video.id === id)?.review;

  /** Shows what is said at once, and sends it as it was meant then, after what was said before of the same video. */
  const say = (/** @type {any} */ video, /** @type {Record<string, any>} */ words) => {
    const meant = { ...reviewOf(video.id), ...words };
    lineOf(video.id); // with what the API told, before something else is in sight
    put(video.id, meant);
    said.push(video.id);
    const { rating, decision, reason, action } = meant;
    return ordered(video.id, (version) =>
      answered(video.id, `/v1/reviews/${video.id}`, "PUT", { version, rating, decision, reason, action }),
    );
  };

  const undo = async () => {
    const id = said.pop();
    if (!id) return toast(t("review.nothing"));
    chosen.value = Math.max(
      0,
      videos.value.findIndex((video) => video.id === id),
    );
    const undone = await ordered(id, (version) => answered(id, `/v1/reviews/${id}/undo`, "POST", { version }));
    if (undone) toast(t("undone"));
  };

  /**
   * What is still to be sent of each video, and the review that the API told last.
   * @type {Map<string, {done: Promise<any>, waiting: number, told: any, round: number}>}
   */
  const sending = new Map();
  const lineOf = (/** @type {string} */ id) => {
    const line = sending.get(id) ?? { done: Promise.resolve(), waiting: 0, told: reviewOf(id), round: 0 };
    sending.set(id, line);
    return line;
  };

  /** One thing after the other; what was said before one knew that another was quicker is not sent. */
  const ordered = (/** @type {string} */ id, /** @type {(version: number) => Promise<any>} */ act) => {
    const line = lineOf(id);
    const { round } = line;
    line.waiting += 1;
    line.done = line.done.then(async () => {
      line.waiting -= 1;
      return round === line.round ? act(line.told.version) : null;
    });
    return line.done;
  };

  const answered = async (
    /** @type {string} */ id,
    /** @type {string} */ path,
    /** @type {string} */ method,
    /** @type {any} */ body,
  ) => {
    const line = lineOf(id);
    try {
      const review = await patiently(() => api(path, { method, body }));
      line.told = review;
      // What was said since stays in sight until it is answered too.
      put(id, line.waiting ? { ...reviewOf(id), version: review.version } : review);
      count();
      return review;
    } catch (error) {
      const problem = /** @type {any} */ (error);
      line.round += 1;
      said.splice(0, said.length, ...said.filter((each) => each !== id));
      const holds = await api(`/v1/reviews/${id}`).catch(() => null);
      line.told = holds ?? line.told;
      put(id, line.told); // what was not taken is not left in sight as if it held
      if (problem.status === 409 && holds)
        toast(t("review.conflict", { who: holds.reviewer ?? "", what: told(holds) }));
      else toastProblem(problem);
      return null;
    }
  };

  const renew = () => {
    const open = videos.value.filter((video) => !video.review.decision);
    if (!open.length) return;
    const after = open[0].place > 0 ? String(open[0].place - 1) : null;
    api(`${base}/hold`, { method: "POST", body: { holder: holder(), limit: Math.min(100, open.length), after } }).catch(
      () => {},
    );
  };
  const timers = [setInterval(count, COUNT_MS), ...(queue ? [setInterval(renew, RENEW_MS)] : [])];
  const close = () => {
    timers.forEach(clearInterval);
    stop.abort();
    if (queue) api(`${base}/release`, { method: "POST", body: { holder: holder() } }).catch(() => {});
  };
  const move = (/** @type {number} */ step) => {
    chosen.value = Math.max(0, Math.min(chosen.value + step, videos.value.length - 1));
    if (chosen.value > videos.value.length - HELD / 2) more();
  };

  more();
  count();
  return { videos, chosen, current, counts, state, more, again, say, undo, move, count, close };
}

/** What a review says, in a word. @param {any} review */
export const told = (review) =>
  review.decision ? t(`review.is.${review.decision}`) : t("review.rated", { n: review.rating ?? "–" });

/** Sent again once the API is back: saying the same of the same version twice is saying it once. @param {() => Promise<any>} send */
async function patiently(send) {
  for (;;) {
    try {
      return await send();
    } catch (error) {
      if (/** @type {any} */ (error).code !== "away") throw error;
      await new Promise((resolve) => {
        const stop = awaySince.subscribe((since) => since === null && setTimeout(() => resolve(stop()), 0));
      });
    }
  }
}
