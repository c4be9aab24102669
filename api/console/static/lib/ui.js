// What every component is made of: Preact, its hooks, signals, and htm bound to it.

import htm from "../vendor/htm.js";
import { h } from "../vendor/preact.js";

export {
  useCallback,
  useContext,
  useEffect,
  useErrorBoundary,
  useId,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "../vendor/hooks.js";
export { Component, createContext, Fragment, h, render } from "../vendor/preact.js";
export {
  batch,
  computed,
  effect,
  signal,
  untracked,
  useComputed,
  useSignal,
  useSignalEffect,
} from "../vendor/signals.js";

/** Markup as a tagged template: html`<p class="x">${text}</p>`. Text is text: it never becomes markup. */
export const html = htm.bind(h);

/** Class names out of those that are set. @param {...(string | false | null | undefined)} names */
export const classes = (...names) => names.filter(Boolean).join(" ");
