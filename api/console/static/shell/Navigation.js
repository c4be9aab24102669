// The ways to all pages, in groups; those that the session may not see are not there.
import { BASE, pageUrl } from "../lib/base.js";
import { path } from "../lib/route.js";
import { isAdmin, may } from "../lib/session.js";
import { zone } from "../lib/time.js";
import { classes, html } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Icon } from "../parts/Icon.js";
import { ROUTES } from "../routes.js";

const LOGO = new URL("../style/icon.svg", import.meta.url).href;
const GROUPS = /** @type {const} */ (["work", "machines", "settings"]);

/** The pages of the navigation that this session may see. */
export const visibleRoutes = () => ROUTES.filter((route) => route.group && maySee(route));

const maySee = (/** @type {import("../routes.js").Route} */ { admin, right }) =>
  (!admin && !right) || (admin && isAdmin.value) || (right !== undefined && may(right));

const isHere = (/** @type {string} */ to) => (to === "/" ? path.value === "/" : `${path.value}/`.startsWith(`${to}/`));

/** @param {{open: boolean}} props */
export function Navigation({ open }) {
  const routes = visibleRoutes();
  return html`
    <nav class=${classes("side", open && "open")} aria-label=${t("nav")}>
      <${Brand} />
      ${GROUPS.map((group) => {
        const mine = routes.filter((route) => route.group === group);
        return (
          mine.length > 0 &&
          html`
            <h2 id="nav-${group}">${t(`nav.${group}`)}</h2>
            <ul aria-labelledby="nav-${group}">
              ${mine.map(
                (route) => html`<li>
                  <a class="entry" href=${pageUrl(route.path)} aria-current=${isHere(route.path) ? "page" : undefined}><${Icon} name=${route.name} />${t(`nav.${route.name}`)}</a>
                </li>`,
              )}
            </ul>
          `
        );
      })}
      <div class="foot">
        <a href="${BASE}/docs" target="_blank" rel="noopener">${t("nav.docs")}</a>
        <div>${t("nav.zone", { zone: zone() })}</div>
      </div>
    </nav>
  `;
}

export const Brand = () => html`<a class="brand" href=${pageUrl("/")}><img src=${LOGO} alt="" />Cogmill</a>`;
