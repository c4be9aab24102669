// What is done to a campaign: approve, pause, go on, retry, waive, promote, cancel, delete; and its downloads.
import { api, urlOf } from "../../lib/api.js";
import { pageUrl } from "../../lib/base.js";
import { count } from "../../lib/numbers.js";
import { go } from "../../lib/route.js";
import { may } from "../../lib/session.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Confirm, ConfirmByName } from "../../parts/Dialog.js";
import { Icon } from "../../parts/Icon.js";
import { Menu } from "../../parts/Menu.js";
import { toast, toastProblem } from "../../parts/Toast.js";

const ENDED = new Set(["completed", "cancelled", "failed"]);
const WITH_ROWS = new Set(["sampling", "awaiting_approval", "running", "paused", "completed"]);

/** @param {{campaign: any, name: string, reload: () => void}} props */
export function Actions({ campaign, name, reload }) {
  const [asked, setAsked] = useState("");
  const { state, counts } = campaign;
  const post = async (/** @type {string} */ verb, body = {}) => {
    await api(`/v1/campaigns/${campaign.id}/${verb}`, { method: "POST", body });
    toast(t(`campaign.${verb}.done`, { count: count(counts.failed) }));
    reload();
  };
  const now = (/** @type {string} */ verb) => () => post(verb).catch(toastProblem);
  const remove = async () => {
    await api(`/v1/campaigns/${campaign.id}`, { method: "DELETE" });
    toast(t("campaign.delete.done", { name }));
    go("/campaigns");
  };
  const done = WITH_ROWS.has(state);
  const items = [
    counts.succeeded && { title: t("campaign.promote"), icon: "play", act: () => setAsked("promote"), may: done },
    counts.failed && { title: t("campaign.retry.all"), icon: "again", act: () => setAsked("retry"), may: done },
    counts.failed && { title: t("campaign.waive.all"), icon: "check", act: () => setAsked("waive"), may: done },
    { title: t("campaign.clone"), icon: "copy", act: () => go(`/new/campaign?like=${campaign.id}`), may: true },
    { title: t("campaign.cancel"), icon: "stop", act: () => setAsked("cancel"), may: !ENDED.has(state) },
    { title: t("campaign.delete"), icon: "trash", act: () => setAsked("delete"), may: ENDED.has(state) },
  ].filter((item) => item && /** @type {any} */ (item).may);
  const close = () => setAsked("");
  return html`
    ${counts.succeeded > 0 && html`<a class="button" href=${pageUrl(`/review?campaign=${campaign.id}`)}><${Icon} name="review" />${t("campaign.review")}</a>`}
    ${
      may("campaigns") &&
      html`
        ${["sampling", "running"].includes(state) && html`<button class="button" onClick=${() => setAsked("pause")}><${Icon} name="pause" />${t("campaign.pause")}</button>`}
        ${state === "paused" && html`<button class="button primary" onClick=${now("resume")}><${Icon} name="play" />${t("campaign.resume")}</button>`}
      `
    }
    ${campaign.manifest && html`<${Downloads} campaign=${campaign} />`}
    ${may("campaigns") && html`<${Menu} label=${t("campaign.more")} items=${items} />`}
    ${
      ["pause", "promote", "retry", "waive"].includes(asked) &&
      html`<${Confirm} title=${t(`campaign.${asked}.ask`, { count: count(counts.failed) })} action=${t(`campaign.${asked}`)} onClose=${close} onConfirm=${() => post(asked)}>${t(`campaign.${asked}.what`)}</${Confirm}>`
    }
    ${asked === "cancel" && html`<${ConfirmByName} title=${t("campaign.cancel.ask", { name })} name=${name} action=${t("campaign.cancel")} onClose=${close} onConfirm=${() => post("cancel")}>${t("campaign.cancel.what")}</${ConfirmByName}>`}
    ${asked === "delete" && html`<${ConfirmByName} title=${t("campaign.delete.ask", { name })} name=${name} action=${t("campaign.delete")} onClose=${close} onConfirm=${remove}>${t("campaign.delete.what")}</${ConfirmByName}>`}
  `;
}

/** @param {{campaign: any}} props */
function Downloads({ campaign }) {
  const at = `/v1/campaigns/${campaign.id}/manifest`;
  const files = [
    ["jsonl", urlOf(at)],
    ["signature", urlOf(`${at}/signature`)],
    ["csv", urlOf(at, { format: "csv" })],
    ["links", urlOf(at, { format: "links" })],
  ];
  const save = (/** @type {string} */ url) => () => {
    const link = document.createElement("a");
    link.href = url;
    link.download = "";
    link.click();
  };
  return html`<${Menu} label=${t("campaign.manifest")} icon="download" items=${files.map(([name, url]) => ({ title: t(`campaign.manifest.${name}`), icon: "download", act: save(url) }))} />`;
}
