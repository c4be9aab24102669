// A job: live while it renders, its attempts over time, why it waits, what it made, and what can be done about it.
import { urlOf } from "../lib/api.js";
import { pageUrl } from "../lib/base.js";
import { useData } from "../lib/data.js";
import { useShortcuts } from "../lib/keys.js";
import { go } from "../lib/route.js";
import { may } from "../lib/session.js";
import { html, useState } from "../lib/ui.js";
import { has, t } from "../lib/words.js";
import { TimeAgo } from "../parts/Amounts.js";
import { Card, Page } from "../parts/Card.js";
import { Id } from "../parts/Copy.js";
import { Confirm } from "../parts/Dialog.js";
import { Icon } from "../parts/Icon.js";
import { Notes } from "../parts/Notes.js";
import { Player } from "../parts/Player.js";
import { Loaded } from "../parts/Problem.js";
import { Progress } from "../parts/Progress.js";
import { State } from "../parts/State.js";
import { toast, toastProblem } from "../parts/Toast.js";
import { stageWord } from "./fleet/doing.js";
import { CopyAs } from "./jobs/CopyAs.js";
import { Deliveries } from "./jobs/Deliveries.js";
import { RunAgain } from "./jobs/RunAgain.js";
import { Asked, Attempts, Happenings, Life, Used } from "./jobs/Story.js";
import { change, live, mayChange, ofAll, readJob, retryable } from "./jobs/source.js";
import { useLive } from "./jobs/useLive.js";

/** @param {{id: string}} props */
export function Job({ id }) {
  const known = useData((signal) => readJob(id, signal), [id, ofAll()], { everyMs: 5000 });
  const crumb = html`<a href=${pageUrl("/jobs")}>${t("jobs.title")}</a>`;
  if (!known.data)
    return html`<${Page} title=${t("job.title")} crumb=${crumb}><${Loaded} of=${known} children=${() => null} /></${Page}>`;
  return html`<${Shown} key=${id} job=${known.data} reload=${known.reload} crumb=${crumb} problem=${known.problem} />`;
}

/** @param {{job: any, reload: () => void, crumb: any, problem: any}} props */
function Shown({ job: read, reload, crumb }) {
  const [asking, setAsking] = useState(/** @type {null | "cancel" | "again"} */ (null));
  const job = useLive(read, reload);
  const act = async (/** @type {"cancel" | "retry"} */ verb) => {
    const after = await change(job, verb);
    toast(t(`jobs.done.${verb}`));
    if (verb === "retry") go(`/jobs/${after.id}`);
    else reload();
  };
  const cancellable = live(job) && mayChange(job) && !job.cancel_requested;
  const canRetry = retryable(job) && mayChange(job);
  useShortcuts(
    [
      { keys: "c", words: "job.key.cancel", act: () => cancellable && setAsking("cancel") },
      { keys: "e", words: "job.key.again", act: () => job.own && may("submit") && setAsking("again") },
    ],
    [cancellable, job.own],
  );
  const state =
    job.state === "running" && job.cancel_requested
      ? "cancelling"
      : job.stage === "preempted"
        ? "preempted"
        : job.state;
  return html`
    <${Page} title=${job.prompt ?? t("job.of", { tenant: job.tenant })} crumb=${crumb} badge=${html`<${State} state=${state} />`}
      lead=${html`<span class="row"><${Id} id=${job.id} /> <span>${t("jobs.asked")} <${TimeAgo} at=${job.created_at} /></span></span>`}
      actions=${html`
        ${cancellable && html`<button class="button danger" onClick=${() => setAsking("cancel")}><${Icon} name="stop" />${t("jobs.cancel.do")}</button>`}
        ${canRetry && html`<button class="button" onClick=${() => act("retry").catch(toastProblem)}><${Icon} name="again" />${t("jobs.retry")}</button>`}
        ${job.own && may("submit") && html`<button class="button" onClick=${() => setAsking("again")}><${Icon} name="again" />${t("job.again")}</button>`}
        ${job.own && html`<${CopyAs} job=${job} />`}
      `}>
      <div class="job">
        <div class="stack wide">
          ${job.own && html`<${Picture} job=${job} />`}
          <${Stands} job=${job} />
          <${Life} job=${job} />
          <${Attempts} job=${job} />
          ${job.own && may("webhooks") && html`<${Deliveries} job=${job} />`}
        </div>
        <div class="stack wide">
          <${Asked} job=${job} />
          <${Used} job=${job} />
          ${job.own && html`<${Notes} about=${job.id} />`}
          <${Happenings} job=${job} />
        </div>
      </div>
      ${asking === "cancel" && html`<${Confirm} title=${t("jobs.cancel.ask")} action=${t("jobs.cancel.do")} danger=${true} onClose=${() => setAsking(null)} onConfirm=${() => act("cancel")}>${t("jobs.cancel.what")}</${Confirm}>`}
      ${asking === "again" && html`<${RunAgain} job=${job} onClose=${() => setAsking(null)} />`}
    </${Page}>
  `;
}

/** The preview while it renders, then the video. @param {{job: any}} props */
function Picture({ job }) {
  const content = `/v1/videos/${encodeURIComponent(job.id)}/content`;
  const done = job.state === "succeeded";
  if (!done && !job.preview && job.state !== "running") return null;
  const still = done ? urlOf(content, { variant: "thumbnail" }) : job.preview;
  return html`<div class="picture"><${Player} src=${done ? urlOf(content) : null} still=${still} label=${job.prompt} />
    ${done && html`<div class="row"><a class="button small" href=${urlOf(content)} download><${Icon} name="download" />${t("job.download")}</a></div>`}
  </div>`;
}

/** How far it is, why it waits, or what it failed of. @param {{job: any}} props */
function Stands({ job }) {
  if (job.state === "failed") {
    const told = `job.failure.${job.failure?.code}`;
    return html`<${Card} title=${t("job.failed")}>
      <p><b>${has(told) ? t(told) : job.failure?.message}</b></p>
      ${has(told) && html`<p class="muted">${job.failure.message}</p>`}
      <p class="muted small mono">${job.failure?.code}</p>
    </${Card}>`;
  }
  if (!live(job)) return null;
  const waits = job.waits ?? [];
  return html`<${Card} title=${t(job.state === "running" ? "job.renders" : "job.waits")}>
    <div class="stack">
      ${
        job.state === "running" &&
        html`<${Progress} value=${job.steps ? job.step / job.steps : 0} label=${t("job.renders")} text=${t("job.step", { step: job.step, steps: job.steps })} />
          <div class="row tight" role="status"><b>${stageWord(job.stage)}</b>${job.worker && html`<span class="muted">${t("job.on", { worker: job.worker })}</span>`}</div>`
      }
      ${waits.map((/** @type {any} */ wait, /** @type {number} */ at) => html`<div class="wait" key=${wait.code}><b>${at === 0 ? "" : t("job.then")}${t(`job.wait.${wait.code}`)}</b><div class="muted">${wait.message}</div></div>`)}
      ${job.forecast && html`<div class="muted">${forecast(job.forecast)}</div>`}
      ${!waits.length && job.state !== "running" && html`<p class="muted">${t("job.wait.unknown")}</p>`}
    </div>
  </${Card}>`;
}

/** @param {any} expected */
function forecast(expected) {
  if (expected.reason) return expected.reason;
  return html`${t("job.forecast.starts")} <${TimeAgo} at=${expected.starts.likely_at} /> · ${t("job.forecast.ends")} <${TimeAgo} at=${expected.ends.likely_at} />`;
}
