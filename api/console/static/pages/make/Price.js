// What it would cost, as it is typed: of one video, or of many alike.
import { api } from "../../lib/api.js";
import { count, money, number } from "../../lib/numbers.js";
import { clock, duration } from "../../lib/time.js";
import { html, useEffect, useState } from "../../lib/ui.js";
import { t } from "../../lib/words.js";
import { Card, Facts } from "../../parts/Card.js";
import { Loading, sentence } from "../../parts/Problem.js";

const AFTER_MS = 300;

/** What the API says of a video like this, once the typing rests. @param {Record<string, any> | null} body */
export function useQuote(body) {
  const asked = JSON.stringify(body);
  const [found, setFound] = useState(/** @type {{quote: any, problem: any}} */ ({ quote: null, problem: null }));
  useEffect(() => {
    if (body === null) return undefined;
    const stop = new AbortController();
    const timer = setTimeout(async () => {
      try {
        setFound({
          quote: await api("/v1/videos/quote", { method: "POST", body, signal: stop.signal }),
          problem: null,
        });
      } catch (problem) {
        if (!stop.signal.aborted) setFound((before) => ({ ...before, problem }));
      }
    }, AFTER_MS);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [asked]);
  return found;
}

/** @param {{quote: any, problem: any, videos?: number | null}} props `videos`: how many; null is not known yet */
export function Price({ quote, problem, videos = 1 }) {
  const many = videos ?? 1;
  const range = (/** @type {any} */ of, /** @type {(value: number) => string} */ told) =>
    t("make.price.range", { low: told(of.low * many), high: told(of.high * many) });
  return html`
    <${Card} title=${t("make.price")} class="price">
      <div aria-live="polite">
        ${problem && problem.code !== "away" && html`<p class="wrong">${problem.param && html`<code>${problem.param}</code> `}${sentence(problem)}</p>`}
        ${!quote && !problem && html`<${Loading} />`}
        ${
          quote &&
          html`
            <p class="total">${quote.money ? money(quote.money.likely * many, quote.money.currency) : t("campaign.gpu_seconds", { count: number(quote.gpu_seconds.likely * many, many > 1 ? 0 : 1) })}</p>
            <${Facts} facts=${[
              [t("make.price.videos"), videos === 1 ? null : videos === null ? t("make.price.unknown") : count(videos)],
              [
                t("make.price.between"),
                quote.money
                  ? range(quote.money, (value) => money(value, quote.money.currency))
                  : range(quote.gpu_seconds, (value) => number(value, 1)),
              ],
              [t("make.price.gpu"), quote.money && number(quote.gpu_seconds.likely * many, 1)],
              [t("make.price.model"), quote.model],
              [t("make.price.video"), `${quote.size}, ${number(quote.seconds, 2)} s, ${quote.fps} fps`],
              [t("make.price.steps"), quote.steps],
              [t("make.price.render"), many === 1 ? duration(quote.gpu_seconds.likely + quote.finish_seconds) : null],
              [
                t("make.price.ready"),
                many === 1 && quote.forecast?.ends.likely_at ? clock(quote.forecast.ends.likely_at) : null,
              ],
            ]} />
          `
        }
      </div>
    </${Card}>
  `;
}
