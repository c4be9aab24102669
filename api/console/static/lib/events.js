// Server-sent events over fetch: resumed by Last-Event-ID after any break, handed over once a frame.
import { call, goAway, Problem } from "./api.js";

/** @typedef {{id: string | null, event: string, data: any}} ServerEvent */

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

/**
 * Listens until the server says that there is no more (204), or `signal` aborts. Resolves then; rejects with the
 * Problem of a stream that may not be had.
 * @param {string} path such as "/v1/videos/video_1/events"
 * @param {(events: ServerEvent[]) => void} hear gets what has come since the last frame
 * @param {{signal: AbortSignal, lastId?: string | null, ends?: (event: ServerEvent) => boolean}} how
 *   `ends`: whether an event is the last one there is
 */
export async function listen(path, hear, { signal, lastId = null, ends = () => false }) {
  const frame = perFrame(hear);
  let wait = FIRST_WAIT_MS;
  while (!signal.aborted) {
    try {
      const answer = await call(path, { signal, headers: lastId ? { "last-event-id": lastId } : {} });
      if (answer.status === 204 || !answer.body) return;
      for await (const event of eventsOf(answer.body)) {
        wait = FIRST_WAIT_MS;
        lastId = event.id ?? lastId;
        frame(event);
        if (ends(event)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status < 500 && error.status !== 429) throw error;
      if (!(error instanceof Problem)) goAway();
    }
    await pause(wait, signal);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }
}

/** Events as they come in. @param {ReadableStream<Uint8Array>} body @returns {AsyncGenerator<ServerEvent>} */
async function* eventsOf(body) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = parse(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** One event, or null for a comment. @param {string} block @returns {ServerEvent | null} */
export function parse(block) {
  /** @type {{id: string | null, event: string}} */
  const found = { id: null, event: "message" };
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name === "id") found.id = value;
    else if (name === "event") found.event = value;
    else if (name === "data") data.push(value);
  }
  if (!data.length) return null;
  const text = data.join("\n");
  try {
    return { ...found, data: JSON.parse(text) };
  } catch {
    return { ...found, data: text };
  }
}

/** Gathers what comes between two frames, so that a flood of events paints once. @param {(events: any[]) => void} hear */
export function perFrame(hear) {
  /** @type {any[]} */
  const gathered = [];
  const hand = () => hear(gathered.splice(0));
  return (/** @type {any} */ event) => {
    // A page that nobody sees gets no frames.
    if (gathered.push(event) === 1) document.hidden ? setTimeout(hand, 250) : requestAnimationFrame(hand);
  };
}

const pause = (/** @type {number} */ ms, /** @type {AbortSignal} */ signal) =>
  new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
    setTimeout(resolve, ms * (0.75 + Math.random() / 2));
    signal.addEventListener("abort", resolve, { once: true });
  });
