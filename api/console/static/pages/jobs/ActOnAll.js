// Asks what to do to all jobs that match, says how many these are, and begins it.
import { api } from "../../lib/api.js";
import { useData } from "../../lib/data.js";
import { newId } from "../../lib/ids.js";
import { count } from "../../lib/numbers.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Dialog } from "../../parts/Dialog.js";
import { Form, SelectField, TextField } from "../../parts/Field.js";
import { Loaded } from "../../parts/Problem.js";
import { begun } from "./Actions.js";
import { asBody, inWords } from "./filters.js";
import { root } from "./source.js";

/** @typedef {"cancel" | "retry" | "priority"} Verb */
const VERBS = /** @type {Verb[]} */ (["cancel", "retry", "priority"]);

/** @param {{filters: Record<string, any>, onClose: () => void}} props */
export function ActOnAll({ filters, onClose }) {
  const [verb, setVerb] = useState(/** @type {Verb} */ (filters.state?.[0] === "failed" ? "retry" : "cancel"));
  const [priority, setPriority] = useState("20");
  const [key] = useState(() => newId());
  const { tenant } = filters;
  const body = {
    action: verb,
    filter: asBody(filters),
    ...(verb === "priority" && { priority: Number(priority) }),
    ...(tenant && { tenant }),
  };
  const url = `${root()}/bulk-actions`;
  const expected = useData(
    (signal) => api(url, { method: "POST", body: { ...body, dry_run: true }, signal }),
    [verb, priority, JSON.stringify(body.filter), tenant],
  );
  const words = inWords(filters);
  const begin = async () => {
    const made = await api(url, { method: "POST", body, headers: { "idempotency-key": `${key}-${verb}-${priority}` } });
    begun(made);
    onClose();
  };
  return html`
    <${Dialog} title=${t("jobs.all")} onClose=${onClose}>
      <${Form} onSubmit=${begin} action=${t(`jobs.all.do.${verb}`)} fields=${["priority"]} onCancel=${onClose}>
        ${(/** @type {(field: string) => string | null} */ wrong) => html`
          <${SelectField} label=${t("jobs.all.what")} value=${verb} onInput=${setVerb} options=${VERBS.map((each) => [each, t(`jobs.all.${each}`)])} />
          ${verb === "priority" && html`<${TextField} label=${t("jobs.filter.priority")} hint=${t("jobs.all.priority.hint")} type="number" min="0" max="100" value=${priority} onInput=${setPriority} wrong=${wrong("priority")} />`}
          <div>
            <div class="muted small">${t("jobs.all.which")}</div>
            ${words.length ? html`<ul class="plain">${words.map((each) => html`<li>${each}</li>`)}</ul>` : html`<p>${t("jobs.all.every")}</p>`}
          </div>
          <${Loaded} of=${expected}>
            ${(/** @type {any} */ told) => html`<p class="expected" role="status"><b class="number">${count(told.expected.count, { about: told.expected.about })}</b> ${t("jobs.all.expected")}</p>`}
          </${Loaded}>
          <p class="muted small">${t("jobs.all.how")}</p>
        `}
      </${Form}>
    </${Dialog}>
  `;
}
