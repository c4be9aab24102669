// Who is signed in, as the server says; no key and no token is ever kept by the browser's scripts.
import { BASE } from "./base.js";
import { computed, signal } from "./ui.js";
import { t } from "./words.js";

/**
 * @typedef {{tenant: string, name: string, key_id: string, person: string | null, rights: string[],
 *   role: null | "admin" | "operator" | "viewer", all_tenants: boolean, csrf: string, expires_at: number | string | null}} Session
 */

/** undefined until the server was asked, null for nobody. */
export const session = signal(/** @type {Session | null | undefined} */ (undefined));

/** Whether the session ended while a page was open: the page stays, and what was typed in it. */
export const expired = signal(false);

/** @param {string} right such as "submit", "read", "admin" */
export const may = (right) => session.value?.rights.includes(right) ?? false;

export const isAdmin = computed(() => session.value?.all_tenants ?? false);

/** Whether all tenants' things are meant: an administrator's view spans tenants. */
export const ofAll = () => isAdmin.value && may("view");

/** The root of the routes that list, count and act on many. */
export const root = () => (ofAll() ? "/v1/admin" : "/v1");

/** @type {(() => void)[]} */
const waiting = [];

/** Resolves once somebody is signed in again. @returns {Promise<void>} */
export function signedIn() {
  expired.value = true;
  return new Promise((resolve) => waiting.push(resolve));
}

/** Asks who is signed in. @returns {Promise<void>} */
export async function readSession() {
  const answer = await fetch(`${BASE}/console/session`, { credentials: "same-origin" });
  if (answer.ok) begin(await answer.json());
  else if (answer.status === 401) session.value ??= null;
  else throw new Error(`${answer.status}`);
}

/** A session has begun, or goes on after an interruption. @param {Session} next */
export function begin(next) {
  const before = session.value;
  // Another tenant's page must not show what the one before had loaded, nor send what was typed there: not after an
  // interruption, and not where somebody else has signed in in another tab.
  if (before && before.tenant !== next.tenant) return location.reload();
  session.value = next;
  expired.value = false;
  for (const go of waiting.splice(0)) go();
}

/** Ends this browser's session here and on the server, also one that has begun in another tab since. */
export async function signOut() {
  const url = `${BASE}/console/session`;
  const now = await fetch(url)
    .then((answer) => (answer.ok ? answer.json() : null))
    .catch(() => null);
  const headers = { "x-csrf-token": now?.csrf ?? "" };
  const ended = await fetch(url, { method: "DELETE", headers }).catch(() => null);
  if (ended?.status !== 204) throw new Error(t("signout.failed"));
  location.assign(`${BASE}/console`);
}
