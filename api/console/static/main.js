// Begins the console: language, session, then the shell around the page that the path names.
import { goAway } from "./lib/api.js";
import { readSession, session } from "./lib/session.js";
import { html, render } from "./lib/ui.js";
import { readLanguage } from "./lib/words.js";
import { Shell } from "./shell/Shell.js";

await readLanguage();
render(html`<${Shell} />`, /** @type {HTMLElement} */ (document.getElementById("console")));
await readSession().catch(goAway);

// Who comes back to this tab may have signed in as somebody else in another.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && session.value) readSession().catch(() => {});
});
