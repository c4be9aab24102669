// What a page is laid out with: its head, cards, rows of figures, and lists of facts.
import { classes, html, useEffect } from "../lib/ui.js";

/** @param {{title: string, lead?: any, crumb?: any, badge?: any, actions?: any, children?: any}} props `crumb`: a link to where it belongs */
export function Page({ title, lead, crumb, badge, actions, children }) {
  useEffect(() => {
    document.title = `${title} · Cogmill`;
  }, [title]);
  return html`
    <div class="page">
      <header class="page-head">
        <h1>${crumb && html`<span class="crumb">${crumb} / </span>`}${title}</h1>
        ${badge} ${actions && html`<div class="actions">${actions}</div>`} ${lead && html`<p class="lead">${lead}</p>`}
      </header>
      ${children}
    </div>
  `;
}

/** @param {{title?: any, actions?: any, bare?: boolean, children?: any, class?: string}} props `bare`: no room around the body */
export const Card = ({ title, actions, bare = false, children, class: extra }) => html`
  <section class=${classes("card", extra)}>
    ${title && html`<header><h2>${title}</h2>${actions && html`<div class="actions">${actions}</div>`}</header>`}
    ${bare ? children : html`<div class="body">${children}</div>`}
  </section>
`;

/** A row of numbers with their names. @param {{figures: {name: string, value: any, note?: any, href?: string}[]}} props */
export const Figures = ({ figures }) => html`
  <div class="figures">
    ${figures.map(({ name, value, note, href }) => {
      const inside = html`<div class="name">${name}</div><div class="value">${value}</div>${note && html`<div class="note">${note}</div>`}`;
      return href ? html`<a class="figure" href=${href}>${inside}</a>` : html`<div class="figure">${inside}</div>`;
    })}
  </div>
`;

/** Names and values below each other; those without a value are left out. @param {{facts: [string, any][]}} props */
export const Facts = ({ facts }) => html`
  <dl class="facts">
    ${facts.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}
  </dl>
`;
