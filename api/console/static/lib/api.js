// Calls of the API: with the session's CSRF token, errors as problems, patience while the API is away.
import { BASE } from "./base.js";
import { expired, readSession, session, signedIn } from "./session.js";
import { signal } from "./ui.js";

/** What went wrong with a call. `code` is the API's stable word, `away` when it could not be reached. */
export class Problem extends Error {
  /**
   * @param {{status: number, code: string, message: string, param?: string | null, requestId?: string | null,
   *   retryAfterS?: number | null}} what
   */
  constructor(what) {
    super(what.message);
    this.status = what.status;
    this.code = what.code;
    this.param = what.param ?? null;
    this.requestId = what.requestId ?? null;
    this.retryAfterS = what.retryAfterS ?? null;
  }
}

/** When the API went away, in milliseconds; null while it is there. */
export const awaySince = signal(/** @type {number | null} */ (null));

/** Counts how often the API came back: pages that show data read it anew. */
export const returns = signal(0);

const READING = new Set(["GET", "HEAD"]);
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/**
 * Calls the API and answers its JSON, or null where there is no body. Reading waits while the API is away; what
 * changes something is never sent twice by itself, and throws a Problem with code "away" instead.
 * @param {string} path below the base, such as "/v1/videos"
 * @param {{method?: string, query?: Record<string, unknown>, body?: unknown, headers?: Record<string, string>,
 *   signal?: AbortSignal}} [how] `body`: FormData or Blob as it is, all else as JSON
 * @returns {Promise<any>}
 */
export async function api(path, how = {}) {
  const answer = await call(path, how);
  return answer.status === 204 ? null : answer.json();
}

/** The same, answering the raw Response: for text, CSV, blobs and headers. @returns {Promise<Response>} */
export async function call(/** @type {string} */ path, /** @type {Parameters<typeof api>[1]} */ how = {}) {
  const method = how.method ?? "GET";
  let renewed = false;
  for (;;) {
    const answer = await reach(path, method, how);
    if (answer.ok) return answer;
    const problem = await problemOf(answer);
    if (answer.status === 401) await signedIn();
    else if (problem.code === "csrf" && !renewed) {
      renewed = true;
      await readSession();
    } else throw problem;
    how.signal?.throwIfAborted();
  }
}

async function reach(/** @type {string} */ path, /** @type {string} */ method, /** @type {any} */ how) {
  for (;;) {
    try {
      const answer = await fetch(urlOf(path, how.query), request(method, how));
      if (!isAway(answer)) {
        if (awaySince.value !== null) comeBack();
        return answer;
      }
    } catch (error) {
      if (how.signal?.aborted) throw error;
    }
    goAway();
    if (!READING.has(method)) throw new Problem({ status: 0, code: "away", message: "the API cannot be reached" });
    await back(how.signal);
  }
}

/**
 * Another's answer for an API that is not there: a proxy's error, or a page, such as a network's own for signing in. The
 * API's own 503 has its request id and is a problem of one call.
 */
export const isAway = (/** @type {Response} */ answer) =>
  answer.ok
    ? (answer.headers.get("content-type") ?? "").startsWith("text/html")
    : [502, 503, 504].includes(answer.status) && !answer.headers.has("x-request-id");

function request(/** @type {string} */ method, /** @type {any} */ how) {
  const headers = new Headers(how.headers);
  if (!READING.has(method)) headers.set("x-csrf-token", session.value?.csrf ?? "");
  let body = how.body;
  if (body !== undefined && !(body instanceof FormData) && !(body instanceof Blob)) {
    headers.set("content-type", "application/json");
    body = JSON.stringify(body);
  }
  return { method, headers, body, signal: how.signal, credentials: /** @type {const} */ ("same-origin") };
}

/** @param {string} path @param {Record<string, unknown>} [query] empty values are left out, lists repeat their name */
export function urlOf(path, query = {}) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat())
      if (each !== undefined && each !== null && each !== "") found.append(name, String(each));
  }
  return `${BASE}${path}${found.size ? `?${found}` : ""}`;
}

/** The problem in an answer, in any of the API's dialects. @param {Response} answer @returns {Promise<Problem>} */
export async function problemOf(answer) {
  const body = await answer.json().catch(() => null);
  const error = body?.error ?? body ?? {};
  return new Problem({
    status: answer.status,
    code: String(error.code ?? `http_${answer.status}`),
    message: String(error.message ?? error.detail ?? answer.statusText),
    param: error.param ?? null,
    requestId: answer.headers.get("x-request-id"),
    retryAfterS: Number(answer.headers.get("retry-after")) || null,
  });
}

let asking = false;

/** The API does not answer: say so, and ask until it does. */
export function goAway() {
  awaySince.value ??= Date.now();
  if (!asking) askUntilBack();
}

async function askUntilBack() {
  asking = true;
  for (let wait = FIRST_WAIT_MS; awaySince.value !== null; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    await new Promise((resolve) => setTimeout(resolve, wait * (0.75 + Math.random() / 2)));
    const answer = await fetch(`${BASE}/console/session`).catch(() => null);
    if (answer && !isAway(answer) && answer.status < 500) comeBack();
  }
  asking = false;
}

function comeBack() {
  awaySince.value = null;
  returns.value += 1;
}

/** Resolves when the API is there again. @param {AbortSignal} [signal] @returns {Promise<void>} */
function back(signal) {
  let stop = () => {};
  /** @type {Promise<void>} */
  const there = new Promise((resolve, reject) => {
    stop = awaySince.subscribe((since) => {
      if (since === null) resolve();
    });
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  return there.finally(() => stop());
}

export { expired };
