// The command palette: pages, actions, a job by its id and campaigns by their names, all by typing (Ctrl-K).
import { api } from "../lib/api.js";
import { useShortcuts } from "../lib/keys.js";
import { go } from "../lib/route.js";
import { may, ofAll, root, signOut } from "../lib/session.js";
import { chooseTheme, theme } from "../lib/theme.js";
import { html, signal, useEffect, useRef, useState } from "../lib/ui.js";
import { language, setLanguage, t } from "../lib/words.js";
import { Icon } from "../parts/Icon.js";
import { toastProblem } from "../parts/Toast.js";
import { keysOpen } from "./Keys.js";
import { visibleRoutes } from "./Navigation.js";

export const paletteOpen = signal(false);

/** @typedef {{title: string, kind: string, icon: string, act: () => void}} Found */

/** What pages add for as long as they are shown. */
export const pageCommands = signal(/** @type {Found[]} */ ([]));

export function Palette() {
  useShortcuts([{ keys: "ctrl+k", words: "palette.title", act: () => (paletteOpen.value = !paletteOpen.value) }]);
  return paletteOpen.value ? html`<${Opened} />` : null;
}

function Opened() {
  const [typed, setTyped] = useState("");
  const [at, setAt] = useState(0);
  const campaigns = useCampaigns(typed);
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    dialog.current?.showModal();
    return () => before?.focus();
  }, []);
  const close = () => (paletteOpen.value = false);
  const found = [
    ...byId(typed),
    ...[...pageCommands.value, ...pages(), ...actions(), ...campaigns].filter((each) => fits(typed, each.title)),
  ].slice(0, 60);
  const chosen = Math.min(at, found.length - 1);
  const take = (/** @type {Found | undefined} */ one) => {
    if (!one) return;
    close();
    one.act();
  };
  const type = (/** @type {string} */ next) => {
    setTyped(next);
    setAt(0);
  };
  const press = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) setAt((chosen + step + found.length) % (found.length || 1));
    else if (event.key === "Enter") take(found[chosen]);
    else if ((event.ctrlKey || event.metaKey) && event.key === "k") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  useEffect(
    () => dialog.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" }),
    [chosen],
  );
  return html`
    <dialog class="palette" ref=${dialog} aria-label=${t("palette.title")} onClose=${close} onMouseDown=${(/** @type {MouseEvent} */ e) => e.target === dialog.current && close()}>
      <div class="ask">
        <${Icon} name="search" />
        <input role="combobox" aria-expanded="true" aria-controls="palette-found" aria-activedescendant=${found.length ? `palette-${chosen}` : undefined}
          aria-label=${t("palette.ask")} placeholder=${t("palette.ask")} autocomplete="off" spellcheck=${false} autofocus value=${typed}
          onInput=${(/** @type {any} */ e) => type(e.target.value)} onKeyDown=${press} />
        <kbd>Esc</kbd>
      </div>
      ${found.length === 0 && html`<div class="none" role="status">${t("palette.none")}</div>`}
      <ul class="found" id="palette-found" role="listbox" aria-label=${t("palette.title")}>
        ${found.map(
          (each, i) => html`
          <li id="palette-${i}" role="option" aria-selected=${i === chosen} onClick=${() => take(each)} onMouseMove=${() => i !== chosen && setAt(i)}>
            <${Icon} name=${each.icon} /><span class="clip">${each.title}</span><span class="kind">${each.kind}</span>
          </li>`,
        )}
      </ul>
    </dialog>
  `;
}

/** Whether all letters of what was typed are there, words in any order. */
const fits = (/** @type {string} */ typed, /** @type {string} */ title) =>
  typed
    .toLowerCase()
    .split(/\s+/)
    .every((word) => title.toLowerCase().includes(word));

/** @returns {Found[]} */
const pages = () =>
  visibleRoutes().map((route) => ({
    title: t(`nav.${route.name}`),
    kind: t("palette.page"),
    icon: route.name,
    act: () => go(route.path),
  }));

/** @returns {Found[]} */
const actions = () => {
  const kind = t("palette.action");
  const other = theme.value === "dark" ? "light" : "dark";
  return [
    {
      title: t("palette.theme", { theme: t(`theme.${other}`) }),
      kind,
      icon: other === "dark" ? "moon" : "sun",
      act: () => chooseTheme(other),
    },
    {
      title: language.value === "en" ? "切换到中文" : "Switch to English",
      kind,
      icon: "language",
      act: () => setLanguage(language.value === "en" ? "zh" : "en"),
    },
    { title: t("keys.title"), kind, icon: "keyboard", act: () => (keysOpen.value = true) },
    { title: t("signout"), kind, icon: "out", act: () => signOut().catch(toastProblem) },
  ];
};

/** An id leads to its thing, whether or not it is on any list. @returns {Found[]} */
function byId(/** @type {string} */ typed) {
  const id = typed.trim();
  if (/^(video_)?[0-9a-f]{32}$/i.test(id)) {
    const whole = id.startsWith("video_") ? id : `video_${id}`;
    return [{ title: whole, kind: t("palette.job"), icon: "jobs", act: () => go(`/jobs/${whole}`) }];
  }
  if (/^(campaign|camp|cmp)_\w+$/i.test(id))
    return [{ title: id, kind: t("palette.campaign"), icon: "campaigns", act: () => go(`/campaigns/${id}`) }];
  return [];
}

const PAUSE_MS = 150;

/**
 * The newest campaigns whose names have the longest of the typed words, read as one types; without them the palette
 * still leads to pages. Those that were read before stay until the next are there.
 * @param {string} typed
 */
function useCampaigns(typed) {
  const [found, setFound] = useState(/** @type {Found[]} */ ([]));
  const [name] = typed.split(/\s+/).sort((a, b) => b.length - a.length);
  useEffect(() => {
    if (!ofAll() && !may("read")) return undefined;
    const stop = new AbortController();
    const read = () =>
      api(`${root()}/campaigns`, { query: { limit: 100, name: name.slice(0, 200) || null }, signal: stop.signal }).then(
        ({ data }) => setFound(data.map(leadingTo)),
        () => {},
      );
    const timer = setTimeout(read, name ? PAUSE_MS : 0);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [name]);
  return found;
}

/** @param {any} campaign @returns {Found} */
const leadingTo = (campaign) => ({
  title: campaign.name ?? campaign.id,
  kind: t("palette.campaign"),
  icon: "campaigns",
  act: () => go(`/campaigns/${campaign.id}`),
});
