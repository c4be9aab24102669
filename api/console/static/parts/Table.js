// Rows by keyset: only those in sight are in the page, j and k move, Enter opens, more come as one scrolls.
// On a phone each row is a card of labelled values (`.table.cards` in style/parts.css) and still a row for who listens.

import { typing } from "../lib/keys.js";
import { count } from "../lib/numbers.js";
import { classes, html, signal, useEffect, useLayoutEffect, useRef, useState } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Loading, ProblemBox } from "./Problem.js";

const ROW_PX = 38;
const BEYOND = 8;
/** Fewer rows are all drawn: that lets the page itself scroll, and the browser find in it. */
const ALL_DRAWN = 60;
/** Cards are as high as what is in them: all are there, and the browser draws those in sight. */
const PHONE = matchMedia("(width < 600px)");
const MORE_AHEAD = "600px";

const narrow = signal(PHONE.matches);
PHONE.addEventListener("change", () => (narrow.value = PHONE.matches));

/**
 * @template T
 * @typedef {{name: string, title: any, cell: (row: T) => any, end?: boolean, wide?: boolean, width?: string}} Column
 *   `end`: at the right, for numbers; `wide`: on a phone it has the card's whole width
 */

/**
 * @template T
 * @param {{label: string, columns: Column<T>[], rows: T[], id?: (row: T) => string, open?: (row: T) => void,
 *   hasMore?: boolean, more?: () => void, loading?: boolean, loaded?: boolean, problem?: any, empty?: any, reload?: () => void,
 *   total?: number, keys?: Record<string, (row: T) => void>}} props
 *   `keys`: what else a key does to the chosen row; the others are as `useList` gives them
 */
export function Table({
  label,
  columns,
  rows,
  id = idOf,
  open,
  hasMore,
  more,
  loading,
  loaded = true,
  problem,
  empty,
  reload,
  keys = {},
}) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [chosen, setChosen] = useState(-1);
  const cards = narrow.value;
  const seen = useSeen(box, rows.length, cards);
  const end = useRef(/** @type {HTMLDivElement | null} */ (null));
  useEffect(() => {
    if (!hasMore || loading || problem) return undefined;
    if (cards) return whenNear(end.current, () => more?.());
    if (seen.to >= rows.length - BEYOND) more?.();
    return undefined;
  }, [hasMore, seen.to, rows.length, loading, cards]);
  useEffect(() => setChosen((at) => Math.min(at, rows.length - 1)), [rows.length]);

  // Keys may come faster than the page is drawn.
  const current = useRef(chosen);
  current.current = chosen;
  const choose = (/** @type {number} */ to) => {
    const next = Math.max(0, Math.min(to, rows.length - 1));
    current.current = next;
    setChosen(next);
    reveal(box.current, next);
  };
  const press = (/** @type {KeyboardEvent} */ event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || typing(event) || document.querySelector("dialog[open]"))
      return;
    const steps = {
      j: 1,
      ArrowDown: 1,
      k: -1,
      ArrowUp: -1,
      PageDown: 15,
      PageUp: -15,
      Home: -rows.length,
      End: rows.length,
    };
    const row = rows[current.current];
    const step = /** @type {Record<string, number>} */ (steps)[event.key];
    // Arrows scroll the page unless the table has the focus; j and k are everywhere that of one whose rows do something.
    const acts = open || Object.keys(keys).length > 0;
    if (step && ((acts && event.key.length === 1) || box.current?.contains(document.activeElement)))
      choose(current.current + step);
    else if (event.key === "Enter" && row && open && !(/** @type {Element} */ (event.target).closest("a, button")))
      open(row);
    else if (row && keys[event.key]) keys[event.key](row);
    else return;
    event.preventDefault();
  };
  useEffect(() => {
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  });

  if (!loaded) return problem ? html`<${ProblemBox} problem=${problem} again=${reload} />` : html`<${Loading} />`;
  if (!rows.length && !problem)
    return html`<div class="card">${empty ?? html`<div class="empty">${t("table.empty")}</div>`}</div>`;
  const shown = rows.slice(seen.from, seen.to);
  return html`
    <div ref=${box} class=${classes("table", cards && "cards", rows.length > ALL_DRAWN && (cards ? "many" : "tall"))} tabindex="0" role="region" aria-label=${label}>
      <table role="table" aria-rowcount=${hasMore ? -1 : rows.length + 1}>
        <thead role="rowgroup">
          <tr role="row">${columns.map((column, j) => html`<th role="columnheader" aria-colindex=${j + 1} scope="col" class=${column.end ? "end" : ""} style=${{ width: column.width }}>${column.title}</th>`)}</tr>
        </thead>
        <tbody role="rowgroup">
          ${seen.from > 0 && html`<tr class="space" aria-hidden="true"><td colspan=${columns.length} style=${{ height: `${seen.from * ROW_PX}px` }}></td></tr>`}
          ${shown.map((row, i) => {
            const at = seen.from + i;
            const click = (/** @type {MouseEvent} */ event) => {
              if (
                /** @type {Element} */ (event.target).closest("a, button, input, label, select") ||
                getSelection()?.toString()
              )
                return;
              setChosen(at);
              open?.(row);
            };
            return html`
              <tr key=${id(row)} role="row" class=${open ? "pick" : ""} aria-rowindex=${at + 2} aria-selected=${at === chosen ? "true" : undefined} onClick=${click}>
                ${columns.map((column, j) => html`<td role="cell" aria-colindex=${j + 1} class=${classes(column.end && "end", column.wide && "wide")} data-label=${labelOf(column)}>${column.cell(row)}</td>`)}
              </tr>
            `;
          })}
          ${seen.to < rows.length && html`<tr class="space" aria-hidden="true"><td colspan=${columns.length} style=${{ height: `${(rows.length - seen.to) * ROW_PX}px` }}></td></tr>`}
        </tbody>
      </table>
      ${problem && html`<${ProblemBox} problem=${problem} again=${more ?? reload} />`}
      ${hasMore && html`<div ref=${end} class="more"><span>${t("table.shown", { count: count(rows.length) })}</span><button class="button small" disabled=${loading} onClick=${more}>${t("table.more")}</button></div>`}
    </div>
  `;
}

