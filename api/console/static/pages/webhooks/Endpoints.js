// The tenant's endpoints: made, changed, tested, disabled; their secrets rotated.
import { api } from "../../lib/api.js";
import { useGet, useList } from "../../lib/data.js";
import { setQuery } from "../../lib/route.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { TimeAgo } from "../../parts/Amounts.js";
import { ConfirmByName, Dialog } from "../../parts/Dialog.js";
import { Empty } from "../../parts/Empty.js";
import { CheckField, Form, TextField } from "../../parts/Field.js";
import { Icon } from "../../parts/Icon.js";
import { Menu } from "../../parts/Menu.js";
import { Once } from "../../parts/Once.js";
import { State } from "../../parts/State.js";
import { Table } from "../../parts/Table.js";
import { toast, toastProblem } from "../../parts/Toast.js";
import { Rotate } from "./Secret.js";
import { Test } from "./Test.js";

const ROOT = "/v1/webhook_endpoints";

export function Endpoints() {
  const list = useList(ROOT);
  const types = useGet("/v1/webhook_event_types");
  const [shown, setShown] = useState(/** @type {any} */ (null));
  const close = () => setShown(null);
  const done = (/** @type {any} */ whole) => {
    list.reload();
    setShown(whole?.signing_secret ? { once: whole } : null);
  };
  const send = async (/** @type {string} */ path, /** @type {any} */ body, /** @type {string} */ words) => {
    try {
      await api(path, { method: "POST", body });
      list.reload();
      toast(words);
    } catch (problem) {
      toastProblem(problem);
    }
  };
  const actions = (/** @type {any} */ each) => [
    { title: t("webhooks.test"), icon: "play", act: () => setShown({ test: each }) },
    { title: t("webhooks.change"), icon: "note", act: () => setShown({ edit: each }) },
    { title: t("webhooks.rotate"), icon: "key", act: () => setShown({ rotate: each }) },
    {
      title: t("webhooks.itsdeliveries"),
      icon: "jobs",
      act: () => setQuery({ tab: "deliveries", endpoint: each.id }, { replace: false }),
    },
    each.disabled_at
      ? { title: t("webhooks.enable"), icon: "check", act: () => send(`${ROOT}/${each.id}`, {}, t("webhooks.enabled")) }
      : {
          title: t("webhooks.disable"),
          icon: "pause",
          act: () => send(`${ROOT}/${each.id}/disable`, undefined, t("webhooks.disabled")),
        },
    { title: t("webhooks.delete"), icon: "trash", act: () => setShown({ drop: each }) },
  ];
  const columns = [
    {
      name: "name",
      title: t("webhooks.name"),
      cell: (/** @type {any} */ each) => html`<span class="clip">${each.name}</span>`,
    },
    {
      name: "url",
      title: t("webhooks.url"),
      wide: true,
      cell: (/** @type {any} */ each) => html`<span class="mono clip" title=${each.url}>${each.url}</span>`,
    },
    {
      name: "state",
      title: t("webhooks.state"),
      cell: (/** @type {any} */ each) =>
        each.disabled_at
          ? html`<span class="row tight nowrap"><${State} state="disabled" /><span class="muted small"><${TimeAgo} at=${each.disabled_at} /></span></span>`
          : html`<${State} state="enabled" />`,
    },
    {
      name: "events",
      title: t("webhooks.events"),
      wide: true,
      cell: (/** @type {any} */ each) =>
        html`<span class="clip" title=${each.event_types.join(", ")}>${each.event_types.join(", ")}</span>`,
    },
    {
      name: "hint",
      title: t("webhooks.hint"),
      cell: (/** @type {any} */ each) => html`<span class="mono muted">${each.signing_secret_hint}</span>`,
    },
    {
      name: "do",
      title: html`<span class="unseen">${t("webhooks.actions")}</span>`,
      end: true,
      cell: (/** @type {any} */ each) =>
        html`<${Menu} label=${t("webhooks.actions.of", { name: each.name })} items=${actions(each)} />`,
    },
  ];
  const drop = (/** @type {any} */ each) => api(`${ROOT}/${each.id}`, { method: "DELETE" }).then(done);
  return html`
    <div class="stack">
      <div class="row"><button class="button primary" onClick=${() => setShown({ edit: {} })}><${Icon} name="plus" />${t("webhooks.new")}</button></div>
      <${Table} label=${t("webhooks.endpoints")} ...${list} columns=${columns} open=${(/** @type {any} */ each) => setShown({ edit: each })}
        empty=${html`<${Empty} icon="webhooks" title=${t("webhooks.none")}>${t("webhooks.none.hint")}</${Empty}>`} />
      ${shown?.edit && html`<${Edit} of=${shown.edit} types=${types.data?.data ?? []} onDone=${done} onClose=${close} />`}
      ${shown?.test && html`<${Test} of=${shown.test} onClose=${close} />`}
      ${shown?.rotate && html`<${Rotate} path=${`${ROOT}/${shown.rotate.id}/rotate_secret`} name=${shown.rotate.name} onDone=${done} onClose=${close} />`}
      ${shown?.drop && html`<${ConfirmByName} title=${t("webhooks.delete.title")} action=${t("webhooks.delete")} name=${shown.drop.name} onClose=${close} onConfirm=${() => drop(shown.drop)}>${t("webhooks.delete.hint")}</${ConfirmByName}>`}
      ${shown?.once && html`<${Once} title=${t("webhooks.once")} secret=${shown.once.signing_secret} onClose=${close}>${t("webhooks.once.hint")}</${Once}>`}
    </div>
  `;
}

