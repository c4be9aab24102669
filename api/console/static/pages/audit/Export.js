// All entries that match as a file of JSON Lines, the newest first, page by page as the API gives them.
import { api } from "../../lib/api.js";
import { count } from "../../lib/numbers.js";
import { html, useEffect, useRef, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Icon } from "../../parts/Icon.js";
import { toastProblem } from "../../parts/Toast.js";

/** @param {{query: Record<string, unknown>}} props */
export function Export({ query }) {
  const [written, setWritten] = useState(/** @type {number | null} */ (null));
  const stop = useRef(/** @type {AbortController | null} */ (null));
  useEffect(() => () => stop.current?.abort(), []);
  const begin = async () => {
    const stopping = (stop.current = new AbortController());
    setWritten(0);
    try {
      save(await collect(query, stopping.signal, setWritten));
    } catch (problem) {
      if (!stopping.signal.aborted) toastProblem(problem);
    }
    setWritten(null);
  };
  if (written === null)
    return html`<button class="button" onClick=${begin}><${Icon} name="download" />${t("audit.export")}</button>`;
  return html`<button class="button" onClick=${() => stop.current?.abort()}><span class="spinner"></span>${t("audit.exporting", { count: count(written) })}</button>`;
}

/** @param {Record<string, unknown>} query @param {AbortSignal} signal @param {(count: number) => void} told @returns {Promise<Blob>} */
async function collect(query, signal, told) {
  /** @type {Blob[]} */
  const pages = [];
  let written = 0;
  for (let after; ; ) {
    const page = await api("/v1/admin/audit", { query: { ...query, limit: 100, after }, signal });
    pages.push(new Blob(page.data.map((/** @type {any} */ entry) => `${JSON.stringify(entry)}\n`)));
    written += page.data.length;
    told(written);
    if (!page.has_more) return new Blob(pages, { type: "application/jsonl" });
    after = page.last_id;
  }
}

function save(/** @type {Blob} */ blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `audit-${new Date().toISOString().slice(0, 10)}.jsonl`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
