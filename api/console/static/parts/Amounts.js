// Amounts and moments in a line of text: durations, how long ago, money, bytes.
import { money as moneyText } from "../lib/numbers.js";
import { ago, dateTime, duration, now } from "../lib/time.js";
import { html } from "../lib/ui.js";

/** @param {{seconds: number | null | undefined}} props */
export const Duration = ({ seconds }) => html`<span class="number nowrap">${duration(seconds)}</span>`;

/** How long ago, or in how long; the whole moment when pointed at. @param {{at: any}} props */
export const TimeAgo = ({ at }) => html`<time class="nowrap" title=${dateTime(at)}>${ago(at, now.value)}</time>`;

/** @param {{at: any}} props */
export const DateTime = ({ at }) => html`<time class="number nowrap">${dateTime(at)}</time>`;

/** @param {{amount: number | null | undefined, currency?: string}} props */
export const Money = ({ amount, currency }) => html`<span class="number nowrap">${moneyText(amount, currency)}</span>`;
