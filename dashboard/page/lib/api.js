// The server's API: JSON over HTTP, errors as sentences, and a stream of changes.

/** A failed request. Its message is a sentence for the user. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status 0 if there was no response */
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
  return send("GET", address(path, query));
}

/** @param {string} path @param {object} [body] @returns {Promise<any>} */
export function post(path, body) {
  return send("POST", path, body);
}

/** @param {string} path @returns {Promise<any>} */
export function remove(path) {
  return send("DELETE", path);
}

/** @param {string} method @param {string} path @param {object} [body] */
async function send(method, path, body) {
  /** @type {RequestInit} */
  const options = { method, credentials: "same-origin" };
  if (body)
    Object.assign(options, { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
  const response = await fetch(path, options).catch(() => {
    throw new ApiError(
      "The dashboard does not respond. It may have been stopped; look at the terminal or pod that runs it.",
      0,
    );
  });
  const text = await response.text();
  const content = text && response.headers.get("Content-Type")?.includes("json") ? JSON.parse(text) : null;
  if (!response.ok)
    throw new ApiError(
      inWords(content?.detail) ?? `The dashboard responded with status ${response.status}.`,
      response.status,
    );
  return content;
}

/** Return an error as a sentence. FastAPI's own errors are lists of {loc, msg}. @param {unknown} detail */
function inWords(detail) {
  if (typeof detail === "string") return detail;
  if (!Array.isArray(detail)) return null;
  return detail.map((entry) => `${entry.loc?.at(-1) ?? "request"}: ${entry.msg}`).join("; ");
}

const RECONNECT_MS = 3000;
export const POLL_MS = 15_000;

/**
 * Call `changed` for each change, until the returned function is called. A lost connection is reopened.
 *
 * @param {object} handlers
 * @param {number} [handlers.run]
 * @param {(change: import("./types.js").Change) => void} handlers.changed
 * @param {() => void} handlers.opened called each time the connection opens; changes before that may have been missed
 * @param {() => void} handlers.connectionLost
 * @param {() => void} handlers.sessionExpired
 * @param {(words: string) => void} handlers.refused called with the server's reason; the next attempt is after POLL_MS
 */
export function listen({ run, changed, opened, connectionLost, sessionExpired, refused }) {
  const path = address("/api/stream", { run });
  /** @type {EventSource | null} */
  let source = null;
  let [timer, over] = [0, false];
  const open = () => {
    source = new EventSource(path);
    source.onopen = opened;
    source.addEventListener("changed", (event) => changed(JSON.parse(event.data)));
    source.onerror = async () => {
      // The browser reopens a broken stream, but not a refused one, and it hides the server's reason.
      if (source?.readyState !== EventSource.CLOSED) return connectionLost();
      const error = await refusal(path);
      if (over || error?.status === 404) return; // the run does not exist; the view says so
      if (error?.status === 401) sessionExpired();
      else if (error?.status === 503) refused(error.message);
      else connectionLost();
      timer = window.setTimeout(open, error?.status === 503 ? POLL_MS : RECONNECT_MS);
    };
  };
  open();
  return () => {
    over = true;
    window.clearTimeout(timer);
    source?.close();
  };
}

/** Return why the server refuses the stream, or null if it accepts it now. @param {string} path @returns {Promise<ApiError | null>} */
async function refusal(path) {
  const stop = new AbortController();
  try {
    const response = await fetch(path, { credentials: "same-origin", signal: stop.signal });
    if (response.ok) return null;
    return new ApiError(inWords((await response.json()).detail) ?? "", response.status);
  } catch {
    return new ApiError("", 0);
  } finally {
    stop.abort();
  }
}
