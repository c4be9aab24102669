// Sends a sample event to an endpoint, and says what its receiver answered.
import { api } from "../../lib/api.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Dialog } from "../../parts/Dialog.js";
import { Form, SelectField } from "../../parts/Field.js";
import { State } from "../../parts/State.js";

/** @param {{of: any, onClose: () => void}} props */
export function Test({ of, onClose }) {
  const [type, setType] = useState(of.event_types[0]);
  const [answer, setAnswer] = useState(/** @type {any} */ (null));
  const send = async () => {
    setAnswer(null);
    setAnswer(await api(`/v1/webhook_endpoints/${of.id}/test`, { method: "POST", body: { event_type: type } }));
  };
  const fine = answer && answer.status_code >= 200 && answer.status_code < 300;
  return html`
    <${Dialog} title=${t("webhooks.test.title", { name: of.name })} onClose=${onClose}>
      <p class="muted">${t("webhooks.test.hint")}</p><br />
      <${Form} onSubmit=${send} action=${t("webhooks.test.send")}>
        ${() => html`
          <${SelectField} label=${t("webhooks.event")} value=${type} onInput=${setType} options=${of.event_types.map((/** @type {string} */ each) => [each, each])} />
          ${answer && html`<p role="status" class="row"><${State} state=${fine ? "delivered" : "failed"}>${t("webhooks.answered", { status: answer.status_code })}</${State}></p>`}
        `}
      </${Form}>
    </${Dialog}>
  `;
}
