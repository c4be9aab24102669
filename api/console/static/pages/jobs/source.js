// Where jobs come from: a tenant's own routes, or those of administrators, who see all tenants' and no prompts.
import { api } from "../../lib/api.js";
import { newId } from "../../lib/ids.js";
import { may, ofAll, session } from "../../lib/session.js";

export { ofAll, root } from "../../lib/session.js";

/** One shape for both kinds of answers. @param {any} job */
export const shaped = (job) =>
  job.video
    ? {
        ...job.video,
        ...job,
        prompt: job.video.prompt,
        tenant: session.value?.tenant,
        own: true,
        model: job.video.model,
      }
    : { ...job, own: false };

/** A job whole: one's own with all that it shows, else as administrators see it. @param {string} id @param {AbortSignal} signal */
export async function readJob(id, signal) {
  const path = `/jobs/${encodeURIComponent(id)}`;
  if (!ofAll()) return shaped(await api(`/v1${path}`, { signal }));
  const seen = shaped(await api(`/v1/admin${path}`, { signal }));
  if (seen.tenant !== session.value?.tenant || !may("read")) return seen;
  return shaped(await api(`/v1${path}`, { signal }));
}

/** Whether the viewer may change this job. @param {any} job */
export const mayChange = (job) => (job.own ? may("submit") : may("operate"));

/** @param {any} job @param {"cancel" | "retry"} verb */
export const change = (job, verb) =>
  api(`${job.own ? "/v1/videos" : "/v1/admin/jobs"}/${encodeURIComponent(job.id)}/${verb}`, {
    method: "POST",
    headers: verb === "retry" ? { "idempotency-key": newId() } : {},
  });

export const live = (/** @type {any} */ job) => ["held", "queued", "running"].includes(job.state);
export const retryable = (/** @type {any} */ job) => ["failed", "cancelled"].includes(job.state);
