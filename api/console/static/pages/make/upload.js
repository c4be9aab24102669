// Files on their way to the API, and what a table of rows says before it is there.
import { api, Problem } from "../../lib/api.js";
import { t } from "../../lib/words.js";

const LOOKED_BYTES = 64 * 1024;
const SHOWN = 3;

let underway = 0;

/** Uploads a file; its object, whose id requests may name. @param {File} file @param {string} purpose */
export async function upload(file, purpose) {
  const body = new FormData();
  body.append("purpose", purpose);
  body.append("file", file, file.name);
  underway += 1;
  try {
    return await api("/v1/files", { method: "POST", body });
  } finally {
    underway -= 1;
  }
}

/** Throws while a file is on its way: what is sent then would go without it. */
export function checkUploaded() {
  if (underway) throw new Problem({ status: 0, code: "uploading", message: t("make.uploading") });
}

/**
 * What the beginning of a file of rows says: its format, the names of its columns, a few values, about how many rows.
 * @param {File} file @returns {Promise<{format: string | null, columns: string[], first: string[][], rows: number | null}>}
 */
export async function look(file) {
  const head = await file.slice(0, LOOKED_BYTES).text();
  const whole = file.size <= LOOKED_BYTES;
  const lines = head.split(/\r?\n/);
  if (!whole) lines.pop();
  const full = lines.filter((line) => line.trim());
  const rows = (/** @type {number} */ known) =>
    whole ? known : Math.round((known * file.size) / Math.max(1, full.join("\n").length));
  if (full[0]?.startsWith("{")) {
    const read = full.slice(0, SHOWN + 1).map(parsed);
    const columns = [...new Set(read.flatMap((row) => Object.keys(row.vars ?? row)))];
    const first = read.slice(0, SHOWN).map((row) => columns.map((name) => String((row.vars ?? row)[name] ?? "")));
    return { format: "jsonl", columns, first, rows: rows(full.length) };
  }
  if (!/\.csv$/i.test(file.name) && !full[0]?.includes(","))
    return { format: null, columns: [], first: [], rows: null };
  const columns = cells(full[0] ?? "");
  return {
    format: "csv",
    columns,
    first: full.slice(1, SHOWN + 1).map(cells),
    rows: rows(Math.max(0, full.length - 1)),
  };
}

/** @param {string} line @returns {any} */
function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    return {};
  }
}

/** The cells of one line of CSV (RFC 4180), of which none goes on in the next line. @param {string} line */
export function cells(line) {
  const found = [];
  for (const match of line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g))
    found.push((match[1]?.replaceAll('""', '"') ?? match[2] ?? "").trim());
  return found;
}

/** The variables in a template: `{name}`; doubled braces are none. @param {string} template */
export const variables = (template) => [
  ...new Set(
    [
      ...template
        .replaceAll("{{", "")
        .replaceAll("}}", "")
        .matchAll(/\{([\p{L}\p{N}_][\p{L}\p{N}_ -]*)\}/gu),
    ].map((found) => found[1].trim()),
  ),
];
