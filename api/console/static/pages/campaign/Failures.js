// Why rows of a campaign failed: each reason with examples, and what can be done about all of its rows at once.
import { api } from "../../lib/api.js";
import { pageUrl } from "../../lib/base.js";
import { useData } from "../../lib/data.js";
import { count } from "../../lib/numbers.js";
import { may } from "../../lib/session.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Card } from "../../parts/Card.js";
import { Confirm } from "../../parts/Dialog.js";
import { Empty } from "../../parts/Empty.js";
import { Failure } from "../../parts/Failure.js";
import { Loaded } from "../../parts/Problem.js";
import { toast } from "../../parts/Toast.js";

/** @param {{campaign: any, reload: () => void}} props */
export function Failures({ campaign, reload }) {
  const read = useData(
    (signal) => api(`/v1/campaigns/${campaign.id}/failures`, { signal }),
    [campaign.id, campaign.counts.failed],
  );
  const [asked, setAsked] = useState(/** @type {{act: "retry" | "waive", reason: any} | null} */ (null));
  const steered = may("campaigns") && !["cancelled", "failed"].includes(campaign.state);
  const act = async () => {
    const { act: verb, reason } = /** @type {any} */ (asked);
    await api(`/v1/campaigns/${campaign.id}/${verb}`, { method: "POST", body: { code: reason.code } });
    toast(t(`campaign.${verb}.done`, { count: count(reason.rows) }));
    reload();
    read.reload();
  };
  return html`
    <${Loaded} of=${read}>
      ${(/** @type {any} */ found) =>
        found.data.length === 0
          ? html`<${Empty} icon="check" title=${t("campaign.failures.none")}><p>${t("campaign.failures.none.what")}</p></${Empty}>`
          : html`<div class="stack wide">
              ${found.looked_at < found.rows && html`<p class="muted">${t("campaign.failures.some", { looked: count(found.looked_at), rows: count(found.rows) })}</p>`}
              ${found.data.map((/** @type {any} */ reason) => html`<${Reason} key=${reason.code} campaign=${campaign} reason=${reason} ask=${steered ? setAsked : null} />`)}
            </div>`}
    </${Loaded}>
    ${
      asked &&
      html`<${Confirm} title=${t(`campaign.${asked.act}.ask`, { count: count(asked.reason.rows) })} action=${t(`campaign.${asked.act}`)}
        onClose=${() => setAsked(null)} onConfirm=${act}>${t(`campaign.${asked.act}.what`)}</${Confirm}>`
    }
  `;
}

/** @param {{campaign: any, reason: any, ask: ((asked: any) => void) | null}} props */
function Reason({ campaign, reason, ask }) {
  const all = `/campaigns/${campaign.id}?tab=rows&state=failed&reason=${encodeURIComponent(reason.code)}`;
  const actions = html`
    <a class="button small" href=${pageUrl(all)}>${t("campaign.failures.all")}</a>
    ${
      ask &&
      html`<button class="button small" onClick=${() => ask({ act: "retry", reason })}>${t("campaign.retry")}</button>
      <button class="button small" onClick=${() => ask({ act: "waive", reason })}>${t("campaign.waive")}</button>`
    }
  `;
  return html`
    <${Card} title=${html`<${Failure} code=${reason.code} /> <span class="muted">${t("campaign.failures.rows", { count: count(reason.rows) })}</span>`} actions=${actions}>
      <dl class="facts examples">
        ${reason.examples.map(
          (/** @type {any} */ row) => html`
            <dt>${row.video_id ? html`<a href=${pageUrl(`/jobs/${row.video_id}`)}>${row.custom_id}</a>` : row.custom_id}</dt>
            <dd>${row.message ?? "–"}</dd>
          `,
        )}
      </dl>
    </${Card}>
  `;
}
