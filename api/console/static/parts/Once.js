// A secret that is shown once: it can be copied, and is gone when the window is closed.
import { html, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { CopyButton } from "./Copy.js";
import { Dialog } from "./Dialog.js";
import { CheckField } from "./Field.js";

/** @param {{title: string, secret: string, onClose: () => void, children?: any}} props `children`: what it is for */
export function Once({ title, secret, onClose, children }) {
  const [kept, setKept] = useState(false);
  return html`
    <${Dialog} title=${title}>
      <div class="stack once">
        <p class="muted">${children}</p>
        <div class="row secret"><code class="grow" data-secret>${secret}</code><${CopyButton} text=${secret} label=${t("copy")} /></div>
        <${CheckField} label=${t("once.kept")} checked=${kept} onInput=${setKept} />
      </div>
      <footer><button class="button primary" disabled=${!kept} onClick=${onClose}>${t("once.done")}</button></footer>
    </${Dialog}>
  `;
}
