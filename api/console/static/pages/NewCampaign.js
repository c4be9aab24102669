// A new campaign: a template, a table of rows, how its videos are made, what it may cost and by when; kept as it is typed.
import { api } from "../lib/api.js";
import { pageUrl } from "../lib/base.js";
import { useGet } from "../lib/data.js";
import { useDraft } from "../lib/draft.js";
import { newId } from "../lib/ids.js";
import { go, query, step } from "../lib/route.js";
import { html, useEffect } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Card, Page } from "../parts/Card.js";
import { AreaField, CheckField, Form, SelectField, TextField } from "../parts/Field.js";
import { Loaded } from "../parts/Problem.js";
import { toast } from "../parts/Toast.js";
import { LOOK, Look, parameters } from "./make/Look.js";
import { Price, useQuote } from "./make/Price.js";
import { Table } from "./make/Table.js";
import { checkUploaded } from "./make/upload.js";

const EMPTY = {
  ...LOOK,
  name: "",
  prompt: "",
  negative_prompt: "",
  file: "",
  file_name: "",
  format: "",
  columns: /** @type {string[]} */ ([]),
  first: /** @type {string[][]} */ ([]),
  rows: /** @type {number | null} */ (null),
  variants: "",
  sample: "",
  approval: true,
  priority: "",
  max_running: "",
  budget: "",
  unit: "gpu_seconds",
  deadline: "",
  run_at: "",
  on_deadline: "continue",
  order: "arrival",
  token: "",
};
const FIELDS = [
  "name",
  "prompt",
  "template.prompt",
  "negative_prompt",
  "variants",
  "sample",
  "priority",
  "max_running",
  "budget",
  "budget.amount",
  "deadline",
  "run_at",
  ...Object.keys(LOOK),
];

export function NewCampaign() {
  const models = useGet("/v1/models");
  const crumb = html`<a href=${pageUrl("/campaigns")}>${t("campaigns.title")}</a>`;
  return html`
    <${Page} title=${t("newcampaign.title")} crumb=${crumb} lead=${t("newcampaign.lead")}>
      <${Loaded} of=${models}>${(/** @type {any} */ found) => html`<${Fields} models=${found.data} />`}</${Loaded}>
    </${Page}>
  `;
}

/** A campaign as the API takes it. @param {typeof EMPTY} values @param {string | null} like */
function bodyOf(values, like) {
  const moment = (/** @type {string} */ text) => (text ? new Date(text).toISOString() : "");
  const told = {
    name: values.name,
    template: { prompt: values.prompt, negative_prompt: values.negative_prompt || null },
    defaults: parameters(values),
    input: values.file,
    format: values.file && values.format,
    variants: values.variants,
    sample: values.sample,
    approval: values.approval ? "required" : "none",
    priority: values.priority,
    max_running: values.max_running,
    budget: values.budget && {
      amount: Number(values.budget),
      unit: values.unit,
      actions: [
        { percent: 80, do: "tell" },
        { percent: 100, do: "finish" },
      ],
    },
    deadline: moment(values.deadline),
    run_at: moment(values.run_at),
    on_deadline: values.deadline && values.on_deadline,
    order: values.order,
    clone_of: like ?? "",
  };
  return Object.fromEntries(Object.entries(told).filter(([, value]) => value !== "" && value !== null));
}

