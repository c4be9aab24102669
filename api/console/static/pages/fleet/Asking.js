// Asks for how long a worker may go on before it is drained or replaced, and has it done.
import { api } from "../../lib/api.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Dialog } from "../../parts/Dialog.js";
import { Form, SelectField } from "../../parts/Field.js";
import { toast } from "../../parts/Toast.js";

const TIMES = ["", "0", "60", "600", "3600"];

/** @param {{worker: any, kind: "drain" | "replace", onClose: () => void, done: () => void}} props */
export function Asking({ worker, kind, onClose, done }) {
  const [within, setWithin] = useState("");
  // The life that was looked at, and no later one.
  const [life] = useState(worker.incarnation);
  const ask = async () => {
    const body = { incarnation: life, ...(within === "" ? {} : { within_s: Number(within) }) };
    await api(`/v1/admin/workers/${encodeURIComponent(worker.id)}/${kind}`, { method: "POST", body });
    toast(t(`fleet.${kind}.asked`, { worker: worker.name }));
    done();
  };
  return html`
    <${Dialog} title=${t(`fleet.${kind}.ask`, { worker: worker.name })} onClose=${onClose}>
      <${Form} onSubmit=${ask} action=${t(`fleet.${kind}`)} fields=${["within_s"]} onCancel=${onClose}>
        ${(/** @type {(field: string) => string | null} */ wrong) => html`
          <p class="muted">${t(`fleet.${kind}.hint`)} ${worker.running > 0 && t("fleet.holds", { count: worker.running })}</p>
          <${SelectField} label=${t("fleet.within")} hint=${t("fleet.within.hint")} wrong=${wrong("within_s")} value=${within} onInput=${setWithin}
            options=${TIMES.map((each) => [each, t(`fleet.within.${each || "end"}`)])} />
        `}
      </${Form}>
    </${Dialog}>
  `;
}
