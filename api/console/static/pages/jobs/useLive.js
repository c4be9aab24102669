// A job that moves while somebody looks: what its stream of events tells, over what was read of it last.
import { listen } from "../../lib/events.js";
import { useEffect, useState } from "../../lib/ui.js";
import { live } from "./source.js";

const ENDS = new Set(["end", "video.completed", "video.failed", "video.deleted"]);

/**
 * @param {any} read the job as it was read
 * @param {() => void} reload reads it anew: what an event changes beside itself
 */
export function useLive(read, reload) {
  const [heard, setHeard] = useState(/** @type {Record<string, any>} */ ({}));
  useEffect(() => {
    if (!read.own || !live(read)) return undefined;
    const stop = new AbortController();
    const hear = (/** @type {any[]} */ events) => {
      const told = Object.assign({}, ...events.map(told_));
      setHeard((before) => ({ ...before, ...told }));
      if (events.some(({ event }) => event !== "step" && event !== "preview")) reload();
    };
    const path = `/v1/videos/${encodeURIComponent(read.id)}/events`;
    listen(path, hear, { signal: stop.signal, ends: ({ event }) => ENDS.has(event) }).catch(() => reload());
    return () => stop.abort();
  }, [read.id, read.own]);
  // What was read later wins over what was heard before, but for the picture, which only events bring.
  const ahead = heard.step > read.step && read.state === "running" ? { step: heard.step } : {};
  const stage = heard.stage && read.state === "running" ? { stage: heard.stage } : {};
  const began = heard.stage && read.state === "queued" && heard.stage !== "queued" ? { state: "running" } : {};
  return { ...read, ...ahead, ...stage, ...began, preview: heard.preview };
}

/** What one event says of the job. @param {{event: string, data: any}} event */
function told_({ event, data }) {
  switch (event) {
    case "stage":
      return { stage: data.stage };
    case "step":
      return { step: data.step };
    case "preview":
      return { preview: data.url };
    default:
      return {};
  }
}