function Fields(/** @type {{models: any[]}} */ { models }) {
  const like = query.value.get("like");
  const [values, set, forget, kept] = useDraft(like ? `campaign.${like}` : "campaign", EMPTY);
  useLike(like, kept, set);
  const quote = useQuote(parameters(values));
  const each = Math.max(1, Number(values.variants) || 1);
  const send = async () => {
    checkUploaded();
    const token = values.token || newId();
    set({ token });
    try {
      const made = await api("/v1/campaigns", {
        method: "POST",
        body: bodyOf(values, like),
        headers: { "idempotency-key": token },
      });
      forget();
      toast(t("newcampaign.made"));
      go(`/campaigns/${made.id}`);
    } catch (problem) {
      if (/** @type {any} */ (problem).code !== "away") set({ token: "" });
      throw problem;
    }
  };
  const field = (/** @type {keyof typeof EMPTY} */ name, /** @type {(field: string) => any} */ wrong, more = {}) => ({
    label: t(`make.${name}`),
    value: values[name],
    wrong: wrong(name),
    onInput: (/** @type {any} */ value) => set({ [name]: value }),
    ...more,
  });
  return html`
    <div class="make">
      <${Form} onSubmit=${send} action=${t(values.file || like ? "newcampaign.send" : "newcampaign.draft")} fields=${FIELDS}>
        ${(/** @type {(field: string) => string | null} */ wrong) => html`
          <${Card}>
            <div class="form">
              ${kept && html`<p class="muted small">${t("make.kept")} <button type="button" class="button small quiet" onClick=${forget}>${t("make.clear")}</button></p>`}
              <${TextField} ...${field("name", wrong)} />
              <${Table} values=${values} set=${set} like=${like} />
              <${AreaField} ...${field("prompt", wrong, { label: t("make.template") })} rows="3" hint=${t("make.template.hint")} wrong=${wrong("template.prompt") ?? wrong("prompt")} />
              <${AreaField} ...${field("negative_prompt", wrong, { label: t("make.negative") })} rows="2" />
            </div>
          </${Card}>
          <${Card} title=${t("make.look")}><${Look} models=${models} values=${values} set=${set} wrong=${wrong} /></${Card}>
          <${Card} title=${t("newcampaign.money")}>
            <div class="grid fields">
              <${TextField} ...${field("variants", wrong)} type="number" min="1" max="1000" placeholder="1" />
              <${TextField} ...${field("sample", wrong)} type="number" min="0" max="10000" placeholder="0" hint=${t("make.sample.hint")} />
              <${TextField} ...${field("budget", wrong)} type="number" min="0" hint=${t("make.budget.hint")} wrong=${wrong("budget") ?? wrong("budget.amount")} />
              <${SelectField} ...${field("unit", wrong)} options=${[["gpu_seconds", t("make.unit.gpu_seconds")], ["money", t("make.unit.money")]]} />
              <${TextField} ...${field("deadline", wrong)} type="datetime-local" />
              <${SelectField} ...${field("on_deadline", wrong)} options=${[["continue", t("make.on_deadline.continue")], ["stop", t("make.on_deadline.stop")]]} />
              <${TextField} ...${field("run_at", wrong)} type="datetime-local" />
              <${TextField} ...${field("priority", wrong)} type="number" min="0" max="100" placeholder="20" hint=${t("make.priority.hint")} />
              <${TextField} ...${field("max_running", wrong)} type="number" min="1" />
              <${SelectField} ...${field("order", wrong)} options=${[["arrival", t("make.order.arrival")], ["spread", t("make.order.spread")]]} />
            </div>
            <${CheckField} label=${t("make.approval")} checked=${values.approval} onInput=${(/** @type {boolean} */ approval) => set({ approval })} />
          </${Card}>
        `}
      </${Form}>
      <aside><${Price} ...${quote} videos=${values.rows === null ? null : values.rows * each} /></aside>
    </div>
  `;
}

/** Fills the form from the campaign that it is to be like, once. */
function useLike(
  /** @type {string | null} */ like,
  /** @type {boolean} */ kept,
  /** @type {(changes: any) => void} */ set,
) {
  useEffect(() => {
    if (!like || kept) return;
    api(`/v1/campaigns/${step(like)}`).then(
      (found) => {
        const { template, defaults, counts, variants } = found;
        const look = Object.fromEntries(
          Object.entries(defaults)
            .filter(([name]) => name in LOOK)
            .map(([name, value]) => [name, String(value)]),
        );
        set({
          ...look,
          prompt: template.prompt,
          negative_prompt: template.negative_prompt ?? "",
          rows: Math.round(counts.rows / variants),
          variants: variants > 1 ? String(variants) : "",
          sample: found.sample ? String(found.sample) : "",
        });
      },
      () => {},
    );
  }, [like]);
}
