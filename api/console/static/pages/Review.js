// The review desk: a contact sheet, the chosen video beside it, and keys for all that is said of it; several at once.
import { api, urlOf } from "../lib/api.js";
import { pageUrl } from "../lib/base.js";
import { useGet } from "../lib/data.js";
import { useShortcuts } from "../lib/keys.js";
import { count } from "../lib/numbers.js";
import { query, setQuery, step } from "../lib/route.js";
import { may } from "../lib/session.js";
import { html, useEffect, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Page } from "../parts/Card.js";
import { Confirm } from "../parts/Dialog.js";
import { Empty } from "../parts/Empty.js";
import { Filters, filterValues } from "../parts/Filters.js";
import { Icon } from "../parts/Icon.js";
import { Menu } from "../parts/Menu.js";
import { Loading, ProblemBox } from "../parts/Problem.js";
import { Shares } from "../parts/Progress.js";
import { toast } from "../parts/Toast.js";
import { Choose } from "./review/Choose.js";
import { openDesk } from "./review/desk.js";
import { Preview } from "./review/Preview.js";
import { Reject } from "./review/Reject.js";
import { Sheet } from "./review/Sheet.js";

export function Review() {
  const asked = query.value.get("campaign");
  if (!asked) return html`<${Page} title=${t("review.title")} lead=${t("review.lead")}><${Choose} /></${Page}>`;
  const id = step(asked);
  const mode = query.value.get("show") ?? "queue";
  return html`<${Desk} key=${`${id} ${mode} ${JSON.stringify(filterValues(filters()))}`} id=${id} queue=${mode === "queue" && may("campaigns")} />`;
}

/** @returns {import("../parts/Filters.js").Filter[]} */
const filters = () => [
  {
    name: "decision",
    label: t("review.decision"),
    options: [
      ["undecided", t("review.undecided")],
      ["approve", t("review.is.approve")],
      ["reject", t("review.is.reject")],
    ],
  },
  {
    name: "rating",
    label: t("review.rating"),
    options: [1, 2, 3, 4, 5].map((n) => /** @type {[string, string]} */ ([String(n), "★".repeat(n)])),
  },
  { name: "flagged", label: t("review.flagged"), options: [["true", t("review.flagged.only")]] },
  { name: "promoted", label: t("review.promoted"), options: [["true", t("review.promoted.only")]] },
];

function Desk(/** @type {{id: string, queue: boolean}} */ { id, queue }) {
  const campaign = useGet(`/v1/campaigns/${id}`, {}, { everyMs: 15_000 });
  const [desk] = useState(() => openDesk(id, { queue, filters: filterValues(filters()) }));
  const [asked, setAsked] = useState("");
  useEffect(() => desk.close, [desk]);
  const video = desk.current.value;
  const { loaded, hasMore, problem } = desk.state.value;
  const say = (/** @type {Record<string, any>} */ words) => video && desk.say(video, words);
  const approve = () => {
    say({ decision: "approve", reason: null, action: null });
    desk.move(1);
  };
  const reject = () => video && setAsked("reject");
  const rejected = (/** @type {any} */ words) => {
    say({ decision: "reject", ...words });
    desk.move(1);
  };
  useShortcuts(
    [
      { keys: "j", words: "review.key.next", act: () => desk.move(1) },
      { keys: "k", words: "review.key.previous", act: () => desk.move(-1) },
      ...(may("campaigns")
        ? [
            ...[1, 2, 3, 4, 5].map((n) => ({
              keys: String(n),
              words: `review.key.${n}`,
              act: () => say({ rating: n }),
            })),
            { keys: "a", words: "review.key.approve", act: approve },
            { keys: "r", words: "review.key.reject", act: reject },
            { keys: "u", words: "review.key.undo", act: () => void desk.undo() },
          ]
        : []),
    ],
    [desk, video?.id],
  );
  const name = campaign.data?.name || id.slice(-8);
  const over = loaded && desk.videos.value.every((each) => each.review.decision);
  const again = html`<button class="button" onClick=${desk.again}><${Icon} name="again" />${t("review.again")}</button>`;
  const crumb = html`<a href=${pageUrl("/review")}>${t("review.title")}</a>`;
  return html`
    <${Page} title=${name} crumb=${crumb} actions=${html`<${Actions} id=${id} counts=${desk.counts.value} ask=${setAsked} />`}>
      <div class="review">
        <${Counts} counts=${desk.counts.value} />
        <${Bar} queue=${queue} />
        <${ProblemBox} problem=${problem ?? campaign.problem} again=${problem ? desk.more : campaign.reload} />
        ${!loaded && !problem && html`<${Loading} />`}
        ${
          loaded &&
          (desk.videos.value.length
            ? html`<div class="desk"><${Sheet} desk=${desk} /><${Preview} video=${video} say=${say} reject=${reject} /></div>`
            : html`<div class="card"><${Empty} icon="check" title=${t(queue ? "review.all_done" : "review.none")} action=${queue && again}><p>${t(queue ? "review.all_done.what" : "review.none.what")}</p></${Empty}></div>`)
        }
        ${queue && over && desk.videos.value.length > 0 && html`<div class="row after">${again}</div>`}
        ${!queue && hasMore && loaded && html`<p class="faint small">${t("review.more")}</p>`}
      </div>
      ${asked === "reject" && video && html`<${Reject} video=${video} onClose=${() => setAsked("")} onReject=${rejected} />`}
      ${asked === "apply" && html`<${Apply} id=${id} desk=${desk} close=${() => setAsked("")} />`}
      ${asked === "promote" && html`<${Promote} id=${id} counts=${desk.counts.value} close=${() => setAsked("")} />`}
    </${Page}>
  `;
}

