// The list of jobs: found by filters that live in the URL, counted by state, acted on one by one or all at once.
import { pageUrl } from "../lib/base.js";
import { useGet, useList } from "../lib/data.js";
import { useShortcuts } from "../lib/keys.js";
import { count } from "../lib/numbers.js";
import { go, query, setQuery } from "../lib/route.js";
import { may } from "../lib/session.js";
import { dateTime } from "../lib/time.js";
import { classes, html, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Duration, TimeAgo } from "../parts/Amounts.js";
import { Page } from "../parts/Card.js";
import { Id } from "../parts/Copy.js";
import { Confirm } from "../parts/Dialog.js";
import { Empty } from "../parts/Empty.js";
import { failureWord } from "../parts/Failure.js";
import { Filters } from "../parts/Filters.js";
import { Icon } from "../parts/Icon.js";
import { Menu } from "../parts/Menu.js";
import { Progress } from "../parts/Progress.js";
import { State, stateWord } from "../parts/State.js";
import { Table } from "../parts/Table.js";
import { toast, toastProblem } from "../parts/Toast.js";
import { Actions } from "./jobs/Actions.js";
import { ActOnAll } from "./jobs/ActOnAll.js";
import { always, asked, further, STATES } from "./jobs/filters.js";
import { Order } from "./jobs/Order.js";
import { SavedFilters } from "./jobs/SavedFilters.js";
import { change, live, mayChange, ofAll, retryable, root, shaped } from "./jobs/source.js";

const EVERY_MS = 5000;

export function Jobs() {
  const all = ofAll();
  const filters = asked(all);
  const list = useList(`${root()}/jobs`, filters, { limit: 50, everyMs: EVERY_MS });
  const [more, setMore] = useState(further(all).some(({ name }) => query.value.has(name)));
  const [acting, setActing] = useState(false);
  const [cancelling, setCancelling] = useState(/** @type {any} */ (null));
  const mayAct = may(all ? "operate" : "submit");
  useShortcuts([{ keys: "A", words: "jobs.key.all", act: () => mayAct && setActing(true) }], [mayAct]);

  const act = async (/** @type {any} */ job, /** @type {"cancel" | "retry"} */ verb) => {
    await change(job, verb);
    toast(t(`jobs.done.${verb}`));
    list.reload();
  };
  const cancel = (/** @type {any} */ job) => live(job) && mayChange(job) && setCancelling(job);
  const retry = (/** @type {any} */ job) => retryable(job) && mayChange(job) && act(job, "retry").catch(toastProblem);
  const rows = list.rows.map(shaped);
  const stopped = list.last?.searched_until;

  return html`
    <${Page} title=${t("jobs.title")} lead=${all ? t("jobs.lead.all") : undefined}
      actions=${html`
        ${!all && html`<${SavedFilters} filters=${filters} />`}
        ${mayAct && html`<button class="button" onClick=${() => setActing(true)}><${Icon} name="check" />${t("jobs.all")}</button>`}
      `}>
      <div class="jobs">
        <${Actions} />
        <${StateTabs} filters=${filters} />
        <${Filters} filters=${always(all)}>
          <${Order} />
          <button class="button quiet small" aria-expanded=${more} onClick=${() => setMore(!more)}><${Icon} name="filter" />${t("jobs.filter.more")}</button>
        </${Filters}>
        ${more && html`<${Filters} filters=${further(all)} />`}
        <${Table} label=${t("jobs.title")} ...${list} rows=${rows} columns=${columns(all, cancel, retry)} hasMore=${list.hasMore && !stopped}
          open=${(/** @type {any} */ job) => go(`/jobs/${job.id}`)} keys=${{ c: cancel, r: retry }}
          empty=${stopped ? html`<div class="empty small">${t("jobs.search.none")}</div>` : html`<${Nothing} filtered=${Object.keys(filters).length > 0} />`} />
        ${stopped && html`<div class="row searched"><span class="muted">${t("jobs.search.until", { at: dateTime(stopped) })}</span><button class="button small" disabled=${list.loading} onClick=${list.more}>${t("jobs.search.on")}</button></div>`}
      </div>
      ${acting && html`<${ActOnAll} filters=${filters} onClose=${() => setActing(false)} />`}
      ${cancelling && html`<${Confirm} title=${t("jobs.cancel.ask")} action=${t("jobs.cancel.do")} danger=${true} onClose=${() => setCancelling(null)} onConfirm=${() => act(cancelling, "cancel")}>${t("jobs.cancel.what")}</${Confirm}>`}
    </${Page}>
  `;
}