function Edit(
  /** @type {{of: any, types: string[], onDone: (whole: any) => void, onClose: () => void}} */ {
    of,
    types,
    onDone,
    onClose,
  },
) {
  const [name, setName] = useState(of.name ?? "");
  const [url, setUrl] = useState(of.url ?? "https://");
  const [events, setEvents] = useState(/** @type {string[]} */ (of.event_types ?? ["video.completed", "video.failed"]));
  const tick = (/** @type {string} */ type) => (/** @type {boolean} */ on) =>
    setEvents((before) => (on ? [...before, type] : before.filter((each) => each !== type)));
  const save = async () => {
    const body = { name: name.trim(), url: url.trim(), event_types: events };
    const made = await api(of.id ? `${ROOT}/${of.id}` : ROOT, { method: "POST", body });
    if (of.id) toast(t("webhooks.saved"));
    onDone(made);
  };
  return html`
    <${Dialog} title=${of.id ? t("webhooks.change") : t("webhooks.new")} onClose=${onClose}>
      <${Form} onSubmit=${save} action=${of.id ? t("save") : t("webhooks.make")} fields=${["name", "url", "event_types"]} onCancel=${onClose}>
        ${(/** @type {(field: string) => string | null} */ wrong) => html`
          ${of.disabled_at && html`<p class="muted">${t("webhooks.enables")}</p>`}
          <${TextField} label=${t("webhooks.name")} value=${name} onInput=${setName} hint=${t("webhooks.name.hint")} autofocus=${true} wrong=${wrong("name")} />
          <${TextField} label=${t("webhooks.url")} type="url" value=${url} onInput=${setUrl} hint=${t("webhooks.url.hint")} spellcheck=${false} wrong=${wrong("url")} />
          <fieldset class="field plain">
            <legend class="label">${t("webhooks.events")}</legend>
            <div class="ticks">${types.map((type) => html`<${CheckField} label=${html`<span class="mono small">${type}</span>`} checked=${events.includes(type)} onInput=${tick(type)} />`)}</div>
            ${wrong("event_types") && html`<div class="wrong">${wrong("event_types")}</div>`}
          </fieldset>
        `}
      </${Form}>
    </${Dialog}>
  `;
}
