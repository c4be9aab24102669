// Filters that the tenant's people keep by name: chosen, saved and dropped.
import { api } from "../../lib/api.js";
import { useGet } from "../../lib/data.js";
import { setQuery } from "../../lib/route.js";
import { may } from "../../lib/session.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Dialog } from "../../parts/Dialog.js";
import { Form, TextField } from "../../parts/Field.js";
import { Icon } from "../../parts/Icon.js";
import { Menu } from "../../parts/Menu.js";
import { toast, toastProblem } from "../../parts/Toast.js";
import { asBody, asQuery } from "./filters.js";

const urlOf = (/** @type {string} */ name) => `/v1/job-filters/${encodeURIComponent(name)}`;

/** @param {{filters: Record<string, any>}} props what the list is filtered by now */
export function SavedFilters({ filters }) {
  const kept = useGet("/v1/job-filters");
  const [naming, setNaming] = useState(false);
  const [name, setName] = useState("");
  const all = kept.data?.data ?? [];
  const save = async () => {
    await api(urlOf(name.trim()), { method: "PUT", body: { filter: asBody(filters) } });
    toast(t("jobs.saved.done", { name: name.trim() }));
    setNaming(false);
    setName("");
    kept.reload();
  };
  const drop = async (/** @type {any} */ each) => {
    await api(urlOf(each.id), { method: "DELETE" });
    const again = () => api(urlOf(each.id), { method: "PUT", body: { filter: bodyOf(each.filter) } }).then(kept.reload);
    toast(t("jobs.saved.dropped", { name: each.id }), { undo: again });
    kept.reload();
  };
  const items = [
    ...all.map((/** @type {any} */ each) => ({
      title: each.id,
      icon: "filter",
      act: () => setQuery(asQuery(each.filter), { replace: false }),
    })),
    ...(may("submit") ? [{ title: t("jobs.saved.save"), icon: "save", act: () => setNaming(true) }] : []),
    ...(may("submit")
      ? all.map((/** @type {any} */ each) => ({
          title: t("jobs.saved.drop", { name: each.id }),
          icon: "trash",
          act: () => drop(each).catch(toastProblem),
        }))
      : []),
  ];
  return html`
    ${items.length > 0 && html`<${Menu} label=${t("jobs.saved")} items=${items}><${Icon} name="save" /></${Menu}>`}
    ${
      naming &&
      html`<${Dialog} title=${t("jobs.saved.save")} onClose=${() => setNaming(false)}>
        <${Form} onSubmit=${save} action=${t("save")} fields=${["name"]} onCancel=${() => setNaming(false)}>
          ${(/** @type {(field: string) => string | null} */ wrong) => html`<${TextField} label=${t("jobs.saved.name")} value=${name} onInput=${setName} wrong=${wrong("name")} maxlength="80" required />`}
        </${Form}>
      </${Dialog}>`
    }
  `;
}

/** What a kept filter says, as it was sent. @param {any} shown */
const bodyOf = (shown) => Object.fromEntries(Object.entries(shown).filter(([, value]) => value !== null));
