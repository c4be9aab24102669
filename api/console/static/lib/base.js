// Where this console lies: the prefix that a proxy or `api.base_path` puts before every path.
const HERE = new URL(import.meta.url).pathname;

/** The prefix of every path, without a slash at its end; "" at the root. */
export const BASE = HERE.slice(0, HERE.indexOf("/console/static/"));

/** The path of a page, for links. @param {string} path such as "/jobs" */
export const pageUrl = (path) => `${BASE}/console${path === "/" ? "" : path}`;
