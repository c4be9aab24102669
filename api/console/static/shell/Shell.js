// What stands around every page: navigation, the bar on top, banners, the page itself, and what may lie over it.
import { awaySince, returns } from "../lib/api.js";
import { match, path } from "../lib/route.js";
import { expired, readSession, session } from "../lib/session.js";
import { html, signal, useEffect, useErrorBoundary, useRef, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Dialog } from "../parts/Dialog.js";
import { Empty } from "../parts/Empty.js";
import { Icon } from "../parts/Icon.js";
import { Loading, ProblemBox } from "../parts/Problem.js";
import { Toasts } from "../parts/Toast.js";
import { ROUTES } from "../routes.js";
import { Keys } from "./Keys.js";
import { Navigation } from "./Navigation.js";
import { Palette } from "./Palette.js";
import { SignIn, SignInForm } from "./SignIn.js";
import { Top } from "./Top.js";

/** Whether the navigation is open, where it has no room of its own. */
export const menuOpen = signal(false);

export function Shell() {
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    menuOpen.value = false;
  }, [path.value]);
  useEffect(() => {
    if (session.value === undefined && returns.value) readSession().catch(() => {});
  }, [returns.value]);
  if (session.value === undefined) return html`<${Banner} /><${Loading} />`;
  if (session.value === null) return html`<${Banner} /><${SignIn} />`;
  const skip = (/** @type {Event} */ event) => {
    event.preventDefault();
    main.current?.focus();
  };
  return html`
    <a class="skip button primary" href="#main" onClick=${skip}>${t("skip")}</a>
    <div class="shell">
      <${Navigation} open=${menuOpen.value} />
      ${menuOpen.value && html`<button class="veil" aria-label=${t("close")} onClick=${() => (menuOpen.value = false)}></button>`}
      <div class="grow">
        <${Top} onMenu=${() => (menuOpen.value = !menuOpen.value)} />
        <${Banner} />
        <main id="main" class="main" tabindex="-1" ref=${main}><${Shown} /></main>
      </div>
    </div>
    ${expired.value && html`<${Dialog} title=${t("signin.again")}><p class="muted">${t("signin.ended")}</p><br /><${SignInForm} /></${Dialog}>`}
    <${Palette} />
    <${Keys} />
    <${Toasts} />
  `;
}

const Banner = () =>
  awaySince.value !== null &&
  html`<div class="banner" role="status"><${Icon} name="alert" /><span>${t("away")}</span></div>`;

/** The page that the path names. */
function Shown() {
  for (const route of ROUTES) {
    const values = match(route.path, path.value);
    // Another thing's page is another page: nothing of the one before stays in it.
    if (values) return html`<${Guarded} key=${path.value} route=${route} values=${values} />`;
  }
  return html`<${Empty} icon="search" title=${t("nowhere")}>${t("nowhere.hint")}</${Empty}>`;
}

/** A page that breaks says so, and leaves the rest of the console whole. */
function Guarded(
  /** @type {{route: import("../routes.js").Route, values: Record<string, string>}} */ { route, values },
) {
  const [Page, setPage] = useState(/** @type {any} */ (null));
  const [failed, setFailed] = useState(/** @type {any} */ (null));
  const [error, reset] = useErrorBoundary((caught) => console.error(caught));
  useEffect(() => {
    route.load().then(
      (module) => setPage(() => Object.values(module)[0]),
      (problem) => setFailed(problem),
    );
  }, []);
  if (error) return html`<${ProblemBox} problem=${{ code: "page", message: String(error) }} again=${reset} />`;
  if (failed)
    return html`<${ProblemBox} problem=${{ code: "load", message: String(failed) }} again=${() => location.reload()} />`;
  return Page ? html`<${Page} ...${values} />` : html`<${Loading} />`;
}
