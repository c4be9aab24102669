// What people wrote about a job or a campaign, and a line to write more.
import { api } from "../lib/api.js";
import { useList } from "../lib/data.js";
import { may } from "../lib/session.js";
import { html, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { TimeAgo } from "./Amounts.js";
import { Card } from "./Card.js";
import { AreaField, Form } from "./Field.js";
import { Icon } from "./Icon.js";
import { ProblemBox } from "./Problem.js";
import { toast, toastProblem } from "./Toast.js";

/** @param {{about: string}} props `about`: the id of a video or a campaign */
export function Notes({ about }) {
  const notes = useList("/v1/notes", { about }, { limit: 50 });
  const [body, setBody] = useState("");
  const write = async () => {
    await api("/v1/notes", { method: "POST", body: { about, body } });
    setBody("");
    notes.reload();
  };
  const remove = async (/** @type {any} */ note) => {
    await api(`/v1/notes/${note.id}`, { method: "DELETE" });
    const again = () => api("/v1/notes", { method: "POST", body: { about, body: note.body } }).then(notes.reload);
    toast(t("notes.deleted"), { undo: again });
    notes.reload();
  };
  return html`
    <${Card} title=${t("notes.title")} class="notes">
      <div class="stack">
        ${notes.problem && html`<${ProblemBox} problem=${notes.problem} again=${notes.reload} />`}
        ${notes.rows.map(
          (note) => html`
            <article key=${note.id}>
              <p>${note.body}</p>
              <div class="row tight muted small">
                <span class="grow">${note.written_by} · <${TimeAgo} at=${note.created_at} /></span>
                ${may("submit") && html`<button class="button icon small quiet" aria-label=${t("notes.delete")} onClick=${() => remove(note).catch(toastProblem)}><${Icon} name="trash" /></button>`}
              </div>
            </article>
          `,
        )}
        ${notes.loaded && !notes.rows.length && html`<p class="muted">${t("notes.none")}</p>`}
        ${notes.hasMore && html`<div><button class="button small" onClick=${notes.more}>${t("table.more")}</button></div>`}
        ${
          may("submit") &&
          html`<${Form} onSubmit=${write} action=${t("notes.write")} fields=${["body"]}>
            ${(/** @type {(field: string) => string | null} */ wrong) => html`<${AreaField} label=${t("notes.label")} value=${body} onInput=${setBody} wrong=${wrong("body")} rows="2" maxlength="4000" />`}
          </${Form}>`
        }
      </div>
    </${Card}>
  `;
}
