// The parts that pages are made of, alive and beside each other: for whoever writes a page, and for the tests of parts.
import { perFrame } from "../lib/events.js";
import { go, query } from "../lib/route.js";
import { html, useEffect, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { DateTime, Duration, Money, TimeAgo } from "../parts/Amounts.js";
import { Bars, Gantt } from "../parts/Bars.js";
import { Card, Facts, Figures, Page } from "../parts/Card.js";
import { Chart } from "../parts/Chart.js";
import { CopyButton, Id } from "../parts/Copy.js";
import { Confirm, ConfirmByName, Dialog } from "../parts/Dialog.js";
import { Empty } from "../parts/Empty.js";
import { AreaField, CheckField, Form, SelectField, TextField } from "../parts/Field.js";
import { Filters, filterValues } from "../parts/Filters.js";
import { Icon } from "../parts/Icon.js";
import { Menu } from "../parts/Menu.js";
import { Player } from "../parts/Player.js";
import { Loading, ProblemBox } from "../parts/Problem.js";
import { Progress, Shares } from "../parts/Progress.js";
import { State } from "../parts/State.js";
import { Table } from "../parts/Table.js";
import { Tabs } from "../parts/Tabs.js";
import { TellMe } from "../parts/TellMe.js";
import { later, toast, toastProblem } from "../parts/Toast.js";

const STATES = ["held", "queued", "running", "preempted", "succeeded", "failed", "cancelled", "ready", "draining"];
const BEGAN = 1_764_489_600;
const ID = "video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a";
const PROBLEM = {
  code: "rate_limit_exceeded",
  message: "this tenant may send 5 requests per second",
  requestId: "7c1f0e5d",
};
const FILTERS = [
  {
    name: "state",
    label: "State",
    options: STATES.slice(0, 4).map((each) => /** @type {[string, string]} */ ([each, t(`state.${each}`)])),
  },
  { name: "text", label: "Prompt", type: /** @type {const} */ ("text"), placeholder: "words" },
  { name: "since", label: "Since", type: /** @type {const} */ ("moment") },
];

export function Parts() {
  return html`
    <${Page} title=${t("parts.title")} lead=${t("parts.lead")} badge=${html`<${State} state="running" />`}
      actions=${html`<button class="button">Secondary</button><button class="button primary"><${Icon} name="plus" />Primary</button>`}>
      <div class="stack wide">
        <${Figures} figures=${[
          { name: "Waiting", value: "12,408", note: "oldest 3 min", href: "?state=queued" },
          { name: "Running", value: "64" },
          { name: "Done today", value: "91,220", note: "99.4% succeeded" },
          { name: "GPU busy", value: "97%" },
        ]} />
        <${Card} title="States"><div class="row">${STATES.map((state) => html`<${State} state=${state} />`)}</div></${Card}>
        <${Rows} />
        <div class="grid half">
          <${Card} title="Chart"><${Lines} /></${Card}>
          <${Card} title="Bars and shares"><${Amounts} /></${Card}>
          <${Card} title="Attempts"><${Attempts} /></${Card}>
          <${Card} title="Facts">
            <${Facts} facts=${[
              ["Id", html`<${Id} id=${ID} />`],
              ["Submitted", html`<${DateTime} at=${BEGAN} />`],
              ["Ended", html`<${TimeAgo} at=${BEGAN + 600} />`],
              ["Took", html`<${Duration} seconds=${7_530} />`],
              ["Cost", html`<${Money} amount=${12.5} currency="USD" />`],
              ["Copy", html`<${CopyButton} text="curl …" label="curl" />`],
            ]} />
          </${Card}>
          <${Card} title="Form"><${Fields} /></${Card}>
          <${Card} title="Windows and notices"><${Windows} /></${Card}>
        </div>
        <${Tabs} label="Tabs" tabs=${[
          {
            name: "problem",
            title: "Problem",
            show: () => html`<${ProblemBox} problem=${PROBLEM} again=${() => toast("Again")} />`,
          },
          {
            name: "empty",
            title: "Empty",
            show: () =>
              html`<${Empty} icon="jobs" title="No jobs yet" action=${html`<a class="button primary" href="?tab=problem">Make a video</a>`}><p>A job is one video. It appears here as soon as it is accepted.</p></${Empty}>`,
          },
          { name: "loading", title: "Loading", show: () => html`<${Loading} />` },
          { name: "player", title: "Player", show: () => html`<${Player} label="A video" />` },
        ]} />
      </div>
    </${Page}>
  `;
}

const WATCHED_MS = 200;

/** How far each of many watched things is: each tick tells of all of them, and is painted once. */
function useWatched(/** @type {number} */ total) {
  const [shares, setShares] = useState(/** @type {Map<number, number>} */ (new Map()));
  useEffect(() => {
    if (!query.value.has("watched")) return undefined;
    const hear = perFrame((events) => setShares((before) => new Map([...before, ...events])));
    const tick = () => {
      for (let i = 0; i < total; i++) hear([i, Math.random()]);
    };
    const timer = setInterval(tick, WATCHED_MS);
    return () => clearInterval(timer);
  }, [total]);
  return shares;
}

/** As many rows as `?rows=` says; with `?watched=1` they go on. */
function Rows() {
  const total = Number(query.value.get("rows") ?? 8);
  const { state } = filterValues(FILTERS);
  const shares = useWatched(total);
  const rows = Array.from({ length: total }, (_, i) => ({
    id: `video_${i}`,
    state: STATES[i % STATES.length],
    seconds: (i * 7919) % 600,
    share: shares.get(i) ?? (i % 11) / 10,
  })).filter((row) => !state || row.state === state);
  return html`
    <div>
      <${Filters} filters=${FILTERS} />
      <${Table} label="Rows" rows=${rows} open=${(/** @type {any} */ row) => go(`?opened=${row.id}`)} columns=${[
        { name: "id", title: "Id", cell: (/** @type {any} */ row) => html`<span class="mono">${row.id}</span>` },
        { name: "state", title: "State", cell: (/** @type {any} */ row) => html`<${State} state=${row.state} />` },
        {
          name: "share",
          title: "Progress",
          cell: (/** @type {any} */ row) => html`<${Progress} value=${row.share} label=${row.id} />`,
        },
        {
          name: "took",
          title: "Took",
          end: true,
          cell: (/** @type {any} */ row) => html`<${Duration} seconds=${row.seconds} />`,
        },
      ]} />
    </div>
  `;
}

function Lines() {
  const times = Array.from({ length: 48 }, (_, i) => BEGAN + i * 1800);
  const wave = (/** @type {number} */ base, /** @type {number} */ size) =>
    times.map((_, i) => base + Math.round(size * (1 + Math.sin(i / 6))));
  return html`<${Chart} label="Jobs over a day" times=${times} marks=${[{ at: BEGAN + 40 * 1800, name: "Deadline", tone: "red" }]}
    lines=${[{ name: "Done", tone: "green", values: wave(400, 300), fill: true }, { name: "Waiting", tone: "blue", values: wave(100, 80) }, { name: "Failed", tone: "red", values: wave(4, 3) }]} />`;
}

const Amounts = () => html`
  <div class="stack">
    <${Bars} label="By pool" bars=${[{ name: "cogvideox-5b", value: 8_210 }, { name: "cogvideox-2b", value: 3_120, tone: "blue" }, { name: "image-to-video", value: 411, tone: "violet" }]} />
    <${Shares} label="Rows" total=${100} shares=${[{ name: "Succeeded", value: 62, tone: "green" }, { name: "Running", value: 14, tone: "blue" }, { name: "Failed", value: 4, tone: "red" }]} />
  </div>
`;

const Attempts = () => {
  const spans = /** @type {[string, string, number, number][]} */ ([
    ["Wait", "grey", 0, 40],
    ["Load", "amber", 40, 61],
    ["Encode", "violet", 61, 64],
    ["Denoise", "blue", 64, 150],
    ["Decode", "accent", 150, 163],
    ["Upload", "green", 163, 170],
  ]);
  const lane = (/** @type {number} */ shift, /** @type {number} */ many) =>
    spans
      .slice(0, many)
      .map(([name, tone, from, to]) => ({ name, tone, from: BEGAN + shift + from, to: BEGAN + shift + to }));
  return html`<${Gantt} label="Attempts" lanes=${[{ name: "1", spans: lane(0, 4) }, { name: "2", spans: lane(150, 6) }]} />`;
};

function Fields() {
  const [text, setText] = useState("");
  const [model, setModel] = useState("a");
  const [on, setOn] = useState(true);
  const send = async () => {
    if (!text) throw { code: "missing", param: "name", message: "a name is needed" };
    toast(`Saved ${text}`);
  };
  return html`
    <${Form} onSubmit=${send} action=${t("save")} fields=${["name"]}>
      ${(/** @type {(field: string) => string | null} */ wrong) => html`
        <${TextField} label="Name" hint="As others will see it." wrong=${wrong("name")} value=${text} onInput=${setText} />
        <${SelectField} label="Model" value=${model} onInput=${setModel} options=${[["a", "cogvideox-2b"], ["b", "cogvideox-5b"]]} />
        <${AreaField} label="Prompt" value="" onInput=${() => {}} />
        <${CheckField} label="Tell me when it is done" checked=${on} onInput=${setOn} />
      `}
    </${Form}>
  `;
}

function Windows() {
  const [open, setOpen] = useState("");
  const [done, setDone] = useState(false);
  const close = () => setOpen("");
  return html`
    <div class="row">
      <button class="button" onClick=${() => setOpen("dialog")}>Dialog</button>
      <button class="button" onClick=${() => setOpen("confirm")}>Confirm</button>
      <button class="button danger" onClick=${() => setOpen("name")}>Delete…</button>
      <button class="button" onClick=${() => later("Cancelled 3 jobs", async () => toast("Really done"))}>Undo</button>
      <button class="button" onClick=${() => toastProblem(PROBLEM)}>Problem</button>
      <${TellMe} done=${done} text="The video is ready" />
      <button class="button" onClick=${() => setDone(true)}>End it</button>
      <${Menu} label="More" items=${[{ title: "Copy", icon: "copy", act: () => toast("Copied") }, { title: "Delete", icon: "trash", act: () => setOpen("name") }]} />
    </div>
    ${open === "dialog" && html`<${Dialog} title="A window" onClose=${close}><p>The focus stays in here; Escape closes it.</p></${Dialog}>`}
    ${open === "confirm" && html`<${Confirm} title="Cancel 3 jobs?" action="Cancel them" onClose=${close} onConfirm=${() => toast("Done")}>Renders under way stop within a step.</${Confirm}>`}
    ${open === "name" && html`<${ConfirmByName} title="Delete autumn?" name="autumn" action="Delete" onClose=${close} onConfirm=${() => toast("Deleted")}>Its videos go with it.</${ConfirmByName}>`}
  `;
}
