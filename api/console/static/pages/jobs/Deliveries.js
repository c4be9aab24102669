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
import { Table } from "../../parts/Table.js";
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
    <${Table} label=${t("job.deliveries")} rows=${all} columns=${columns(setShown, again)} />
    ${open && html`<${Dialog} title=${t("webhooks.delivery", { type: open.event.type })} wide=${true} onClose=${() => setShown("")}><${Attempts} of=${open} /></${Dialog}>`}
  </${Card}>`;
}

/** @param {(id: string) => void} show @param {(each: any) => Promise<void>} again @returns {import("../../parts/Table.js").Column<any>[]} */
const columns = (show, again) => [
  { name: "state", title: t("job.deliveries.state"), cell: (each) => html`<${State} state=${each.state} />` },
  { name: "event", title: t("job.deliveries.event"), cell: (each) => each.event.type },
  {
    name: "url",
    title: t("job.deliveries.url"),
    wide: true,
    cell: (each) => html`<span class="clip small" title=${each.last_error ?? each.url}>${each.url}</span>`,
  },
  { name: "tries", title: t("job.deliveries.tries"), cell: (each) => html`<${Tries} of=${each} show=${show} />` },
  { name: "at", title: t("job.deliveries.at"), cell: (each) => html`<${TimeAgo} at=${each.created_at} />` },
  {
    name: "do",
    title: html`<span class="unseen">${t("jobs.column.actions")}</span>`,
    end: true,
    cell: (each) =>
      html`<button class="button small" onClick=${() => again(each).catch(toastProblem)}>${t("job.deliveries.resend")}</button>`,
  },
];

/** How often it was tried, and what was answered last. @param {{of: any, show: (id: string) => void}} props */
const Tries = ({ of, show }) => html`
  ${of.attempts ? html`<button class="button small quiet" aria-label=${t("job.deliveries.tried", { count: of.attempts })} onClick=${() => show(of.id)}>${of.attempts}</button>` : 0}
  ${of.last_status && html` <span class="muted small">(${of.last_status})</span>`}
`;
