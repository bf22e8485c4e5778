// What people asked of runs, and what became of it.
import { dateTime } from "../lib/format.js";
import { html } from "../lib/html.js";
import { link } from "../lib/router.js";

/** @typedef {import("../lib/types.js").Request} Request */

/** @param {{requests: readonly Request[], ofRun?: boolean}} props ofRun: all are of one run, which is not named */
export function Requests({ requests, ofRun = false }) {
  const heads = ["Asked", "Action", ...(ofRun ? [] : ["Run"]), "By", "What became of it"];
  return html`<div class="card"><table class="requests stack">
    <thead><tr>${heads.map((head) => html`<th key=${head} scope="col">${head}</th>`)}</tr></thead>
    <tbody>${requests.map(
      (request) => html`<tr key=${request.id}>
      <td data-head="Asked" class="num when">${dateTime(request.asked_at)}</td><td data-head="Action">${request.action}</td>
      ${!ofRun && html`<td data-head="Run">${request.run_id === null ? html`<span class="soft">a new run</span>` : html`<a href=${link(["run", request.run_id])}>${request.run_name ?? `#${request.run_id}`}</a>`}</td>`}
      <td data-head="By">${request.asked_by}</td><td class="text" data-head="What became of it">${outcome(request)}</td></tr>`,
    )}</tbody>
  </table></div>`;
}

/** @param {Request} request */
function outcome(request) {
  if (request.outcome !== null) return request.outcome;
  return html`<span class="soft">${request.taken_at || request.run_id === null ? "under way" : "waits for the run"}</span>`;
}
