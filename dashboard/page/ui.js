// Small components that several views share.
import { ago, dateTime } from "./lib/format.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./lib/html.js";
import { now, useShared } from "./lib/live.js";

/** @type {Record<import("./lib/types.js").RunState, string>} a shape for each state, because some people cannot tell the colours apart */
const SHAPES = { queued: "○", running: "●", stalled: "▲", failed: "✕", stopped: "■", done: "✓" };
/** @type {import("./lib/types.js").RunState[]} */
export const ENDED = ["stopped", "failed", "done"];
export const STATES = /** @type {import("./lib/types.js").RunState[]} */ (Object.keys(SHAPES));

/** @param {{state: import("./lib/types.js").RunState}} props */
export function State({ state }) {
  return html`<span class="state ${state}"><span class="shape" aria-hidden="true">${SHAPES[state]}</span>${state}</span>`;
}

/** How long ago something happened; a tooltip shows the exact time. @param {{time: number | null}} props */
export function Ago({ time }) {
  const at = useShared(now);
  if (time === null) return "–";
  return html`<time dateTime=${new Date(1000 * time).toISOString()} title=${dateTime(time)}>${ago(at - time)}</time>`;
}

// Preact writes a value of 0 to the element again at every update, even if it has not changed.
const ALMOST_ZERO = 1e-9;

/** @param {{step: number, steps: number, state?: string}} props */
export function Progress({ step, steps, state = "running" }) {
  return html`<span class="steps">
    <progress class=${state} max=${steps || 1} value=${step || ALMOST_ZERO} aria-label="steps done"></progress>
    <span class="num">${step.toLocaleString("en").replaceAll(",", "\u202f")}<span class="soft"> / ${steps.toLocaleString("en").replaceAll(",", "\u202f")}</span></span>
  </span>`;
}

/** Show that there is no data, and what to do about it. @param {{title: string, children?: any}} props */
export function Empty({ title, children }) {
  return html`<div class="empty"><p class="empty-title">${title}</p>${children && html`<p>${children}</p>`}</div>`;
}

/** @param {{error: Error | null, retry?: () => void}} props */
export function Failure({ error, retry }) {
  if (!error) return null;
  return html`<div class="notice bad" role="alert">
    <span>${error.message}</span>${retry && html`<button class="plain" onClick=${retry}>Try again</button>`}
  </div>`;
}

export function Loading() {
  return html`<p class="loading" role="status">Loading…</p>`;
}

/**
 * A choice between a few values, as buttons side by side.
 *
 * @param {{label: string, choices: [string, string][], value: string, choose: (value: string) => void}} props
 *   choices: value, words
 */
export function Choice({ label, choices, value, choose }) {
  return html`<div class="choice" role="group" aria-label=${label}>
    ${choices.map(
      ([name, words]) =>
        html`<button key=${name} aria-pressed=${String(name === value)} onClick=${() => choose(name)}>${words}</button>`,
    )}
  </div>`;
}

/**
 * @param {{label: string, options: [string, string][], value: string, choose: (value: string) => void, hidden?: boolean}} props
 *   hidden: the label is for screen readers only
 */
export function Select({ label, options, value, choose, hidden = false }) {
  return html`<label class="field"><span class=${hidden ? "sr" : ""}>${label}</span>
    <select value=${value} onChange=${(/** @type {any} */ event) => choose(event.target.value)}>
      ${options.map(([name, words]) => html`<option key=${name} value=${name} selected=${name === value}>${words}</option>`)}
    </select>
  </label>`;
}

/** Buttons for the previous and the next page of a list. @param {{page: import("./lib/types.js").Page<any>, go: (offset: number) => void}} props */
export function Pages({ page, go }) {
  const last = Math.min(page.offset + page.items.length, page.total);
  if (page.total <= page.limit && page.offset === 0) return null;
  return html`<nav class="pages" aria-label="Pages">
    <button disabled=${page.offset === 0} onClick=${() => go(Math.max(0, page.offset - page.limit))}>← Newer</button>
    <span class="num">${page.offset + 1}–${last} of ${page.total}</span>
    <button disabled=${last >= page.total} onClick=${() => go(page.offset + page.limit)}>Older →</button>
  </nav>`;
}

/** A modal dialog. It uses the browser's own element, so Escape closes it and the focus stays inside. @param {{title: string, close: () => void, children?: any}} props */
export function Dialog({ title, close, children }) {
  const box = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    box.current?.showModal();
    return () => before?.focus();
  }, []);
  return html`<dialog ref=${box} aria-label=${title} onClose=${close}
    onClick=${(/** @type {MouseEvent} */ event) => event.target === box.current && close()}>
    <div class="dialog"><h2>${title}</h2>${children}</div>
  </dialog>`;
}

/** Return whether the element has ever been on the screen. @param {{current: Element | null}} ref */
export function useSeen(ref) {
  const [seen, setSeen] = useState(false);
  useLayoutEffect(() => {
    const watcher = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        setSeen(true);
        watcher.disconnect();
      },
      { rootMargin: "150px" },
    );
    if (ref.current) watcher.observe(ref.current);
    return () => watcher.disconnect();
  }, []);
  return seen;
}

/** Set the title of the browser's tab: `words`, then "VideoSSR". @param {string[]} words */
export function useTitle(...words) {
  const title = [...words, "VideoSSR"].join(" · ");
  useEffect(() => {
    document.title = title;
  }, [title]);
}

/** Save a blob as a file. @param {Blob} content @param {string} name */
export function download(content, name) {
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(content);
  anchor.download = name;
  anchor.click();
  window.setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
}
