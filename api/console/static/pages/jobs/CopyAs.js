// A job's request as a command or a program, to be run elsewhere. The key is named and never written.
import { BASE } from "../../lib/base.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { CopyButton } from "../../parts/Copy.js";
import { Dialog } from "../../parts/Dialog.js";
import { Icon } from "../../parts/Icon.js";
import { Tabs } from "../../parts/Tabs.js";

/** What of a video its request may say. */
const FIELDS = [
  "prompt",
  "model",
  "size",
  "negative_prompt",
  "num_frames",
  "fps",
  "num_inference_steps",
  "guidance_scale",
  "seed",
  "profile",
  "adapter",
  "adapter_scale",
  "priority",
  "metadata",
];

/** The request that makes a video like it. @param {any} job @returns {Record<string, any>} */
export const requestOf = (job) =>
  Object.fromEntries(
    FIELDS.map((name) => [name, job[name]]).filter(([, value]) => value !== null && value !== undefined),
  );

const quoted = (/** @type {string} */ text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** @param {Record<string, any>} request */
export const asCurl = (request) =>
  [
    `curl ${quoted(`${location.origin}${BASE}/v1/videos`)}`,
    `  -H "Authorization: Bearer $COGMILL_KEY"`,
    "  -H 'Content-Type: application/json'",
    `  -d ${quoted(JSON.stringify(request))}`,
  ].join(" \\\n");

/** JSON's words are Python's but for three. @param {any} value @returns {string} */
const python = (value) =>
  typeof value === "object"
    ? `{${Object.entries(value)
        .map(([name, each]) => `${JSON.stringify(name)}: ${python(each)}`)
        .join(", ")}}`
    : typeof value === "boolean"
      ? value
        ? "True"
        : "False"
      : JSON.stringify(value);

/** @param {Record<string, any>} request */
export const asPython = (request) => {
  const given = Object.entries(request).map(([name, value]) => `        ${name}=${python(value)},`);
  return [
    "import os",
    "from cogmill_client import Cogmill",
    "",
    `with Cogmill(os.environ["COGMILL_KEY"], ${JSON.stringify(`${location.origin}${BASE}`)}) as cogmill:`,
    "    video = cogmill.videos.create(",
    ...given,
    "    )",
    "    video = cogmill.videos.wait(video.id)",
    '    cogmill.videos.download(video.id, f"{video.id}.mp4")',
  ].join("\n");
};

/** @param {{job: any}} props */
export function CopyAs({ job }) {
  const [open, setOpen] = useState(false);
  const request = requestOf(job);
  const kind = (/** @type {string} */ name, /** @type {string} */ title, /** @type {string} */ text) => ({
    name,
    title,
    show: () =>
      html`<div class="stack"><pre class="code" tabindex="0">${text}</pre><div class="row"><${CopyButton} text=${text} label=${t("copy")} /></div></div>`,
  });
  return html`
    <button class="button" onClick=${() => setOpen(true)}><${Icon} name="copy" />${t("job.copy")}</button>
    ${
      open &&
      html`<${Dialog} title=${t("job.copy")} wide=${true} onClose=${() => setOpen(false)}>
        <${Tabs} label=${t("job.copy")} tabs=${[
          kind("curl", "curl", asCurl(request)),
          kind("python", "Python", asPython(request)),
          kind("cli", "CLI", asCommand(request)),
        ]} />
      </${Dialog}>`
    }
  `;
}

/** Options of the command that have names of their own; all else is said by --set. @type {Record<string, string>} */
const OPTIONS = {
  model: "--model",
  size: "--size",
  seed: "--seed",
  profile: "--profile",
  negative_prompt: "--negative-prompt",
};

/** @param {Record<string, any>} request */
export function asCommand({ prompt, ...request }) {
  const given = Object.entries(request).map(([name, value]) => {
    const said = typeof value === "object" ? JSON.stringify(value) : String(value);
    return name in OPTIONS ? `  ${OPTIONS[name]} ${quoted(said)}` : `  --set ${quoted(`${name}=${said}`)}`;
  });
  return [`cogmill submit ${quoted(prompt)}`, ...given, "  --wait"].join(" \\\n");
}
