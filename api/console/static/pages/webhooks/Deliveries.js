// Deliveries: each event for each URL, how often it was tried, what was answered, and sent again.
import { api } from "../../lib/api.js";
import { useList } from "../../lib/data.js";
import { count } from "../../lib/numbers.js";
import { dateTime } from "../../lib/time.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { TimeAgo } from "../../parts/Amounts.js";
import { Facts } from "../../parts/Card.js";
import { CopyButton, Id } from "../../parts/Copy.js";
import { Dialog } from "../../parts/Dialog.js";
import { Empty } from "../../parts/Empty.js";
import { Filters, filterValues } from "../../parts/Filters.js";
import { ProblemBox } from "../../parts/Problem.js";
import { State } from "../../parts/State.js";
import { Table } from "../../parts/Table.js";
import { toast } from "../../parts/Toast.js";
import { Attempts } from "./Attempts.js";

const STATES = ["pending", "delivered", "failed"];

export function Deliveries() {
  const endpoints = useList("/v1/webhook_endpoints");
  const named = Object.fromEntries(endpoints.rows.map((each) => [each.id, each.name]));
  const filters = [
    {
      name: "state",
      label: t("webhooks.state"),
      options: STATES.map((state) => /** @type {[string, string]} */ ([state, t(`state.${state}`)])),
    },
    {
      name: "endpoint",
      label: t("webhooks.endpoint"),
      options: endpoints.rows.map((each) => /** @type {[string, string]} */ ([each.id, each.name])),
    },
  ];
  const list = useList("/v1/webhook_deliveries", filterValues(filters), { everyMs: 5000 });
  const [chosen, setChosen] = useState(/** @type {any} */ (null));
  const columns = [
    {
      name: "state",
      title: t("webhooks.state"),
      cell: (/** @type {any} */ each) => html`<${State} state=${each.state} />`,
    },
    {
      name: "event",
      title: t("webhooks.event"),
      cell: (/** @type {any} */ each) => html`<span class="mono">${each.event.type}</span>`,
    },
    {
      name: "to",
      title: t("webhooks.to"),
      wide: true,
      cell: (/** @type {any} */ each) =>
        html`<span class="clip" title=${each.url}>${named[each.endpoint] ?? each.url}</span>`,
    },
    {
      name: "at",
      title: t("webhooks.at"),
      cell: (/** @type {any} */ each) => html`<${TimeAgo} at=${each.created_at} />`,
    },
    {
      name: "attempts",
      title: t("webhooks.attempts"),
      end: true,
      cell: (/** @type {any} */ each) => count(each.attempts),
    },
    {
      name: "last",
      title: t("webhooks.last"),
      wide: true,
      cell: (/** @type {any} */ each) =>
        html`<span class="clip" title=${each.last_error ?? ""}>${each.last_error ?? each.last_status ?? "–"}</span>`,
    },
    {
      name: "next",
      title: t("webhooks.next"),
      cell: (/** @type {any} */ each) => (each.next_attempt_at ? html`<${TimeAgo} at=${each.next_attempt_at} />` : "–"),
    },
  ];
  return html`
    <${Filters} filters=${filters} />
    <${Table} label=${t("webhooks.deliveries")} ...${list} columns=${columns} open=${setChosen}
      empty=${html`<${Empty} icon="webhooks" title=${t("webhooks.deliveries.none")}>${t("webhooks.deliveries.hint")}</${Empty}>`} />
    ${chosen && html`<${Look} of=${list.rows.find((each) => each.id === chosen.id) ?? chosen} name=${named[chosen.endpoint]} reload=${list.reload} onClose=${() => setChosen(null)} />`}
  `;
}

function Look(
  /** @type {{of: any, name?: string, reload: () => void, onClose: () => void}} */ { of, name, reload, onClose },
) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(/** @type {any} */ (null));
  const body = JSON.stringify(of.event, null, 2);
  const resend = async () => {
    setBusy(true);
    setProblem(null);
    try {
      await api(`/v1/webhook_deliveries/${of.id}/resend`, { method: "POST" });
      reload();
      toast(t("webhooks.resent"));
    } catch (error) {
      setProblem(error);
    }
    setBusy(false);
  };
  return html`
    <${Dialog} title=${t("webhooks.delivery", { type: of.event.type })} wide=${true} onClose=${onClose}>
      <div class="stack">
        <${Facts} facts=${[
          [t("webhooks.state"), html`<${State} state=${of.state} />`],
          [t("webhooks.to"), html`<span>${name ? `${name} · ` : ""}<span class="mono">${of.url}</span></span>`],
          [t("webhooks.id"), html`<${Id} id=${of.id} />`],
          [t("webhooks.eventid"), html`<${Id} id=${of.event.id} />`],
          [t("webhooks.at"), dateTime(of.created_at)],
          [t("webhooks.attempts"), count(of.attempts)],
          [t("webhooks.status"), of.last_status],
          [t("webhooks.error"), of.last_error],
          [t("webhooks.next"), of.next_attempt_at && dateTime(of.next_attempt_at)],
          [t("webhooks.ended"), of.ended_at && dateTime(of.ended_at)],
        ]} />
        <${Attempts} of=${of} />
        <div><div class="row"><strong class="grow">${t("webhooks.body")}</strong><${CopyButton} text=${body} /></div><pre class="code" tabindex="0">${body}</pre></div>
        <${ProblemBox} problem=${problem} />
      </div>
      <footer><button class="button primary" disabled=${busy} onClick=${resend}>${t("webhooks.resend")}</button></footer>
    </${Dialog}>
  `;
}
