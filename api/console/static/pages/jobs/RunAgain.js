// A new video like this one, with changes: by a remix where only the prompt is another one, else as a new request.
import { api } from "../../lib/api.js";
import { newId } from "../../lib/ids.js";
import { go } from "../../lib/route.js";
import { html, useRef, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Dialog } from "../../parts/Dialog.js";
import { AreaField, Form, TextField } from "../../parts/Field.js";
import { toast } from "../../parts/Toast.js";
import { requestOf } from "./CopyAs.js";

/** Fields that are changed here, those that are numbers among them. */
const FIELDS = [
  "prompt",
  "negative_prompt",
  "model",
  "size",
  "seed",
  "num_inference_steps",
  "guidance_scale",
  "priority",
];
const NUMBERS = new Set(["seed", "num_inference_steps", "guidance_scale", "priority"]);

/** @param {{job: any, onClose: () => void}} props */
export function RunAgain({ job, onClose }) {
  const before = requestOf(job);
  const [typed, setTyped] = useState(() =>
    Object.fromEntries(FIELDS.map((name) => [name, String(before[name] ?? "")])),
  );
  // The same sent again is the same request; with another letter it is another one.
  const sent = useRef({ text: "", key: "" });
  const changed = FIELDS.filter((name) => typed[name] !== String(before[name] ?? ""));
  const send = async () => {
    const id = encodeURIComponent(job.id);
    const like = changed.every((name) => name === "prompt");
    const body = like
      ? { prompt: typed.prompt }
      : { ...before, ...Object.fromEntries(changed.map((name) => [name, value(name, typed[name])])) };
    const text = JSON.stringify(body);
    if (sent.current.text !== text) sent.current = { text, key: newId() };
    const headers = { "idempotency-key": sent.current.key };
    const made = await api(like ? `/v1/videos/${id}/remix` : "/v1/videos", { method: "POST", body, headers });
    toast(t("job.again.done"));
    onClose();
    go(`/jobs/${made.id}`);
  };
  const set = (/** @type {string} */ name) => (/** @type {string} */ next) =>
    setTyped((all) => ({ ...all, [name]: next }));
  const field = (/** @type {string} */ name, /** @type {(field: string) => string | null} */ wrong) => html`
    <${TextField} label=${t(`job.fact.${LABELS[name] ?? name}`)} value=${typed[name]} onInput=${set(name)} wrong=${wrong(name)} inputmode=${NUMBERS.has(name) ? "decimal" : undefined} />
  `;
  return html`
    <${Dialog} title=${t("job.again")} wide=${true} onClose=${onClose}>
      <${Form} onSubmit=${send} action=${t("job.again.do")} fields=${FIELDS} onCancel=${onClose}>
        ${(/** @type {(field: string) => string | null} */ wrong) => html`
          <${AreaField} label=${t("job.fact.prompt")} value=${typed.prompt} onInput=${set("prompt")} wrong=${wrong("prompt")} rows="3" />
          <${AreaField} label=${t("job.fact.negative_prompt")} value=${typed.negative_prompt} onInput=${set("negative_prompt")} wrong=${wrong("negative_prompt")} rows="1" />
          <div class="grid half">${FIELDS.slice(2).map((name) => field(name, wrong))}</div>
          <p class="muted small">${t("job.again.picture")}</p>
        `}
      </${Form}>
    </${Dialog}>
  `;
}

/** @type {Record<string, string>} */
const LABELS = { num_inference_steps: "steps", guidance_scale: "guidance" };

/** @param {string} name @param {string} typed */
const value = (name, typed) => {
  if (typed.trim() === "") return null;
  // What is no number goes as it is, and is refused by its name.
  return NUMBERS.has(name) && !Number.isNaN(Number(typed)) ? Number(typed) : typed;
};
