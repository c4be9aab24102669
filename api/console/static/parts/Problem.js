// What went wrong, in words, with the request id to quote; and what to do about it.
import { html } from "../lib/ui.js";
import { has, t } from "../lib/words.js";
import { CopyButton } from "./Copy.js";
import { Icon } from "./Icon.js";

/** A problem as one sentence. @param {any} problem */
export function sentence(problem) {
  if (has(`problem.${problem.code}`)) return t(`problem.${problem.code}`);
  return problem.message || String(problem);
}

/** @param {{problem: any, again?: () => void}} props `again`: what to try once more */
export function ProblemBox({ problem, again }) {
  if (!problem) return null;
  return html`
    <div class="problem" role="alert">
      <${Icon} name="alert" />
      <div class="stack grow">
        <div>
          <strong>${sentence(problem)}</strong>
          ${has(`problem.${problem.code}`) && problem.message && html`<div class="muted small">${problem.message}</div>`}
          ${
            problem.requestId &&
            html`<div class="id">${t("problem.request")} <code>${problem.requestId}</code> <${CopyButton} text=${problem.requestId} /></div>`
          }
        </div>
        ${again && html`<div><button class="button small" onClick=${again}>${t("again")}</button></div>`}
      </div>
    </div>
  `;
}

/** @param {{what?: string}} props */
export const Loading = ({ what }) => html`
  <div class="loading" role="status"><span class="spinner"></span>${what ?? t("loading")}</div>
`;

/**
 * What a read gave: the problem, a spinner, or what `children` makes of the data.
 * @param {{of: {data: any, problem: any, loading: boolean, reload: () => void}, children: (data: any) => any}} props
 */
export function Loaded({ of, children }) {
  if (of.data === undefined)
    return of.problem ? html`<${ProblemBox} problem=${of.problem} again=${of.reload} />` : html`<${Loading} />`;
  return html`${of.problem && html`<${ProblemBox} problem=${of.problem} again=${of.reload} />`}${children(of.data)}`;
}
