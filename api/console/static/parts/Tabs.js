// Tabs whose choice lives in the URL; arrows move between them.
import { query, setQuery } from "../lib/route.js";
import { html } from "../lib/ui.js";

/** @param {{name?: string, label: string, tabs: {name: string, title: any, show: () => any}[]}} props `name`: of the query's value */
export function Tabs({ name = "tab", label, tabs }) {
  const chosen = tabs.find((tab) => tab.name === query.value.get(name)) ?? tabs[0];
  const move = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(chosen) + step + tabs.length) % tabs.length];
    setQuery({ [name]: next === tabs[0] ? null : next.name });
    /** @type {HTMLElement} */ (event.currentTarget)
      .querySelector(/** @type {any} */ (`[data-tab="${next.name}"]`))
      ?.focus();
  };
  return html`
    <div>
      <div class="tabs" role="tablist" aria-label=${label} onKeyDown=${move}>
        ${tabs.map(
          (tab) => html`
            <button role="tab" data-tab=${tab.name} id="tab-${name}-${tab.name}" aria-selected=${tab === chosen} aria-controls="panel-${name}"
              tabindex=${tab === chosen ? 0 : -1} onClick=${() => setQuery({ [name]: tab === tabs[0] ? null : tab.name })}>${tab.title}</button>
          `,
        )}
      </div>
      <div role="tabpanel" id="panel-${name}" aria-labelledby="tab-${name}-${chosen.name}">${chosen.show()}</div>
    </div>
  `;
}
