// The part of the address after # holds the view and all choices made in it, so every view can be shared as a link.
import { Shared, useShared } from "./live.js";

/** @typedef {{path: string[], query: URLSearchParams}} Route */

/** @returns {Route} */
function read() {
  const [path, query] = window.location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query) };
}

const route = new Shared(read());
window.addEventListener("hashchange", () => route.set(read()));

export function useRoute() {
  return useShared(route);
}

/** @param {(string | number)[]} path @param {Record<string, string | number | string[] | null | undefined>} [query] */
export function link(path, query = {}) {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const entry of Array.isArray(value) ? value : [value]) {
      if (entry !== null && entry !== undefined && entry !== "") words.append(name, String(entry));
    }
  }
  const text = words.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** Go to a link without adding it to the browser's history; for choices within a view. @param {string} to */
export function replace(to) {
  window.history.replaceState(null, "", to);
  route.set(read());
}
