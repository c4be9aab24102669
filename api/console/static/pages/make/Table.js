// The rows of a campaign to be: a file is dragged in, looked at here, and kept by the API before the form is sent.
import { count } from "../../lib/numbers.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Drop } from "../../parts/Drop.js";
import { look, upload, variables } from "./upload.js";

const FILE = { file: "", file_name: "", format: "", columns: [], first: [], rows: null };
/** Columns that are not variables of the template. */
const OWN = new Set(["custom_id", "seed", "image"]);

/** @param {{values: any, set: (changes: Record<string, any>) => void, like: string | null}} props */
export function Table({ values, set, like }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(/** @type {any} */ (null));
  const take = async (/** @type {File} */ file) => {
    setBusy(true);
    setProblem(null);
    try {
      const seen = await look(file);
      const kept = await upload(file, "batch");
      set({ ...seen, format: seen.format ?? "", file: kept.id, file_name: file.name });
    } catch (error) {
      setProblem(error);
    }
    setBusy(false);
  };
  return html`
    <${Drop} label=${t("make.rows")} hint=${t(like ? "make.rows.like" : "make.rows.hint")} accept=".csv,.jsonl,.parquet,.gz,text/csv" name=${values.file_name || null} busy=${busy} problem=${problem}
      take=${take} clear=${() => set(FILE)} />
    ${values.file && html`<${Seen} values=${values} insert=${(/** @type {string} */ name) => set({ prompt: `${values.prompt}${values.prompt && !values.prompt.endsWith(" ") ? " " : ""}{${name}}` })} />`}
  `;
}

/** @param {{values: any, insert: (name: string) => void}} props */
function Seen({ values, insert }) {
  const { columns, first, rows, prompt } = values;
  const asked = variables(prompt);
  const missing = columns.length ? asked.filter((name) => !columns.includes(name)) : [];
  const free = columns.filter((/** @type {string} */ name) => !OWN.has(name));
  return html`
    <div class="stack">
      <p class="muted small">${rows === null ? t("make.rows.unread") : t("make.rows.about", { rows: count(rows) })}</p>
      ${
        first.length > 0 &&
        html`<div class="table" role="region" aria-label=${t("make.rows.first")} tabindex="0"><table>
          <thead><tr>${columns.map((/** @type {string} */ name) => html`<th scope="col">${name}</th>`)}</tr></thead>
          <tbody>${first.map((/** @type {string[]} */ row) => html`<tr>${columns.map((/** @type {string} */ _, /** @type {number} */ i) => html`<td>${row[i] ?? ""}</td>`)}</tr>`)}</tbody>
        </table></div>`
      }
      ${free.length > 0 && html`<div class="row">${free.map((/** @type {string} */ name) => html`<button type="button" class="tag" title=${t("make.insert")} onClick=${() => insert(name)}>{${name}}</button>`)}</div>`}
      ${missing.length > 0 && html`<p class="wrong" role="alert">${t("make.rows.missing", { names: missing.map((name) => `{${name}}`).join(", ") })}</p>`}
    </div>
  `;
}
