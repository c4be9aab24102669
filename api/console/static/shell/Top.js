// The bar on top: search, theme, language, who is signed in, and the way out.

import { session, signOut } from "../lib/session.js";
import { choice, chooseTheme, theme } from "../lib/theme.js";
import { html } from "../lib/ui.js";
import { LANGUAGES, language, setLanguage, t } from "../lib/words.js";
import { Icon } from "../parts/Icon.js";
import { Menu } from "../parts/Menu.js";
import { toastProblem } from "../parts/Toast.js";
import { keysOpen } from "./Keys.js";
import { paletteOpen } from "./Palette.js";

/** @param {{onMenu: () => void}} props */
export function Top({ onMenu }) {
  const who = session.value;
  return html`
    <header class="top">
      <button class="button icon quiet menu-button" aria-label=${t("nav")} onClick=${onMenu}><${Icon} name="menu" /></button>
      <button class="find" onClick=${() => (paletteOpen.value = true)}>
        <${Icon} name="search" /><span class="clip">${t("palette.ask")}</span><kbd>Ctrl K</kbd>
      </button>
      <span class="grow"></span>
      <${ThemeMenu} />
      <${LanguageMenu} />
      <div class="who">
        <strong class="clip">${who?.name || who?.person}</strong>
        <span class="clip">${who?.all_tenants ? t("top.all", { tenant: who.tenant }) : who?.tenant}</span>
      </div>
      <${Menu}
        label=${t("top.account")}
        icon="user"
        items=${[
          { title: t("keys.title"), icon: "keyboard", act: () => (keysOpen.value = true) },
          { title: t("signout"), icon: "out", act: () => signOut().catch(toastProblem) },
        ]}
      />
    </header>
  `;
}

export const ThemeMenu = () => html`
  <${Menu}
    label=${t("theme")}
    icon=${theme.value === "dark" ? "moon" : "sun"}
    items=${
      /** @type {const} */ ([
        ["light", "sun"],
        ["dark", "moon"],
        ["system", "system"],
      ]).map(([name, icon]) => ({
        title: t(`theme.${name}`),
        icon,
        checked: choice.value === name,
        act: () => chooseTheme(name),
      }))
    }
  />
`;

export const LanguageMenu = () => html`
  <${Menu}
    label=${t("language")}
    icon="language"
    items=${Object.entries(LANGUAGES).map(([name, title]) => ({
      title,
      checked: language.value === name,
      act: () => setLanguage(/** @type {any} */ (name)),
    }))}
  />
`;
