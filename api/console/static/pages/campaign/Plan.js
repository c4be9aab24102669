// What a campaign will render and what that costs, to be looked at and approved; its sample, to be looked at first.
import { api, urlOf } from "../../lib/api.js";
import { pageUrl } from "../../lib/base.js";
import { useData } from "../../lib/data.js";
import { count, money, number } from "../../lib/numbers.js";
import { may } from "../../lib/session.js";
import { duration } from "../../lib/time.js";
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Card, Facts } from "../../parts/Card.js";
import { Loaded, ProblemBox } from "../../parts/Problem.js";
import { State } from "../../parts/State.js";
import { toast } from "../../parts/Toast.js";

/** @param {{campaign: any, reload: () => void}} props */
export function Plan({ campaign, reload }) {
  const read = useData(
    (signal) => api(`/v1/campaigns/${campaign.id}/plan`, { method: "POST", signal }),
    [campaign.id, campaign.version],
  );
  const sampled = useData(
    (signal) => api(`/v1/campaigns/${campaign.id}/reviews`, { query: { limit: 6 }, signal }),
    [campaign.id, campaign.version],
  );
  const [problem, setProblem] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const approve = async (/** @type {any} */ plan) => {
    setBusy(true);
    setProblem(null);
    try {
      await api(`/v1/campaigns/${campaign.id}/approve`, { method: "POST", body: { plan_token: plan.plan_token } });
      toast(t("campaign.approved"));
    } catch (error) {
      setProblem(error);
    }
    setBusy(false);
    reload();
    read.reload();
  };
  return html`
    <${Card} title=${t("campaign.plan")} class="plan">
      <${Loaded} of=${read}>
        ${(/** @type {any} */ plan) => html`
          <div class="stack">
            <p>${t("campaign.plan.what")}</p>
            <${Facts} facts=${facts(plan)} />
            <${Sample} campaign=${campaign} videos=${sampled.data?.data ?? []} />
            <${ProblemBox} problem=${problem} />
            <div class="row">
              <button class="button primary" disabled=${busy || !may("campaigns")} onClick=${() => approve(plan)}>${t("campaign.approve")}</button>
              <a class="button" href=${pageUrl(`/review?campaign=${campaign.id}`)}>${t("campaign.review")}</a>
            </div>
          </div>
        `}
      </${Loaded}>
    </${Card}>
  `;
}

/** @param {any} plan @returns {[string, any][]} */
function facts(plan) {
  const { gpu_seconds: gpu, money: price, hours } = plan;
  const range = (/** @type {any} */ of, /** @type {(value: number) => string} */ told) =>
    t("campaign.plan.range", { likely: told(of.likely), low: told(of.low), high: told(of.high) });
  const holds = plan.deadline_holds;
  return [
    [t("campaign.plan.rows"), count(plan.rows)],
    [t("campaign.plan.bad"), plan.bad_rows ? count(plan.bad_rows) : null],
    [t("campaign.plan.gpu_seconds"), range(gpu, (value) => number(value, 0))],
    [t("campaign.plan.money"), price && range(price, (value) => money(value, price.currency))],
    [
      t("campaign.plan.hours"),
      hours.present === null
        ? t("campaign.plan.no_worker")
        : t("campaign.plan.takes", { time: duration(hours.present * 3600), count: plan.workers.present }),
    ],
    [
      t("campaign.deadline"),
      holds === null
        ? null
        : html`<${State} state="holds" tone=${holds ? "green" : "red"}>${t(holds ? "campaign.plan.holds" : "campaign.plan.late")}</${State}>`,
    ],
    [t("campaign.plan.cap"), t("campaign.plan.cap.what", { count: number(gpu.high, 0) })],
  ];
}

/** @param {{campaign: any, videos: any[]}} props */
const Sample = ({ campaign, videos }) =>
  videos.length > 0 &&
  html`<div class="sample">
    ${videos.map(
      (video) => html`<a href=${pageUrl(`/review?campaign=${campaign.id}`)} title=${video.prompt}>
        <img src=${urlOf(`/v1/videos/${video.id}/content?variant=thumbnail`)} alt=${video.custom_id} loading="lazy" />
      </a>`,
    )}
  </div>`;
