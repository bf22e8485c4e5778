// The log: all that was asked of runs, and to start some, newest first.
import { get } from "../lib/api.js";
import { html } from "../lib/html.js";
import { useChanges, useLoaded } from "../lib/live.js";
import { link, replace, useRoute } from "../lib/router.js";
import { Empty, Failure, Loading, Pages } from "../ui.js";
import { Requests } from "./requests.js";

const PAGE = 50;

export function Log() {
  const offset = Number(useRoute().query.get("offset") ?? 0);
  const { data, error, reload } = useLoaded(() => get("/api/requests", { offset, limit: PAGE }), [offset]);
  useChanges(undefined, reload);
  const page = /** @type {import("../lib/types.js").Page<import("../lib/types.js").Request> | undefined} */ (
    data
  );
  return html`<section class="page" aria-labelledby="title">
    <div class="head"><h1 id="title">Log</h1>${page && html`<span class="soft num">${page.total}</span>`}</div>
    <p class="soft">What people asked of runs, from this page or by <code>videossr runs</code>. Whoever acts may give a name with the token; the server does not verify it.</p>
    <${Failure} error=${error} retry=${reload} />
    ${!page && !error && html`<${Loading} />`}
    ${page && page.total === 0 && html`<${Empty} title="Nothing was asked yet">Starting, stopping, saving and resuming a run are written down here.<//>`}
    ${page && page.items.length > 0 && html`<${Requests} requests=${page.items} />`}
    ${page && html`<${Pages} page=${page} go=${(/** @type {number} */ to) => replace(link(["log"], { offset: to || null }))} />`}
  </section>`;
}
