// The parts of a job's page that tell what was asked for, how its life went, and what it used.
import { pageUrl } from "../../lib/base.js";
import { number } from "../../lib/numbers.js";
import { now } from "../../lib/time.js";
import { html } from "../../lib/ui.js";
import { has, t } from "../../lib/words.js";
import { DateTime, Duration } from "../../parts/Amounts.js";
import { Gantt } from "../../parts/Bars.js";
import { Card, Facts } from "../../parts/Card.js";
import { State, stateWord } from "../../parts/State.js";
import { Table } from "../../parts/Table.js";

/**
 * The colour and the pattern of each stage: no two have the same pattern, for whoever cannot tell the colours apart.
 * @type {Record<string, {tone: string, fill?: string}>}
 */
const LOOKS = {
  waiting: { tone: "grey", fill: "slash" },
  assigned: { tone: "amber", fill: "grid" },
  encoding: { tone: "violet", fill: "dots" },
  denoising: { tone: "blue" },
  rendering: { tone: "blue", fill: "bars" },
  preempted: { tone: "red", fill: "cross" },
  decoding: { tone: "accent", fill: "back" },
  finishing: { tone: "pink", fill: "lines" },
  uploading: { tone: "green", fill: "checks" },
};
const OTHER = { tone: "grey", fill: "edge" };

// The way to a worker is a part of the beginning that nobody waits for.
/** @type {Record<string, string>} */
const SHOWN_AS = { claim: "assigned", assignment: "assigned" };

/** Attempts as lanes over time. @param {{job: any}} props */
export function Life({ job }) {
  const until = Math.max(now.value / 1000, ...job.spans.map((/** @type {any} */ span) => span.begins_at));
  /** @type {Map<number, any[]>} */
  const lanes = new Map();
  for (const span of job.spans) {
    const lane = lanes.get(span.attempt) ?? [];
    const stage = SHOWN_AS[span.stage] ?? span.stage;
    const name = has(`job.stage.${stage}`) ? t(`job.stage.${stage}`) : stage;
    lane.push({ name, ...(LOOKS[stage] ?? OTHER), from: span.begins_at, to: span.ends_at ?? until });
    lanes.set(span.attempt, lane);
  }
  const shown = [...lanes].map(([attempt, spans]) => ({ name: t("job.attempt", { attempt }), spans }));
  return html`<${Card} title=${t("job.life")}><${Gantt} label=${t("job.life")} lanes=${shown} /></${Card}>`;
}

/** Each attempt that has ended, where and how. @param {{job: any}} props */
export function Attempts({ job }) {
  if (!job.attempts.length) return null;
  return html`<${Card} title=${t("job.attempts")} bare=${true}>
    <${Table} label=${t("job.attempts")} rows=${job.attempts} id=${(/** @type {any} */ each) => each.number} columns=${columns()} />
  </${Card}>`;
}

/** @type {() => import("../../parts/Table.js").Column<any>[]} */
const columns = () => [
  { name: "attempt", title: t("job.attempts.attempt"), cell: (each) => each.number },
  {
    name: "outcome",
    title: t("job.attempts.outcome"),
    cell: (each) =>
      html`<${State} state=${each.outcome} tone=${each.outcome === "lost" ? "red" : undefined}>${outcomeWord(each.outcome)}</${State}>`,
  },
  {
    name: "worker",
    title: t("job.attempts.worker"),
    cell: (each) => html`<span class="mono small">${each.worker}</span>`,
  },
  {
    name: "took",
    title: t("job.attempts.took"),
    end: true,
    cell: (each) => html`<${Duration} seconds=${each.ended_at - each.claimed_at} />`,
  },
  {
    name: "gpu",
    title: t("job.attempts.gpu"),
    end: true,
    cell: (each) => html`<span class="number">${number(each.gpu_seconds, 1)}</span>`,
  },
  {
    name: "why",
    title: t("job.attempts.why"),
    wide: true,
    cell: (each) => each.failure && html`<span class="muted small">${each.failure.message}</span>`,
  },
];

const outcomeWord = (/** @type {string} */ word) =>
  has(`job.outcome.${word}`) ? t(`job.outcome.${word}`) : stateWord(word);

