// Where the viewer is: the path and its query as signals, kept in step with the browser's history.
import { BASE, pageUrl } from "./base.js";
import { computed, signal } from "./ui.js";

const ROOT = `${BASE}/console`;
const read = () => ({ path: location.pathname.slice(ROOT.length).replace(/\/+$/, "") || "/", search: location.search });

const here = signal(read());

/** The path below /console, such as "/jobs/video_1"; "/" for the console's own. */
export const path = computed(() => here.value.path);

/** What stands behind the question mark. */
export const query = computed(() => new URLSearchParams(here.value.search));

addEventListener("popstate", () => (here.value = read()));

/** Goes to a page. @param {string} to path below /console, with a query or without @param {{replace?: boolean}} [how] */
export function go(to, { replace = false } = {}) {
  const url = to.startsWith("?") ? `${location.pathname}${to === "?" ? "" : to}` : pageUrl(to);
  if (url === location.pathname + location.search) return;
  const before = here.value.path;
  history[replace ? "replaceState" : "pushState"](null, "", url);
  here.value = read();
  if (before !== here.value.path) scrollTo(0, 0);
}

/** Sets or, with null or "", removes values of the query, and stays on the page. @param {Record<string, any>} changes */
export function setQuery(changes, { replace = true } = {}) {
  const next = new URLSearchParams(query.value);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    for (const each of [value].flat())
      if (each !== null && each !== undefined && each !== "") next.append(name, String(each));
  }
  go(`?${next}`, { replace });
}

/** Links of the console are followed without leaving the page. */
addEventListener("click", (event) => {
  const link = /** @type {Element} */ (event.target).closest?.("a");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  if (link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (link.pathname !== ROOT && !link.pathname.startsWith(`${ROOT}/`)) return;
  event.preventDefault();
  go((link.pathname.slice(ROOT.length) || "/") + link.search);
});

/**
 * The values of a pattern's names in a path, or null: match("/jobs/:id", "/jobs/video_1") is {id: "video_1"}.
 * @param {string} pattern @param {string} given
 */
export function match(pattern, given) {
  const parts = pattern.split("/");
  const found = given.split("/");
  if (parts.length !== found.length) return null;
  /** @type {Record<string, string>} */
  const values = {};
  for (const [i, part] of parts.entries()) {
    if (part.startsWith(":")) values[part.slice(1)] = decoded(found[i]);
    else if (part !== found[i]) return null;
  }
  return values;
}

/**
 * An id of a link as one step of a path of the API. Ours are words: what else a link says, slashes and dots among it,
 * is nothing's id, and must not have a page call another route with its reader's rights.
 * @param {string} id
 */
export const step = (id) => (/^\w+$/.test(id) ? id : "-");

function decoded(/** @type {string} */ text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
