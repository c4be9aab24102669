// What each GPU does now: a tile for each worker with its render's stage and step; small ones where there are many.
import { pageUrl } from "../../lib/base.js";
import { useList } from "../../lib/data.js";
import { classes, html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Card } from "../../parts/Card.js";
import { ProblemBox } from "../../parts/Problem.js";
import { Progress } from "../../parts/Progress.js";
import { State } from "../../parts/State.js";
import { doing, shareOf, stageWord } from "../fleet/doing.js";

const MANY = 24;

export function Gpus() {
  const workers = useList("/v1/admin/workers", {}, { limit: 100, everyMs: 5000 });
  if (!workers.loaded)
    return workers.problem ? html`<${ProblemBox} problem=${workers.problem} again=${workers.reload} />` : null;
  const title = html`${t("overview.gpus")} <span class="muted small">${tally(workers.rows)}</span>`;
  return html`
    <${Card} title=${title} actions=${html`<a class="button small" href=${pageUrl("/fleet")}>${t("nav.fleet")}</a>`}>
      ${
        workers.rows.length
          ? html`<ul class=${classes("gpus", workers.rows.length > MANY && "many")}>${workers.rows.map((worker) => html`<${Tile} key=${worker.id} worker=${worker} />`)}</ul>`
          : html`<p class="muted">${t("overview.gpus.none")}</p>`
      }
      ${workers.hasMore && html`<p class="muted small"><a href=${pageUrl("/fleet")}>${t("overview.gpus.more")}</a></p>`}
    </${Card}>
  `;
}

function Tile(/** @type {{worker: any}} */ { worker }) {
  const { state, render } = doing(worker);
  const words = render ? `${stageWord(render.stage)} ${render.step}/${render.steps}` : "";
  return html`
    <li title="${worker.name} · ${worker.model ?? ""} ${words}">
      <div class="row"><strong>${worker.name}</strong><span class="muted small clip grow right">${worker.model ?? worker.pool}</span></div>
      ${
        render
          ? html`<${Progress} value=${shareOf(render)} label="${worker.name}: ${words}" tone=${state === "preempted" ? "violet" : "blue"} text=${words} />`
          : html`<div class="row"><${State} state=${state} /><span class="muted small clip grow">${worker.reason}</span></div>`
      }
    </li>
  `;
}

/** "3 busy, 1 idle": how many of each state. */
function tally(/** @type {any[]} */ workers) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const worker of workers) counts.set(doing(worker).state, (counts.get(doing(worker).state) ?? 0) + 1);
  return [...counts].map(([state, many]) => `${many} ${t(`state.${state}`)}`).join(" · ");
}
