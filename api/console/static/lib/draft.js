// What somebody types into a form, kept in this browser until it is sent: a reload, or an API that is away, loses none.
import { keep, kept as keptText } from "./kept.js";
import { session } from "./session.js";
import { useCallback, useEffect, useState } from "./ui.js";

const AFTER_MS = 200;

/** Of one key's holder, so that the next one to sign in here sees none of it. @param {string} name */
const keyOf = (name) => `cogmill.draft.${session.value?.key_id ?? session.value?.person ?? "nobody"}.${name}`;

/**
 * A form's values with those that were typed before; setting some keeps the others.
 * @template {Record<string, any>} T
 * @param {string} name @param {T} initial
 * @returns {[T, (changes: Partial<T>) => void, () => void, boolean]} values, set, forget, and whether any were kept
 */
export function useDraft(name, initial) {
  const key = keyOf(name);
  const [kept] = useState(() => read(key));
  const [values, setValues] = useState(/** @type {T} */ ({ ...initial, ...kept }));
  const set = useCallback(
    (/** @type {Partial<T>} */ changes) => setValues((before) => ({ ...before, ...changes })),
    [],
  );
  const forget = useCallback(() => {
    keep(key, null);
    setValues(initial);
  }, []);
  useEffect(() => {
    const timer = setTimeout(() => {
      const changed = Object.entries(values).filter(([field, value]) => value !== initial[field]);
      keep(key, changed.length ? JSON.stringify(Object.fromEntries(changed)) : null);
    }, AFTER_MS);
    return () => clearTimeout(timer);
  }, [values]);
  return [values, set, forget, kept !== null];
}

function read(/** @type {string} */ key) {
  try {
    return JSON.parse(keptText(key) ?? "null");
  } catch {
    return null;
  }
}
