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
import { Progress, Shares } from "../parts/Progress.js";
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
  // As it was asked for: what is carried out meanwhile is counted no more.
  const [counts] = useState(() => desk.counts.value);
  const [done, setDone] = useState(0);
  // Some thousand are carried out at once. Where this ends early, the rest waits and is carried out the next time.
  const apply = async () => {
    const all = { again: 0, drop: 0 };
    for (let more = true; more; ) {
      const part = await api(`/v1/campaigns/${id}/reviews/apply`, { method: "POST" });
      all.again += part.new_seed;
      all.drop += part.drop;
      setDone(all.again + all.drop);
      more = part.new_seed + part.drop > 0 && all.again + all.drop < counts.rejected;
    }
    toast(t("review.applied", { again: count(all.again), drop: count(all.drop) }));
    desk.videos.value = desk.videos.value.filter((video) => video.review.decision !== "reject");
    desk.move(0);
    desk.count();
  };
  return html`<${Confirm} title=${t("review.apply", { count: count(counts.rejected) })} action=${t("review.apply.do")} danger=${true} onClose=${close} onConfirm=${apply}>
    ${t("review.apply.what", { again: count(counts.new_seed), drop: count(counts.drop) })}
    ${done > 0 && html`<${Progress} value=${done / counts.rejected} label=${t("review.applying")} text="${count(done)}/${count(counts.rejected)}" />`}
  </${Confirm}>`;
}

/** @param {{id: string, counts: any, close: () => void}} props */
function Promote({ id, counts, close }) {
  const promote = async () => {
    const { rows } = await api(`/v1/campaigns/${id}/reviews/promote`, { method: "POST" });
    toast(rows ? t("review.promote.done", { count: count(rows) }) : t("review.promote.nothing"));
  };
  return html`<${Confirm} title=${t("review.promote.ask", { count: count(counts.approved) })} action=${t("review.promote")} onClose=${close} onConfirm=${promote}>${t("review.promote.what")}</${Confirm}>`;
}
