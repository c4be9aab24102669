// A campaign's own budget: what is used, what is spoken for, and the thresholds at which something happens.
import { percent } from "../../lib/numbers.js";
import { html } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Card, Facts } from "../../parts/Card.js";
import { Shares } from "../../parts/Progress.js";
import { State } from "../../parts/State.js";
import { inUnit } from "./Figures.js";

/** @param {{campaign: any, progress: any}} props */
export function BudgetBars({ campaign, progress }) {
  const { budget, approved_gpu_seconds: approved } = progress;
  if (!budget && approved === null) return null;
  return html`
    <${Card} title=${t("campaign.budget")}>
      <div class="stack">
        ${budget && html`<${Budget} budget=${budget} />`}
        ${
          approved !== null &&
          html`<${Facts} facts=${[
            [t("campaign.budget.approved"), inUnit(approved, "gpu_seconds")],
            [t("campaign.budget.used"), inUnit(campaign.spent.gpu_seconds, "gpu_seconds")],
          ]} />`
        }
      </div>
    </${Card}>
  `;
}

function Budget(/** @type {{budget: any}} */ { budget }) {
  const told = (/** @type {number} */ amount) => inUnit(amount, budget.unit, budget.currency);
  return html`
    <div class="budget">
      <div class="row">
        <strong>${t("campaign.budget.of", { used: told(budget.used), amount: told(budget.amount) })}</strong>
        <span class="muted">${percent(budget.amount ? budget.used / budget.amount : 0)}</span>
        ${budget.reserved > 0 && html`<span class="muted">${t("campaign.budget.reserved", { amount: told(budget.reserved) })}</span>`}
      </div>
      <div class="scale">
        <${Shares} label=${t("campaign.budget")} total=${Math.max(budget.amount, budget.used + budget.reserved)} shares=${[
          { name: t("campaign.budget.used"), value: budget.used, tone: budget.used > budget.amount ? "red" : "accent" },
          { name: t("campaign.budget.spoken"), value: budget.reserved, tone: "amber" },
        ]} />
      </div>
      <ul class="thresholds">
        ${budget.thresholds.map(
          (/** @type {any} */ each) => html`
            <li>
              <span class="number">${percent(each.percent / 100)}</span>
              <span>${t(`campaign.budget.do.${each.do}`)}</span>
              <span class="muted">${told(each.at)}</span>
              ${each.taken && html`<${State} state="taken" tone="amber">${t("campaign.budget.taken")}</${State}>`}
            </li>
          `,
        )}
      </ul>
    </div>
  `;
}
