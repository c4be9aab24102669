// The fields that say how a video is made, of one or of all of a campaign: only what its model can do.
import { number } from "../../lib/numbers.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { SelectField, TextField } from "../../parts/Field.js";

/** What a form keeps of it; empty is the model's own. */
export const LOOK = {
  model: "",
  size: "",
  num_frames: "",
  fps: "",
  profile: "",
  adapter: "",
  num_inference_steps: "",
  guidance_scale: "",
};

/** The models that can be chosen, by their own names; those that begin at pictures come with a picture. @param {any[]} models */
export const chosen = (models, /** @type {string} */ name) =>
  models.find((model) => model.id === name) ?? models.find((model) => !model.image_to_video) ?? models[0];

/** What was said of it, as the API takes it. @param {Record<string, any>} values */
export function parameters(values) {
  const found = Object.entries(values).filter(([name, value]) => name in LOOK && value !== "");
  const numbers = new Set(["num_frames", "fps", "num_inference_steps", "guidance_scale"]);
  return Object.fromEntries(found.map(([name, value]) => [name, numbers.has(name) ? Number(value) : value]));
}

/** Which numbers of frames there are, in words. @param {any} model */
function framesRule({ frames, frames_rule }) {
  const [low, next] = frames;
  const step = next - low;
  const even = frames.every((/** @type {number} */ each, /** @type {number} */ i) => each === low + i * (step || 0));
  return even && step ? t("make.frames.rule", { low, high: frames.at(-1), step }) : frames_rule;
}

/**
 * @param {{models: any[], values: Record<string, any>, set: (changes: Record<string, any>) => void, wrong: (field: string) => any, picture?: boolean}} props
 */
export function Look({ models, values, set, wrong, picture = false }) {
  const model = chosen(models, values.model);
  const shown = (picture && models.find((each) => each.id === model.image_model)) || model;
  const field = (/** @type {string} */ name) => ({
    label: t(`make.${name}`),
    value: values[name],
    wrong: wrong(name),
    onInput: (/** @type {string} */ value) => set({ [name]: value }),
  });
  const usual = (/** @type {any} */ what) => /** @type {[string, string]} */ (["", t("make.usual", { what })]);
  const own = models.filter((each) => !each.alias_of && !each.image_to_video);
  const change = (/** @type {string} */ name) => set({ ...LOOK, model: name });
  return html`
    <div class="grid fields">
      <${SelectField} ...${field("model")} value=${model.id} onInput=${change} hint=${model.available ? null : model.unavailable_reason} options=${own.map((each) => [each.id, each.id])} />
      <${SelectField} ...${field("profile")} hint=${t(`make.profile.${values.profile || model.profiles[0]}`)} options=${[usual(t(`make.profile.word.${model.profiles[0]}`)), ...model.profiles.slice(1).map((/** @type {string} */ each) => [each, t(`make.profile.word.${each}`)])]} />
      <${SelectField} ...${field("size")} hint=${shown.sizes_rule} options=${[usual(shown.sizes[0]), ...shown.sizes.slice(1).map((/** @type {string} */ each) => [each, each])]} />
      <${SelectField} ...${field("num_frames")} hint=${framesRule(shown)} options=${[["", t("make.length.usual")], ...shown.frames.map((/** @type {number} */ each) => [String(each), t("make.length", { seconds: number(each / shown.fps, 2), frames: each })])]} />
      <${TextField} ...${field("fps")} type="number" min=${shown.fps} max=${shown.max_fps} placeholder=${String(shown.fps)} hint=${t("make.fps.hint", { low: shown.fps, high: shown.max_fps })} />
      <${TextField} ...${field("num_inference_steps")} type="number" min="1" max=${model.max_steps} placeholder=${String(model.steps[values.profile || model.profiles[0]])} hint=${t("make.steps.hint", { most: model.max_steps })} />
      <${TextField} ...${field("guidance_scale")} type="number" step="0.5" min="0" max=${model.max_guidance_scale} placeholder=${String(model.default_guidance_scale)} hint=${t("make.guidance.hint", { most: model.max_guidance_scale })} />
      ${model.adapters.length > 0 && html`<${SelectField} ...${field("adapter")} options=${[["", t("make.adapter.none")], ...model.adapters.map((/** @type {string} */ each) => [each, each])]} />`}
    </div>
  `;
}
