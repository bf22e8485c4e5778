// The server: plain JSON over HTTP, errors in words, and one stream of changes.

/** A refusal or a failure, in the server's words. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status 0: no answer came */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** @typedef {Record<string, string | number | null | undefined | (string | number)[]>} Query */

/** @param {string} path @param {Query} [query] */
export function address(path, query = {}) {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const entry of Array.isArray(value) ? value : [value]) {
      if (entry !== null && entry !== undefined && entry !== "") words.append(name, String(entry));
    }
  }
  const text = words.toString();
  return text ? `${path}?${text}` : path;
}

/**
 * @param {string} path
 * @param {Query} [query]
 * @returns {Promise<any>}
 */
export function get(path, query) {
  return ask("GET", address(path, query));
}

/** @param {string} path @param {object} [body] @returns {Promise<any>} */
export function post(path, body) {
  return ask("POST", path, body);
}

/** @param {string} path @returns {Promise<any>} */
export function remove(path) {
  return ask("DELETE", path);
}

/** @param {string} method @param {string} path @param {object} [body] */
async function ask(method, path, body) {
  /** @type {RequestInit} */
  const options = { method, credentials: "same-origin" };
  if (body)
    Object.assign(options, { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
  const response = await fetch(path, options).catch(() => {
    throw new ApiError(
      "The dashboard does not answer. It may have been stopped: see where it was started.",
      0,
    );
  });
  const text = await response.text();
  const answer = text && response.headers.get("Content-Type")?.includes("json") ? JSON.parse(text) : null;
  if (!response.ok)
    throw new ApiError(
      inWords(answer?.detail) ?? `The dashboard answered ${response.status}.`,
      response.status,
    );
  return answer;
}

/** FastAPI's own refusals are lists of {loc, msg}. @param {unknown} detail */
function inWords(detail) {
  if (typeof detail === "string") return detail;
  if (!Array.isArray(detail)) return null;
  return detail.map((entry) => `${entry.loc?.at(-1) ?? "request"}: ${entry.msg}`).join("; ");
}

/**
 * Tells of changes until the function it returns is called. A lost connection is opened again.
 *
 * @param {{run?: number, changed: (change: import("./types.js").Change) => void, opened: () => void, lost: () => void}} ears
 *   `opened` is called each time the connection stands: what changed before may have been missed.
 */
export function listen({ run, changed, opened, lost }) {
  /** @type {EventSource | null} */
  let source = null;
  let timer = 0;
  const open = () => {
    source = new EventSource(address("/api/stream", { run }));
    source.onopen = opened;
    source.addEventListener("changed", (event) => changed(JSON.parse(event.data)));
    source.onerror = () => {
      lost();
      // A refused stream is not tried again by the browser, a broken one is.
      if (source?.readyState === EventSource.CLOSED) timer = window.setTimeout(open, 3000);
    };
  };
  open();
  return () => {
    window.clearTimeout(timer);
    source?.close();
  };
}
