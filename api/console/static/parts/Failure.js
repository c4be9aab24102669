// Why something failed, in words where there are some: the API may have codes that are newer than this page.
import { html } from "../lib/ui.js";
import { has, t } from "../lib/words.js";

/** @param {string} code */
export const failureWord = (code) => (has(`job.failure.${code}`) ? t(`job.failure.${code}`) : code);

/** The words, with the code behind them for whoever looks for it. @param {{code: string}} props */
export const Failure = ({ code }) =>
  has(`job.failure.${code}`)
    ? html`${failureWord(code)} <code class="muted small">${code}</code>`
    : html`<code>${code}</code>`;
