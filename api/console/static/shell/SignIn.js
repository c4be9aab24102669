// Signing in: with a key, or with one of the organisations that the deployment trusts.
import { goAway, isAway, Problem, problemOf } from "../lib/api.js";
import { BASE } from "../lib/base.js";
import { go, path, query } from "../lib/route.js";
import { begin } from "../lib/session.js";
import { html, useEffect, useState } from "../lib/ui.js";
import { has, t } from "../lib/words.js";
import { Form, TextField } from "../parts/Field.js";
import { ProblemBox } from "../parts/Problem.js";
import { Brand } from "./Navigation.js";
import { LanguageMenu, ThemeMenu } from "./Top.js";

/** The place that an issuer's failure leads back to (`api/console/oidc.py`). */
const SIGN_IN = "/sign-in";

export const SignIn = () => html`
  <div class="sign-in">
    <div class="tools"><${ThemeMenu} /><${LanguageMenu} /></div>
    <main class="card stack">
      <${Brand} />
      <div><h1>${t("signin.title")}</h1><p class="muted">${t("signin.lead")}</p></div>
      <${SignInForm} />
    </main>
  </div>
`;

/** To an issuer and back to this page; `target` has the browser itself follow the link. @param {string} issuer */
const away = (issuer) => {
  const here =
    path.value === SIGN_IN ? "/console" : `/console${path.value === "/" ? "" : path.value}${location.search}`;
  return `${BASE}/console/oidc/${encodeURIComponent(issuer)}?next=${encodeURIComponent(here)}`;
};

/** What an issuer's way back has brought to the page for signing in: a problem in the server's word. */
function failed() {
  const code = path.value === SIGN_IN ? query.value.get("error") : null;
  if (!code) return null;
  return {
    code: has(`problem.signin_${code}`) ? `signin_${code}` : "",
    message: has(`problem.signin_${code}`) ? "" : t("signin.failed"),
    requestId: query.value.get("request"),
  };
}

/** The form alone, for the page and for the window over a page whose session has ended. */
export function SignInForm() {
  const [key, setKey] = useState("");
  const [issuers, setIssuers] = useState(/** @type {{name: string, title: string}[]} */ ([]));
  useEffect(() => {
    fetch(`${BASE}/console/about`).then(
      async (answer) => answer.ok && setIssuers((await answer.json()).issuers ?? []),
      goAway,
    );
  }, []);
  const submit = async () => {
    if (!navigator.cookieEnabled) throw new Problem({ status: 0, code: "no_cookies", message: "" });
    const answer = await fetch(`${BASE}/console/session`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ key: key.trim() }),
    }).catch(() => null);
    if (!answer || isAway(answer)) {
      goAway();
      throw new Problem({ status: 0, code: "away", message: "" });
    }
    if (!answer.ok) throw await problemOf(answer);
    setKey("");
    if (path.value === SIGN_IN) go("/", { replace: true });
    begin(await answer.json());
  };
  return html`
    <div class="stack">
      <${ProblemBox} problem=${failed()} />
      <${Form} onSubmit=${submit} action=${t("signin.go")}>
        ${() => html`<${TextField} label=${t("signin.key")} type="password" name="key" autocomplete="current-password" autofocus=${true} placeholder="cgm_…" spellcheck=${false} value=${key} onInput=${setKey} />`}
      </${Form}>
      ${issuers.length > 0 && html`<div class="or">${t("signin.or")}</div>`}
      ${issuers.map((issuer) => html`<a class="button" target="_self" href=${away(issuer.name)}>${t("signin.with", { name: issuer.title })}</a>`)}
    </div>
  `;
}