const idOf = (/** @type {any} */ row) => row.id;
/** What a card says before the value; what is no text, as the heading of buttons, is not said there. */
const labelOf = (/** @type {Column<any>} */ { title }) => (typeof title === "string" ? title : undefined);

/** Calls once an element is close to the window. @param {Element | null} element @param {() => void} call */
function whenNear(element, call) {
  const watch = new IntersectionObserver((found) => found.some((each) => each.isIntersecting) && call(), {
    rootMargin: MORE_AHEAD,
  });
  if (element) watch.observe(element);
  return () => watch.disconnect();
}

/** Which rows are in sight, and a few around them. */
function useSeen(
  /** @type {{current: HTMLDivElement | null}} */ box,
  /** @type {number} */ total,
  /** @type {boolean} */ cards,
) {
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(800);
  const all = cards || total <= ALL_DRAWN;
  useLayoutEffect(() => {
    const element = box.current;
    if (!element || all) return undefined;
    const look = () => {
      setTop(Math.floor(element.scrollTop / ROW_PX / BEYOND) * BEYOND);
      setHeight(element.clientHeight || 800);
    };
    look();
    element.addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => {
      element.removeEventListener("scroll", look);
      removeEventListener("resize", look);
    };
  }, [all]);
  if (all) return { from: 0, to: total };
  return { from: Math.max(0, top - BEYOND), to: Math.min(total, top + Math.ceil(height / ROW_PX) + 2 * BEYOND) };
}

/** Scrolls to a row that is not drawn yet, by its place. */
function reveal(/** @type {HTMLDivElement | null} */ box, /** @type {number} */ at) {
  if (!box) return;
  if (!box.classList.contains("tall")) {
    box.querySelectorAll("tbody tr")[at]?.scrollIntoView({ block: "nearest" });
    return;
  }
  const top = at * ROW_PX;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + 3 * ROW_PX > box.scrollTop + box.clientHeight) box.scrollTop = top + 3 * ROW_PX - box.clientHeight;
}
