// A place where nothing is yet, which says what will be here and how to make the first one.
import { html } from "../lib/ui.js";
import { Icon } from "./Icon.js";

/** @param {{icon?: string, title: string, children?: any, action?: any}} props `children`: what it is for and how to begin */
export const Empty = ({ icon = "info", title, children, action }) => html`
  <div class="empty">
    <${Icon} name=${icon} />
    <h2>${title}</h2>
    ${children && html`<div class="stack">${children}</div>`} ${action}
  </div>
`;
