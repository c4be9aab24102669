// What was sent of a job's end to the tenant's webhooks, and sending it again.
import { api } from "../../lib/api.js";
import { useGet } from "../../lib/data.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { TimeAgo } from "../../parts/Amounts.js";
import { Card } from "../../parts/Card.js";
import { Dialog } from "../../parts/Dialog.js";
import { ProblemBox } from "../../parts/Problem.js";
import { State } from "../../parts/State.js";
import { toast, toastProblem } from "../../parts/Toast.js";
import { Attempts } from "../webhooks/Attempts.js";
import { live } from "./source.js";

/** @param {{job: any}} props */
export function Deliveries({ job }) {
  const sent = useGet(
    `/v1/jobs/${encodeURIComponent(job.id)}/deliveries`,
    {},
    { everyMs: live(job) ? undefined : 10_000 },
  );
  const all = sent.data?.data ?? [];
  const [shown, setShown] = useState("");
  const open = all.find((/** @type {any} */ each) => each.id === shown);
  const again = async (/** @type {any} */ each) => {
    await api(`/v1/webhook_deliveries/${each.id}/resend`, { method: "POST" });
    toast(t("job.deliveries.resent"));
    sent.reload();
  };
  if (!all.length && !sent.problem) return null;
  return html`<${Card} title=${t("job.deliveries")} bare=${true}>
    ${sent.problem && html`<${ProblemBox} problem=${sent.problem} again=${sent.reload} />`}
    <div class="table" tabindex="0" role="region" aria-label=${t("job.deliveries")}><table>
      <thead><tr>${["state", "event", "url", "tries", "at"].map((name) => html`<th scope="col">${t(`job.deliveries.${name}`)}</th>`)}<th><span class="unseen">${t("jobs.column.actions")}</span></th></tr></thead>
      <tbody>${all.map(
        (/** @type {any} */ each) => html`<tr key=${each.id}>
          <td><${State} state=${each.state} /></td>
          <td>${each.event.type}</td>
          <td class="clip small" title=${each.last_error ?? each.url}>${each.url}</td>
          <td>${each.attempts ? html`<button class="button small quiet" aria-label=${t("job.deliveries.tried", { count: each.attempts })} onClick=${() => setShown(each.id)}>${each.attempts}</button>` : 0}${each.last_status ? html` <span class="muted small">(${each.last_status})</span>` : ""}</td>
          <td><${TimeAgo} at=${each.created_at} /></td>
          <td class="end"><button class="button small" onClick=${() => again(each).catch(toastProblem)}>${t("job.deliveries.resend")}</button></td>
        </tr>`,
      )}</tbody>
    </table></div>
    ${open && html`<${Dialog} title=${t("webhooks.delivery", { type: open.event.type })} wide=${true} onClose=${() => setShown("")}><${Attempts} of=${open} /></${Dialog}>`}
  </${Card}>`;
}