/** What was asked for. @param {{job: any}} props */
export function Asked({ job }) {
  const fact = (/** @type {string} */ name, /** @type {any} */ value) => [
    t(`job.fact.${name}`),
    value || value === 0 ? value : null,
  ];
  const metadata = Object.entries(job.metadata ?? {});
  return html`<${Card} title=${t("job.parameters")}>
    <${Facts} facts=${[
      fact("prompt", job.prompt && html`<span class="prompt">${job.prompt}</span>`),
      fact("negative_prompt", job.negative_prompt),
      fact("tenant", job.tenant),
      fact(
        "model",
        job.model === job.rendered_by || !job.rendered_by ? job.model : `${job.model} (${job.rendered_by})`,
      ),
      fact("pool", job.pool),
      fact("priority", job.priority),
      fact("size", job.size),
      fact("frames", job.fps ? t("job.fact.frames.of", { frames: job.num_frames, fps: job.fps }) : job.num_frames),
      fact("steps", job.num_inference_steps ?? job.steps),
      fact("guidance", job.guidance_scale),
      fact("seed", job.seed),
      fact("profile", job.profile),
      fact("adapter", job.adapter),
      fact("campaign", job.campaign && html`<a href=${pageUrl(`/campaigns/${job.campaign}`)}>${job.campaign}</a>`),
      fact("custom_id", job.custom_id),
      fact(
        "retry_of",
        job.retry_of && html`<a class="mono" href=${pageUrl(`/jobs/${job.retry_of}`)}>${job.retry_of}</a>`,
      ),
      fact(
        "remixed_from",
        job.remixed_from_video_id &&
          html`<a class="mono" href=${pageUrl(`/jobs/${job.remixed_from_video_id}`)}>${job.remixed_from_video_id}</a>`,
      ),
      fact(
        "metadata",
        metadata.length > 0 &&
          html`<ul class="plain">${metadata.map(([name, value]) => html`<li><span class="muted">${name}</span> ${value}</li>`)}</ul>`,
      ),
      fact("made_by", job.made_by && html`<span class="mono small">${job.made_by}</span>`),
      fact(
        "incidents",
        job.incidents?.length > 0 &&
          html`<ul class="plain">${job.incidents.map((/** @type {string} */ each) => html`<li>${has(`job.incident.${each}`) ? t(`job.incident.${each}`) : each}</li>`)}</ul>`,
      ),
      fact("numerics", job.numerics && html`<span class="mono small">${job.numerics}</span>`),
      fact("continuity", job.continuity && job.continuity !== "whole" && t(`job.continuity.${job.continuity}`)),
    ]} />
  </${Card}>`;
}

/** What it took, and was expected to take. @param {{job: any}} props */
export function Used({ job }) {
  const seconds = job.usage.reduce((/** @type {number} */ sum, /** @type {any} */ each) => sum + each.gpu_seconds, 0);
  const charge = job.usage.reduce((/** @type {number} */ sum, /** @type {any} */ each) => sum + each.charge, 0);
  return html`<${Card} title=${t("job.use")}>
    <${Facts} facts=${[
      [t("job.use.predicted"), html`<${Duration} seconds=${job.predicted_gpu_seconds} />`],
      [t("job.use.gpu"), job.usage.length > 0 ? html`<${Duration} seconds=${seconds} />` : null],
      [t("job.use.charge"), charge > seconds ? html`<${Duration} seconds=${charge} />` : null],
      [t("job.use.attempts"), t("job.use.attempts.of", { failures: job.failures, most: job.max_attempts })],
      [t("job.use.evictions"), job.evictions || null],
      [t("job.use.started"), job.started_at && html`<${DateTime} at=${job.started_at} />`],
      [t("job.use.ended"), job.finished_at && html`<${DateTime} at=${job.finished_at} />`],
    ]} />
  </${Card}>`;
}

/** What befell it. @param {{job: any}} props */
export const Happenings = ({ job }) => html`
  <${Card} title=${t("job.events")}>
    <ol class="happenings">${job.happenings.map(
      (/** @type {any} */ each) =>
        html`<li><span class="muted small"><${DateTime} at=${each.at} /></span><span>${t(`job.event.${each.what}`, { attempt: each.attempt })}</span>${each.detail && html`<span class="muted small mono">${each.detail}</span>`}</li>`,
    )}</ol>
  </${Card}>
`;
