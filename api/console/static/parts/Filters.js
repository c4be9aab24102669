// Filters that live in the URL: what is chosen can be linked, reloaded and gone back to.
import { query, setQuery } from "../lib/route.js";
import { classes, html, useEffect, useRef, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Icon } from "./Icon.js";

/** @typedef {{name: string, label: string, type?: "select" | "text" | "number" | "moment", options?: [string, string][], placeholder?: string}} Filter */

/** What the URL says of these filters; those that are not set are left out. @param {Filter[]} filters */
export function filterValues(filters) {
  /** @type {Record<string, string>} */
  const found = {};
  for (const { name } of filters) {
    const value = query.value.get(name);
    if (value) found[name] = value;
  }
  return found;
}

/** @param {{filters: Filter[], children?: any}} props `children`: what else stands in the row */
export function Filters({ filters, children }) {
  const any = filters.some(({ name }) => query.value.has(name));
  return html`
    <div class="filters" role="search">
      ${filters.map((filter) => html`<${One} key=${filter.name} ...${filter} />`)}
      ${
        any &&
        html`<button class="button quiet small" onClick=${() => setQuery(Object.fromEntries(filters.map(({ name }) => [name, null])))}>
        <${Icon} name="close" />${t("filters.clear")}
      </button>`
      }
      ${children}
    </div>
  `;
}

function One(/** @type {Filter} */ { name, label, type = "select", options = [], placeholder }) {
  const value = query.value.get(name) ?? "";
  const choose = (/** @type {string} */ next) => setQuery({ [name]: next });
  return html`
    <label class=${classes("filter", value && "set")}>
      <span>${label}</span>
      ${
        type === "select"
          ? html`<select class="input" value=${value} onChange=${(/** @type {any} */ e) => choose(e.target.value)}>
            <option value="" selected=${!value}>${t("filters.any")}</option>
            ${options.map(([each, word]) => html`<option value=${each} selected=${each === value}>${word}</option>`)}
          </select>`
          : html`<${Typed} type=${type} value=${value} choose=${choose} placeholder=${placeholder} />`
      }
    </label>
  `;
}

const PAUSE_MS = 350;

/** Takes what is typed once the typing rests. */
function Typed(
  /** @type {{type: string, value: string, choose: (next: string) => void, placeholder?: string}} */ {
    type,
    value,
    choose,
    placeholder,
  },
) {
  const [typed, setTyped] = useState(value);
  const timer = useRef(0);
  const chosen = useRef(value);
  useEffect(() => {
    if (value !== chosen.current) setTyped((chosen.current = value));
    return undefined;
  }, [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const take = (/** @type {string} */ next) => {
    chosen.current = next.trim();
    choose(chosen.current);
  };
  const input = (/** @type {any} */ event) => {
    const next = event.target.value;
    setTyped(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => take(next), PAUSE_MS);
  };
  return html`<input class="input" type=${type === "moment" ? "datetime-local" : type} value=${typed} placeholder=${placeholder} onInput=${input} onChange=${(/** @type {any} */ e) => take(e.target.value)} />`;
}
