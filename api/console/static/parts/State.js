// A state as a badge: colour, shape and word, so that none of them alone carries the meaning.
import { classes, html } from "../lib/ui.js";
import { has, t } from "../lib/words.js";

/** @type {Record<string, string>} Tones of the states of jobs, campaigns, rows, workers and deliveries. */
export const TONES = {
  held: "amber",
  queued: "grey",
  running: "blue",
  in_progress: "blue",
  succeeded: "green",
  completed: "green",
  failed: "red",
  cancelled: "grey",
  cancelling: "amber",
  preempted: "violet",
  ingesting: "blue",
  planned: "blue",
  sampling: "blue",
  finishing: "blue",
  waiting: "grey",
  dropped: "violet",
  ready: "green",
  awaiting_approval: "amber",
  draft: "grey",
  paused: "amber",
  finished: "green",
  wanted: "grey",
  starting: "blue",
  draining: "amber",
  dead: "red",
  quarantined: "red",
  busy: "blue",
  idle: "grey",
  pending: "grey",
  delivered: "green",
  exhausted: "red",
  active: "green",
  revoked: "red",
  expired: "grey",
  disabled: "grey",
  enabled: "green",
  approved: "green",
  rejected: "red",
  waived: "violet",
  broken: "red",
  loading: "blue",
  away: "grey",
  unknown: "grey",
  lost: "red",
  evicted: "amber",
  released: "grey",
};
const LIVE = new Set(["running", "in_progress", "starting", "ingesting", "busy"]);
const HOLLOW = new Set(["queued", "wanted", "pending", "draft", "held", "idle"]);

/** @param {{state: string, tone?: string, children?: any}} props `children`: the word, where it is not the state's own */
export function State({ state, tone, children }) {
  const look = classes(
    "state",
    `tone-${tone ?? TONES[state] ?? "grey"}`,
    LIVE.has(state) && "live",
    HOLLOW.has(state) && "hollow",
  );
  return html`<span class=${look}>${children ?? stateWord(state)}</span>`;
}

/** A state in the viewer's language; one that nobody foresaw as it is. @param {string} state */
export const stateWord = (state) => (has(`state.${state}`) ? t(`state.${state}`) : String(state).replaceAll("_", " "));
