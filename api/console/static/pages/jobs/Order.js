// Which end of a list comes first: the newest, or the oldest.
import { query, setQuery } from "../../lib/route.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Icon } from "../../parts/Icon.js";

export function Order() {
  const oldest = query.value.get("order") === "asc";
  return html`<button class="button quiet small" onClick=${() => setQuery({ order: oldest ? null : "asc" })}>
    <${Icon} name="down" />${t(oldest ? "jobs.order.asc" : "jobs.order.desc")}
  </button>`;
}