/** @param {{queue: boolean}} props */
function Bar({ queue }) {
  const show = (/** @type {string | null} */ mode) =>
    setQuery({ show: mode, decision: null, rating: null, flagged: null, promoted: null });
  return html`
    <div class="bar">
      <div class="row tight" role="group" aria-label=${t("review.show")}>
        <button class="button small" aria-pressed=${queue} onClick=${() => show(null)}>${t("review.queue")}</button>
        <button class="button small" aria-pressed=${!queue} onClick=${() => show("all")}>${t("review.all")}</button>
      </div>
      ${queue ? html`<span class="faint small">${t("review.hint")}</span>` : html`<${Filters} filters=${filters()} />`}
    </div>
  `;
}

function Counts(/** @type {{counts: any}} */ { counts }) {
  if (!counts) return null;
  const told = ["undecided", "approved", "rejected"].map(
    (name) => html`<span><strong>${count(counts[name])}</strong> ${t(`review.count.${name}`)}</span>`,
  );
  return html`
    <div class="counts">
      <${Shares} label=${t("review.progress")} total=${counts.videos} shares=${[
        { name: t("review.count.approved"), value: counts.approved, tone: "green" },
        { name: t("review.count.rejected"), value: counts.rejected, tone: "red" },
      ]} />
      <div class="row muted small">${told}${counts.held > 0 && html`<span>${t("review.held", { count: count(counts.held) })}</span>`}</div>
    </div>
  `;
}

/** @param {{id: string, counts: any, ask: (what: string) => void}} props */
function Actions({ id, counts, ask }) {
  const save = (/** @type {string} */ format) => () => {
    const link = document.createElement("a");
    link.href = urlOf(`/v1/campaigns/${id}/reviews/export`, { format });
    link.download = "";
    link.click();
  };
  const items = ["csv", "jsonl"].map((format) => ({
    title: t(`review.export.${format}`),
    icon: "download",
    act: save(format),
  }));
  return html`
    ${may("campaigns") && counts?.rejected > 0 && html`<button class="button primary" onClick=${() => ask("apply")}>${t("review.apply", { count: count(counts.rejected) })}</button>`}
    ${may("campaigns") && counts?.approved > 0 && html`<button class="button" onClick=${() => ask("promote")}>${t("review.promote")}</button>`}
    <a class="button" href=${pageUrl(`/campaigns/${id}`)}>${t("review.campaign")}</a>
    <${Menu} label=${t("review.export")} icon="download" items=${items} />
  `;
}

/** @param {{id: string, desk: ReturnType<typeof openDesk>, close: () => void}} props */
function Apply({ id, desk, close }) {
  const counts = desk.counts.value;
  const apply = async () => {
    const done = await api(`/v1/campaigns/${id}/reviews/apply`, { method: "POST" });
    toast(t("review.applied", { again: count(done.new_seed), drop: count(done.drop) }));
    desk.videos.value = desk.videos.value.filter((video) => video.review.decision !== "reject");
    desk.move(0);
    desk.count();
  };
  return html`<${Confirm} title=${t("review.apply", { count: count(counts.rejected) })} action=${t("review.apply.do")} danger=${true} onClose=${close} onConfirm=${apply}>
    ${t("review.apply.what", { again: count(counts.new_seed), drop: count(counts.drop) })}
  </${Confirm}>`;
}

const MOST_NAMED = 9_000;

/** @param {{id: string, counts: any, close: () => void}} props */
function Promote({ id, counts, close }) {
  const promote = async () => {
    const rows = [];
    let more = true;
    for (let after = null; more && rows.length <= MOST_NAMED; ) {
      const page = await api(`/v1/campaigns/${id}/reviews`, { query: { decision: "approve", limit: 100, after } });
      rows.push(
        ...page.data
          .filter((/** @type {any} */ video) => !video.draft_id)
          .map((/** @type {any} */ video) => video.custom_id),
      );
      after = page.last_id;
      more = page.has_more;
    }
    const left = more || rows.length > MOST_NAMED;
    rows.length = Math.min(rows.length, MOST_NAMED);
    if (!rows.length) return toast(t("review.promote.nothing"));
    await api(`/v1/campaigns/${id}/promote`, { method: "POST", body: { rows } });
    toast(t(left ? "review.promote.some" : "review.promote.done", { count: count(rows.length) }));
  };
  return html`<${Confirm} title=${t("review.promote.ask", { count: count(counts.approved) })} action=${t("review.promote")} onClose=${close} onConfirm=${promote}>${t("review.promote.what")}</${Confirm}>`;
}
