// Workers that were given up since job after job failed on them, with the jobs and what they failed with.
import { pageUrl } from "../../lib/base.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { DateTime } from "../../parts/Amounts.js";
import { Card } from "../../parts/Card.js";
import { Empty } from "../../parts/Empty.js";
import { State } from "../../parts/State.js";

/** @param {{quarantines: any[]}} props */
export function Quarantines({ quarantines }) {
  if (!quarantines.length) {
    return html`<div class="card"><${Empty} icon="check" title=${t("fleet.quarantines.none")}><p>${t("fleet.quarantines.hint")}</p></${Empty}></div>`;
  }
  return html`<div class="stack">${quarantines.map((each) => html`<${One} key=${each.worker + each.incarnation} it=${each} />`)}</div>`;
}

function One(/** @type {{it: any}} */ { it }) {
  const title = html`<span class="mono">${it.worker}</span> <${State} state="quarantined" />`;
  return html`
    <${Card} title=${title} actions=${html`<span class="muted small">${it.pool} · <${DateTime} at=${it.at} /></span>`}>
      <p class="muted small">${t("fleet.life", { life: it.incarnation })}</p>
      <ul class="evidence">
        ${it.jobs.map(
          (/** @type {any} */ job) => html`
            <li>
              <a class="mono small" href=${pageUrl(`/jobs/${job.job}`)}>${job.job}</a>
              <span class="muted small">${job.tenant}</span>
              ${job.code ? html`<${State} state="failed">${job.code}</${State}> <span class="small">${job.message}</span>` : html`<span class="muted small">${t("fleet.gone")}</span>`}
            </li>
          `,
        )}
      </ul>
    </${Card}>
  `;
}
