// The fleet: pools that are paused and resumed, kinds of workers and why they are as they are, workers one by one.
import { useGet, useList } from "../lib/data.js";
import { isAdmin } from "../lib/session.js";
import { html } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Page } from "../parts/Card.js";
import { Empty } from "../parts/Empty.js";
import { Loaded } from "../parts/Problem.js";
import { Tabs } from "../parts/Tabs.js";
import { Decisions, Kinds } from "./fleet/Kinds.js";
import { Pools } from "./fleet/Pools.js";
import { Quarantines } from "./fleet/Quarantines.js";
import { Workers } from "./fleet/Workers.js";

export function Fleet() {
  // What workers hold is other tenants', too: who sees one tenant alone sees its jobs, and why they wait.
  if (!isAdmin.value) {
    return html`
      <${Page} title=${t("fleet.title")}>
        <div class="card"><${Empty} icon="fleet" title=${t("fleet.closed")}><p>${t("fleet.closed.hint")}</p></${Empty}></div>
      </${Page}>
    `;
  }
  return html`<${Open} />`;
}

function Open() {
  const pools = useGet("/v1/admin/pools", {}, { everyMs: 5000 });
  const fleet = useGet("/v1/admin/fleet", {}, { everyMs: 5000 });
  const workers = useList("/v1/admin/workers", {}, { limit: 100, everyMs: 5000 });
  const quarantines = useGet("/v1/admin/quarantines", { limit: 100 }, { everyMs: 30_000 });
  const given = quarantines.data?.data.length ?? 0;
  return html`
    <${Page} title=${t("fleet.title")} lead=${t("fleet.lead")}>
      <div class="stack wide fleet">
        <${Loaded} of=${pools}>${(/** @type {any} */ it) => html`<${Pools} pools=${it.data} reload=${pools.reload} />`}</${Loaded}>
        <${Tabs} label=${t("fleet.title")} tabs=${[
          { name: "workers", title: t("fleet.workers"), show: () => html`<${Workers} list=${workers} />` },
          {
            name: "kinds",
            title: t("fleet.kinds"),
            show: () =>
              html`<${Loaded} of=${fleet}>${(/** @type {any} */ it) => html`<${Kinds} kinds=${it.kinds} />`}</${Loaded}>`,
          },
          {
            name: "decisions",
            title: t("fleet.decisions"),
            show: () =>
              html`<${Loaded} of=${fleet}>${(/** @type {any} */ it) => html`<${Decisions} decisions=${it.decisions} />`}</${Loaded}>`,
          },
          {
            name: "quarantines",
            title: given ? t("fleet.quarantines.many", { many: given }) : t("fleet.quarantines"),
            show: () =>
              html`<${Loaded} of=${quarantines}>${(/** @type {any} */ it) => html`<${Quarantines} quarantines=${it.data} />`}</${Loaded}>`,
          },
        ]} />
      </div>
    </${Page}>
  `;
}
