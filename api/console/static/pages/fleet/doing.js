// What a worker does now, in one word, and how far its render is.
import { has, t } from "../../lib/words.js";

/**
 * The first render that moves, else one that waits in memory, else what its state says.
 * @param {any} worker as /v1/admin/workers tells it
 * @returns {{state: string, render: any}}
 */
export function doing(worker) {
  const active = worker.renders.filter((/** @type {any} */ each) => each.stage !== "preempted");
  const render =
    active.find((/** @type {any} */ each) => each.stage === "denoising") ?? active[0] ?? worker.renders[0] ?? null;
  if (worker.state === "broken") return { state: "broken", render };
  if (worker.order?.kind === "drain" || worker.order?.kind === "replace") return { state: "draining", render };
  if (render) return { state: render.stage === "preempted" ? "preempted" : "busy", render };
  if (worker.state === "loaded") return { state: "idle", render };
  if (worker.state === "loading" || worker.state === "starting") return { state: worker.state, render };
  return { state: worker.incarnation === null ? "away" : "unknown", render };
}

/** @param {any} render */
export const shareOf = (render) =>
  ["decoding", "finishing", "uploading", "ended"].includes(render.stage)
    ? 1
    : render.steps
      ? render.step / render.steps
      : 0;

/** @param {string | null} stage */
export const stageWord = (stage) =>
  stage && has(`job.stage.${stage}`) ? t(`job.stage.${stage}`) : t("job.stage.assigned");
