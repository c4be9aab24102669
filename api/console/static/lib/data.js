// Hooks that read the API for a component: once, again when told or when the API is back, and page by page.
import { api, returns } from "./api.js";
import { useCallback, useEffect, useRef, useState } from "./ui.js";

/**
 * What a call answers, read anew when `deps` change, when the API comes back, every `everyMs` while the page is
 * seen, and on `reload()`. What was shown stays until the new is there.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} read
 * @param {unknown[]} deps
 * @param {{everyMs?: number}} [how]
 * @returns {{data: T | undefined, problem: any, loading: boolean, reload: () => void}}
 */
export function useData(read, deps, { everyMs } = {}) {
  const [state, setState] = useState(/** @type {any} */ ({ data: undefined, problem: null, loading: true }));
  const [asked, setAsked] = useState(0);
  const reload = useCallback(() => setAsked((count) => count + 1), []);
  const known = useRef(deps);
  useEffect(() => {
    const stop = new AbortController();
    // Another question's answer must not stand under this one's name.
    const other = known.current.some((each, i) => each !== deps[i]);
    known.current = deps;
    setState((/** @type {any} */ before) => ({ data: other ? undefined : before.data, problem: null, loading: true }));
    read(stop.signal).then(
      (data) => stop.signal.aborted || setState({ data, problem: null, loading: false }),
      (problem) =>
        stop.signal.aborted || setState((/** @type {any} */ it) => ({ data: it.data, problem, loading: false })),
    );
    return () => stop.abort();
  }, [...deps, asked, returns.value]);
  useEffect(() => {
    if (!everyMs) return undefined;
    const timer = setInterval(() => document.hidden || reload(), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return { ...state, reload };
}

/** What GET answers. @param {string} path @param {Record<string, unknown>} [query] @param {{everyMs?: number}} [how] */
export function useGet(path, query = {}, how = {}) {
  return useData((signal) => api(path, { query, signal }), [path, JSON.stringify(query)], how);
}

/**
 * A list by keyset: the first page at once, further ones by `more()`. Pages are read with `limit` and `after`, and
 * answer {data, has_more, last_id}.
 * @param {string} path @param {Record<string, unknown>} [query]
 * @param {{limit?: number, everyMs?: number}} [how] `everyMs`: how often the first page is looked at again
 */
export function useList(path, query = {}, { limit = 100, everyMs } = {}) {
  const first = useGet(path, { ...query, limit }, { everyMs });
  const [rest, setRest] = useState(/** @type {any[]} */ ([]));
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(/** @type {any} */ (null));
  const question = `${path} ${JSON.stringify(query)}`;
  const now = useRef(question);
  now.current = question;
  useEffect(() => setRest([]), [question]);
  const pages = first.data ? [first.data, ...rest] : [];
  const last = pages.at(-1);
  const more = useCallback(async () => {
    if (busy || !last?.has_more) return;
    setBusy(true);
    setProblem(null);
    try {
      const next = await api(path, { query: { ...query, limit, after: last.last_id } });
      if (now.current === question) setRest((before) => [...before, next]);
    } catch (error) {
      setProblem(error);
    } finally {
      setBusy(false);
    }
  }, [question, busy, last]);
  return {
    rows: unique(pages.flatMap((page) => page.data)),
    hasMore: Boolean(last?.has_more),
    more,
    loading: first.loading || busy,
    loaded: first.data !== undefined,
    first: first.data,
    problem: first.problem ?? problem,
    reload: first.reload,
  };
}

/** A row that moved onto the first page since is shown once. @param {any[]} rows */
function unique(rows) {
  const seen = new Set();
  return rows.filter((row) => row.id === undefined || (!seen.has(row.id) && seen.add(row.id)));
}