/** How many stand how, and which are listed. @param {{filters: Record<string, any>}} props */
function StateTabs({ filters }) {
  const { state: _, order: __, ...others } = filters;
  const counts = useGet(`${root()}/jobs/counts`, others, { everyMs: 4 * EVERY_MS }).data;
  const chosen = filters.state ?? [];
  const number = (/** @type {any} */ each) => each && count(each.count, { about: each.about });
  const tab = (/** @type {string | null} */ state, /** @type {string} */ word, /** @type {any} */ told) => {
    const here = state ? chosen.includes(state) : !chosen.length;
    return html`<button class=${classes("chip", here && "set")} aria-pressed=${here} onClick=${() => setQuery({ state })}>
      <span>${word}</span> <b class="number">${number(told) ?? "…"}</b>
    </button>`;
  };
  return html`<div class="chips" role="group" aria-label=${t("jobs.column.state")}>
    ${tab(null, t("jobs.every"), counts?.total)} ${STATES.map((state) => tab(state, stateWord(state), counts?.states[state]))}
  </div>`;
}

/** @param {boolean} all @param {(job: any) => void} cancel @param {(job: any) => void} retry */
function columns(all, cancel, retry) {
  const name = (/** @type {any} */ job) =>
    html`<a class="clip" href=${pageUrl(`/jobs/${job.id}`)} title=${job.prompt}>${job.prompt}</a>`;
  const column = (/** @type {string} */ key, /** @type {(job: any) => any} */ cell, /** @type {any} */ how = {}) => ({
    name: key,
    title: t(`jobs.column.${key}`),
    cell,
    ...how,
  });
  return [
    column("state", (job) => html`<${State} state=${stateOf(job)} />`, { width: "118px" }),
    ...(all
      ? [
          column("id", (job) => html`<${Id} id=${job.id} href=${pageUrl(`/jobs/${job.id}`)} />`),
          column("tenant", (job) => job.tenant),
        ]
      : [column("prompt", name, { width: "38%", wide: true })]),
    column("progress", (job) => html`<${Stands} job=${job} />`, { width: "170px", wide: true }),
    column("model", (job) => html`<span class="nowrap">${job.model}</span>`),
    column("pool", (job) => job.pool),
    column("priority", (job) => job.priority, { end: true }),
    column("created", (job) => html`<${TimeAgo} at=${job.created_at} />`, { end: true }),
    column(
      "took",
      (job) => html`<${Duration} seconds=${job.finished_at && job.started_at && job.finished_at - job.started_at} />`,
      { end: true },
    ),
    {
      name: "actions",
      title: html`<span class="unseen">${t("jobs.column.actions")}</span>`,
      cell: (/** @type {any} */ job) =>
        html`<${Menu} label=${t("jobs.column.actions")} items=${items(job, cancel, retry)} />`,
    },
  ];
}

/** @param {any} job @param {(job: any) => void} cancel @param {(job: any) => void} retry */
const items = (job, cancel, retry) => [
  { title: t("jobs.open"), icon: "right", act: () => go(`/jobs/${job.id}`) },
  ...(live(job) && mayChange(job) ? [{ title: t("jobs.cancel.do"), icon: "stop", act: () => cancel(job) }] : []),
  ...(retryable(job) && mayChange(job) ? [{ title: t("jobs.retry"), icon: "again", act: () => retry(job) }] : []),
];

const stateOf = (/** @type {any} */ job) =>
  job.state === "running" && job.cancel_requested ? "cancelling" : job.stage === "preempted" ? "preempted" : job.state;

/** How far a render is, why a job waits, or what it failed of. @param {{job: any}} props */
function Stands({ job }) {
  if (job.state === "running")
    return html`<${Progress} value=${job.steps ? job.step / job.steps : 0} label=${job.id} text="${job.step}/${job.steps}" />`;
  const code = job.failure?.code;
  const said = code ? failureWord(code) : (job.queue_reason ?? "");
  return said && html`<span class="muted small clip" title=${job.failure?.message ?? said}>${said}</span>`;
}

/** @param {{filtered: boolean}} props */
const Nothing = ({ filtered }) => html`
  <${Empty} icon="jobs" title=${t(filtered ? "jobs.none.filtered" : "jobs.none")}>
    <p>${t(filtered ? "jobs.none.filtered.hint" : "jobs.none.hint")}</p>
  </${Empty}>
`;
