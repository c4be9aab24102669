// A new video: a form that knows what each model can do, with its price as it is typed; what is typed is kept.
import { api, urlOf } from "../lib/api.js";
import { pageUrl } from "../lib/base.js";
import { useGet } from "../lib/data.js";
import { useDraft } from "../lib/draft.js";
import { newId } from "../lib/ids.js";
import { go, query } from "../lib/route.js";
import { html, useRef, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Card, Page } from "../parts/Card.js";
import { Drop } from "../parts/Drop.js";
import { AreaField, Form, TextField } from "../parts/Field.js";
import { Loaded } from "../parts/Problem.js";
import { toast } from "../parts/Toast.js";
import { LOOK, Look, parameters } from "./make/Look.js";
import { Price, useQuote } from "./make/Price.js";
import { checkUploaded, upload } from "./make/upload.js";

const EMPTY = {
  ...LOOK,
  prompt: "",
  negative_prompt: "",
  seed: "",
  priority: "",
  run_at: "",
  deadline: "",
  picture: "",
  picture_name: "",
  token: "",
};
const FIELDS = [
  "prompt",
  "negative_prompt",
  "seed",
  "priority",
  "run_at",
  "deadline",
  "input_reference",
  ...Object.keys(LOOK),
];

export function NewVideo() {
  const models = useGet("/v1/models");
  const crumb = html`<a href=${pageUrl("/jobs")}>${t("nav.jobs")}</a>`;
  return html`
    <${Page} title=${t("newvideo.title")} crumb=${crumb} lead=${t("newvideo.lead")}>
      <${Loaded} of=${models}>${(/** @type {any} */ found) => html`<${Fields} models=${found.data} />`}</${Loaded}>
    </${Page}>
  `;
}

/** A video as the API takes it. @param {typeof EMPTY} values */
function bodyOf(values) {
  const moment = (/** @type {string} */ text) => (text ? new Date(text).toISOString() : "");
  const told = {
    prompt: values.prompt,
    negative_prompt: values.negative_prompt,
    seed: values.seed,
    priority: values.priority,
    run_at: moment(values.run_at),
    deadline: moment(values.deadline),
    input_reference: values.picture && { file_id: values.picture },
  };
  return { ...parameters(values), ...Object.fromEntries(Object.entries(told).filter(([, value]) => value !== "")) };
}

function Fields(/** @type {{models: any[]}} */ { models }) {
  const [values, set, forget, kept] = useDraft("video", { ...EMPTY, prompt: query.value.get("prompt") ?? "" });
  const body = bodyOf(values);
  const { prompt: _, ...priced } = body;
  const quote = useQuote(priced);
  const send = async () => {
    checkUploaded();
    // Kept with the draft: whoever sends it again after an answer that was lost gets the same video.
    const token = values.token || newId();
    set({ token });
    try {
      const made = await api("/v1/videos", { method: "POST", body, headers: { "idempotency-key": token } });
      forget();
      toast(t("newvideo.made"));
      go(`/jobs/${made.id}`);
    } catch (problem) {
      if (/** @type {any} */ (problem).code !== "away") set({ token: "" });
      throw problem;
    }
  };
  return html`
    <div class="make">
      <${Form} onSubmit=${send} action=${t("newvideo.send")} fields=${FIELDS}>
        ${(/** @type {(field: string) => string | null} */ wrong) => html`
          <${Card}>
            <div class="form">
              ${kept && html`<p class="muted small">${t("make.kept")} <button type="button" class="button small quiet" onClick=${forget}>${t("make.clear")}</button></p>`}
              <${AreaField} label=${t("make.prompt")} rows="4" value=${values.prompt} onInput=${(/** @type {string} */ prompt) => set({ prompt })} wrong=${wrong("prompt")} />
              <${Picture} values=${values} set=${set} models=${models} wrong=${wrong("input_reference")} />
              <${AreaField} label=${t("make.negative")} rows="2" value=${values.negative_prompt} onInput=${(/** @type {string} */ text) => set({ negative_prompt: text })} wrong=${wrong("negative_prompt")} />
            </div>
          </${Card}>
          <${Card} title=${t("make.look")}><${Look} models=${models} values=${values} set=${set} wrong=${wrong} picture=${Boolean(values.picture)} /></${Card}>
          <${Card} title=${t("make.when")}>
            <div class="grid fields">
              <${TextField} label=${t("make.seed")} type="number" min="0" value=${values.seed} hint=${t("make.seed.hint")} onInput=${(/** @type {string} */ seed) => set({ seed })} wrong=${wrong("seed")} />
              <${TextField} label=${t("make.priority")} type="number" min="0" max="100" placeholder="10" value=${values.priority} hint=${t("make.priority.hint")} onInput=${(/** @type {string} */ priority) => set({ priority })} wrong=${wrong("priority")} />
              <${TextField} label=${t("make.run_at")} type="datetime-local" value=${values.run_at} onInput=${(/** @type {string} */ at) => set({ run_at: at })} wrong=${wrong("run_at")} />
              <${TextField} label=${t("make.deadline")} type="datetime-local" value=${values.deadline} onInput=${(/** @type {string} */ at) => set({ deadline: at })} wrong=${wrong("deadline")} />
            </div>
          </${Card}>
        `}
      </${Form}>
      <aside><${Price} ...${quote} /></aside>
    </div>
  `;
}

/** @param {{values: any, set: (changes: Record<string, any>) => void, models: any[], wrong: string | null}} props */
function Picture({ values, set, models, wrong }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(/** @type {any} */ (null));
  // What is wrong is told of the picture that was sent, not of one that was chosen since.
  const blamed = useRef({ wrong, picture: values.picture });
  if (blamed.current.wrong !== wrong) blamed.current = { wrong, picture: values.picture };
  const told = wrong && blamed.current.picture === values.picture ? { message: wrong } : null;
  if (!models.some((model) => model.image_to_video)) return null;
  const take = async (/** @type {File} */ file) => {
    setBusy(true);
    setProblem(null);
    try {
      const kept = await upload(file, "vision");
      set({ picture: kept.id, picture_name: file.name, size: "", num_frames: "" });
    } catch (error) {
      setProblem(error);
    }
    setBusy(false);
  };
  return html`
    <${Drop} label=${t("make.picture")} hint=${t("make.picture.hint")} accept="image/png,image/jpeg,image/webp" name=${values.picture_name || null} busy=${busy} problem=${problem ?? told}
      take=${take} clear=${() => set({ picture: "", picture_name: "" })}>
      ${values.picture && html`<img class="picture" src=${urlOf(`/v1/files/${values.picture}/content`)} alt=${values.picture_name} />`}
    </${Drop}>
  `;
}
