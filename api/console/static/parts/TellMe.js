// Tells, by the browser's own notification, that what is watched on this page has ended: only for who asked for it.
import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Icon } from "./Icon.js";
import { toast } from "./Toast.js";

/** @param {{done: boolean, text: string}} props `done`: whether it has ended; `text`: what is said then */
export function TellMe({ done, text }) {
  const [asked, setAsked] = useState(false);
  const before = useRef(done);
  useEffect(() => {
    if (asked && done && !before.current) tell(text);
    before.current = done;
  }, [asked, done]);
  if (done || !("Notification" in globalThis)) return null;
  const ask = async () => {
    if (asked) return setAsked(false);
    const granted = (await Notification.requestPermission()) === "granted";
    toast(t(granted ? "tell.on" : "tell.refused"));
    setAsked(granted);
  };
  return html`
    <button type="button" class="button" aria-pressed=${asked} onClick=${ask}><${Icon} name=${asked ? "check" : "bell"} />${t("tell.me")}</button>
  `;
}

/** @param {string} text */
function tell(text) {
  const shown = new Notification("Cogmill", { body: text });
  shown.onclick = () => {
    focus();
    shown.close();
  };
}
