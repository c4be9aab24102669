// Who changed what, when and from where; each change before and after; all that match as JSON Lines.
import { useList } from "../lib/data.js";
import { dateOf, dateTime } from "../lib/time.js";
import { html, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { TimeAgo } from "../parts/Amounts.js";
import { Facts, Page } from "../parts/Card.js";
import { Id } from "../parts/Copy.js";
import { Dialog } from "../parts/Dialog.js";
import { Empty } from "../parts/Empty.js";
import { Filters, filterValues } from "../parts/Filters.js";
import { State } from "../parts/State.js";
import { Table } from "../parts/Table.js";
import { Export } from "./audit/Export.js";

const ACTIONS = [
  "key.create",
  "key.rotate",
  "key.revoke",
  "session.begin",
  "session.end",
  "tenant.create",
  "tenant.limits",
  "tenant.weight",
  "tenant.share",
  "tenant.budget",
  "tenant.erase",
  "pool.pause",
  "pool.resume",
  "worker.drain",
  "worker.replace",
  "worker.resume",
  "job.cancel",
  "job.retry",
  "dead_letter.release",
  "dead_letter.forget",
  "webhook.create",
  "webhook.update",
  "webhook.delete",
  "webhook.rotate",
  "campaign.approve",
  "campaign.update",
  "campaign.cancel",
  "campaign.delete",
  "parked.resume",
  "roll.retry",
  "database.migrate",
  "master.retire",
  "audit.prune",
  "audit.accept",
  "authentication.fail",
  "request.refuse",
];

/** What the API is asked, of what the filters say: moments as they are in the viewer's zone. @param {Record<string, string>} chosen */
function asked(chosen) {
  const moment = (/** @type {string | undefined} */ text) => text && Math.floor(Number(dateOf(text)) / 1000);
  return { ...chosen, from: moment(chosen.from), to: moment(chosen.to) };
}

export function Audit() {
  const filters = [
    {
      name: "action",
      label: t("audit.action"),
      options: ACTIONS.map((each) => /** @type {[string, string]} */ ([each, each])),
    },
    { name: "tenant", label: t("audit.tenant"), type: /** @type {const} */ ("text") },
    { name: "actor", label: t("audit.actor"), type: /** @type {const} */ ("text"), placeholder: "key:cgm_…" },
    { name: "subject", label: t("audit.subject"), type: /** @type {const} */ ("text"), placeholder: "pool:main" },
    { name: "from", label: t("audit.from"), type: /** @type {const} */ ("moment") },
    { name: "to", label: t("audit.to"), type: /** @type {const} */ ("moment") },
  ];
  const question = asked(filterValues(filters));
  const list = useList("/v1/admin/audit", question, { everyMs: 15_000 });
  const [chosen, setChosen] = useState(/** @type {any} */ (null));
  const columns = [
    { name: "at", title: t("audit.at"), cell: (/** @type {any} */ row) => html`<${TimeAgo} at=${row.at} />` },
    {
      name: "action",
      title: t("audit.action"),
      cell: (/** @type {any} */ row) =>
        html`<span class="row tight nowrap"><span class="mono">${row.action}</span>${row.outcome === "refused" && html`<${State} state="rejected">${t("audit.refused")}</${State}>`}</span>`,
    },
    {
      name: "actor",
      title: t("audit.actor"),
      cell: (/** @type {any} */ row) => html`<span class="mono clip" title=${row.actor}>${row.actor ?? gone()}</span>`,
    },
    { name: "tenant", title: t("audit.tenant"), cell: (/** @type {any} */ row) => row.tenant ?? "–" },
    {
      name: "subject",
      title: t("audit.subject"),
      cell: (/** @type {any} */ row) =>
        html`<span class="mono clip" title=${row.subject}>${row.subject ?? gone()}</span>`,
    },
    {
      name: "address",
      title: t("audit.address"),
      cell: (/** @type {any} */ row) => html`<span class="mono">${row.address ?? "–"}</span>`,
    },
    {
      name: "change",
      title: t("audit.change"),
      wide: true,
      cell: (/** @type {any} */ row) => html`<span class="clip changed">${changed(row)}</span>`,
    },
  ];
  return html`
    <${Page} title=${t("nav.audit")} lead=${t("audit.lead")} actions=${html`<${Export} query=${question} />`}>
      <${Filters} filters=${filters} />
      <${Table} label=${t("nav.audit")} ...${list} columns=${columns} open=${setChosen}
        empty=${html`<${Empty} icon="audit" title=${t("audit.none")}>${t("audit.none.hint")}</${Empty}>`} />
      ${chosen && html`<${Entry} of=${chosen} onClose=${() => setChosen(null)} />`}
    </${Page}>
  `;
}

const gone = () => html`<span class="faint">${t("audit.erased")}</span>`;
const said = (/** @type {any} */ value) => (typeof value === "string" ? value : JSON.stringify(value));

/** One line of what has changed. @param {any} row */
function changed(row) {
  const names = Object.keys({ ...row.before, ...row.after });
  const one = (/** @type {string} */ name) => {
    const before = row.before?.[name];
    const after = row.after?.[name];
    return before === undefined ? `${name} ${said(after)}` : `${name} ${said(before)} → ${said(after ?? null)}`;
  };
  return names.map(one).join(", ");
}

function Entry(/** @type {{of: any, onClose: () => void}} */ { of, onClose }) {
  const names = [...new Set([...Object.keys(of.before ?? {}), ...Object.keys(of.after ?? {})])];
  const cell = (/** @type {any} */ values, /** @type {string} */ name) =>
    values && name in values ? JSON.stringify(values[name]) : "–";
  return html`
    <${Dialog} title=${of.action} wide=${true} onClose=${onClose}>
      <div class="stack">
        <${Facts} facts=${[
          [t("audit.at"), dateTime(of.at)],
          [t("audit.outcome"), t(of.outcome === "refused" ? "audit.refused" : "audit.done")],
          [t("audit.actor"), html`<span class="mono">${of.actor ?? gone()}</span>`],
          [t("audit.actortenant"), of.actor_tenant],
          [t("audit.address"), of.address],
          [t("audit.request"), of.request_id && html`<${Id} id=${of.request_id} />`],
          [t("audit.tenant"), of.tenant],
          [t("audit.subject"), html`<span class="mono">${of.subject ?? gone()}</span>`],
          [t("audit.entry"), html`<${Id} id=${of.id} />`],
          [t("audit.seal"), of.seal ?? t("audit.unsealed")],
        ]} />
        ${
          names.length > 0 &&
          html`<table class="plain diff"><thead><tr><th scope="col">${t("audit.field")}</th><th scope="col">${t("audit.before")}</th><th scope="col">${t("audit.after")}</th></tr></thead>
          <tbody>${names.map((name) => html`<tr><th scope="row">${name}</th><td class="mono">${cell(of.before, name)}</td><td class="mono">${cell(of.after, name)}</td></tr>`)}</tbody></table>`
        }
        ${of.erased.length > 0 && html`<p class="muted">${t("audit.took", { names: of.erased.join(", ") })}</p>`}
      </div>
    </${Dialog}>
  `;
}
