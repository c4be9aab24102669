// The filters of jobs: as fields, as the URL has them, as queries and bodies of the API have them, and in words.
import { query } from "../../lib/route.js";
import { dateTime } from "../../lib/time.js";
import { t } from "../../lib/words.js";
import { stateWord } from "../../parts/State.js";

export const STATES = ["held", "queued", "running", "succeeded", "failed", "cancelled"];
const MOMENTS = ["created_from", "created_to", "ended_from", "ended_to"];

/** @typedef {import("../../parts/Filters.js").Filter} Filter */

/** @param {boolean} all whether all tenants' jobs are listed @returns {Filter[]} */
export const always = (all) => [
  all ? field("tenant") : { ...field("text"), placeholder: t("jobs.filter.text.hint") },
  field("pool"),
  field("model"),
];

/** @param {boolean} all @returns {Filter[]} */
export const further = (all) => [
  field("priority", "number"),
  ...MOMENTS.map((name) => field(name, "moment")),
  field("code"),
  field("custom_id"),
  field("campaign"),
  ...(all ? [] : [{ ...field("metadata"), placeholder: "team=news" }]),
];

/** @param {string} name @param {"text" | "number" | "moment"} [type] @returns {Filter} */
const field = (name, type = "text") => ({ name, label: t(`jobs.filter.${name}`), type });

/** What the URL says, as queries of the API have it. @param {boolean} all */
export function asked(all) {
  /** @type {Record<string, any>} */
  const found = {};
  for (const { name } of [...always(all), ...further(all)]) {
    const values = query.value.getAll(name);
    if (values.length)
      found[name] = MOMENTS.includes(name) ? instant(values[0]) : values.length > 1 ? values : values[0];
  }
  if (query.value.get("order") === "asc") found.order = "asc";
  const states = query.value.getAll("state").filter((state) => STATES.includes(state));
  if (states.length) found.state = states;
  return found;
}

/** The same as bodies have it. @param {Record<string, any>} found */
export function asBody(found) {
  const { order, tenant, metadata, priority, ...rest } = found;
  const body = { ...rest };
  if (priority !== undefined) body.priority = Number(priority);
  if (metadata !== undefined) body.metadata = Object.fromEntries([metadata].flat().map(pair));
  return body;
}

/** A kept filter as the URL has it: what it does not say is taken out. @param {any} kept */
export function asQuery(kept) {
  /** @type {Record<string, any>} */
  const found = { state: kept.state };
  for (const name of ["pool", "model", "priority", "code", "custom_id", "campaign", "text"]) found[name] = kept[name];
  for (const name of MOMENTS) found[name] = kept[name] === null ? null : local(kept[name]);
  found.metadata = Object.entries(kept.metadata).map(([name, value]) => `${name}=${value}`);
  return found;
}

/** In words, for whoever is about to act on all of them. @param {Record<string, any>} found */
export function inWords(found) {
  const { order, ...rest } = found;
  return Object.entries(rest).map(([name, value]) => {
    const said = name === "state" ? value.map(stateWord).join(", ") : MOMENTS.includes(name) ? dateTime(value) : value;
    return `${t(name === "state" ? "jobs.column.state" : `jobs.filter.${name}`)}: ${said}`;
  });
}

/** What a field of a moment holds is the viewer's own time. @param {string} typed */
function instant(typed) {
  const moment = new Date(typed);
  return Number.isNaN(moment.getTime()) ? typed : moment.toISOString();
}

/** @param {number} seconds */
function local(seconds) {
  const moment = new Date(seconds * 1000);
  return new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** @param {string} said @returns {[string, string]} */
const pair = (said) => {
  const at = said.indexOf("=");
  return [said.slice(0, at), said.slice(at + 1)];
};
