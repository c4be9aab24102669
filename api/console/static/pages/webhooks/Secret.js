// Secrets that sign webhooks: rotated with an overlap or without; and the one of URLs that requests name.
import { api } from "../../lib/api.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Card } from "../../parts/Card.js";
import { CopyButton } from "../../parts/Copy.js";
import { Dialog } from "../../parts/Dialog.js";
import { CheckField, Form } from "../../parts/Field.js";
import { ProblemBox } from "../../parts/Problem.js";

/** @param {{path: string, name?: string, onDone: (whole: any) => void, onClose: () => void}} props */
export function Rotate({ path, name, onDone, onClose }) {
  const [overlap, setOverlap] = useState(true);
  const rotate = async () =>
    onDone(await api(path, { method: "POST", body: { keep_old_secret_active_for_24_hours: overlap } }));
  return html`
    <${Dialog} title=${name ? t("webhooks.rotate.of", { name }) : t("webhooks.rotate")} onClose=${onClose}>
      <${Form} onSubmit=${rotate} action=${t("webhooks.rotate")} onCancel=${onClose}>
        ${() => html`<p class="muted">${t("webhooks.rotate.hint")}</p><${CheckField} label=${t("webhooks.rotate.overlap")} checked=${overlap} onInput=${setOverlap} />`}
      </${Form}>
    </${Dialog}>
  `;
}

export function TenantSecret() {
  const [secret, setSecret] = useState("");
  const [problem, setProblem] = useState(/** @type {any} */ (null));
  const [rotating, setRotating] = useState(false);
  const show = () => api("/v1/webhook_secret").then((told) => setSecret(told.signing_secret), setProblem);
  const done = (/** @type {any} */ told) => {
    setRotating(false);
    setSecret(told.signing_secret);
  };
  return html`
    <${Card} title=${t("webhooks.secret.title")} actions=${html`<button class="button small" onClick=${() => setRotating(true)}>${t("webhooks.rotate")}</button>`}>
      <div class="stack">
        <p class="muted">${t("webhooks.secret.hint")}</p>
        ${
          secret
            ? html`<div class="row secret"><code class="grow" data-secret>${secret}</code><${CopyButton} text=${secret} label=${t("copy")} />
              <button class="button small quiet" onClick=${() => setSecret("")}>${t("webhooks.hide")}</button></div>`
            : html`<div><button class="button" onClick=${show}>${t("webhooks.show")}</button></div>`
        }
        <${ProblemBox} problem=${problem} />
      </div>
    </${Card}>
    ${rotating && html`<${Rotate} path="/v1/webhook_secret/rotate" onDone=${done} onClose=${() => setRotating(false)} />`}
  `;
}
