// The log: requests to all runs, and to start runs, newest first.
import { get } from "../lib/api.js";
import { html } from "../lib/html.js";
import { useChanges, useLoaded } from "../lib/live.js";
import { link, replace, useRoute } from "../lib/router.js";
import { Empty, Failure, Loading, Pages, useTitle } from "../ui.js";
import { Requests } from "./requests.js";

const PAGE = 50;

export function Log() {
  useTitle("Log");
  const offset = Number(useRoute().query.get("offset") ?? 0);
  const { data, error, reload } = useLoaded(() => get("/api/requests", { offset, limit: PAGE }), [offset]);
  useChanges(undefined, reload);
  const page = /** @type {import("../lib/types.js").Page<import("../lib/types.js").Request> | undefined} */ (
    data
  );
  return html`<section class="page" aria-labelledby="title">
    <div class="head"><h1 id="title">Log</h1>${page && html`<span class="soft num">${page.total}</span>`}</div>
    <p class="soft">Requests to runs, from this page or from <code>videossr runs</code>. Names are given with the token and are not verified.</p>
    <${Failure} error=${error} retry=${reload} />
    ${!page && !error && html`<${Loading} />`}
    ${page && page.total === 0 && html`<${Empty} title="No requests yet">Requests to start, stop, save and resume runs are listed here.<//>`}
    ${page && page.items.length > 0 && html`<${Requests} requests=${page.items} />`}
    ${page && html`<${Pages} page=${page} go=${(/** @type {number} */ to) => replace(link(["log"], { offset: to || null }))} />`}
  </section>`;
}
