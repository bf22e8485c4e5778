// A table of requests and their outcomes.
import { dateTime } from "../lib/format.js";
import { html } from "../lib/html.js";
import { link } from "../lib/router.js";

/** @typedef {import("../lib/types.js").Request} Request */

/** @param {{requests: readonly Request[], ofRun?: boolean}} props ofRun: all belong to one run, so its name is left out */
export function Requests({ requests, ofRun = false }) {
  const heads = ["Time", "Action", ...(ofRun ? [] : ["Run"]), "By", "Outcome"];
  return html`<div class="card"><table class="requests stack">
    <thead><tr>${heads.map((head) => html`<th key=${head} scope="col">${head}</th>`)}</tr></thead>
    <tbody>${requests.map(
      (request) => html`<tr key=${request.id}>
      <td data-head="Time" class="num when">${dateTime(request.asked_at)}</td><td data-head="Action">${request.action}</td>
      ${!ofRun && html`<td data-head="Run">${request.run_id === null ? html`<span class="soft">a new run</span>` : html`<a href=${link(["run", request.run_id])}>${request.run_name ?? `#${request.run_id}`}</a>`}</td>`}
      <td data-head="By">${request.asked_by}</td><td class="text" data-head="Outcome">${outcome(request)}</td></tr>`,
    )}</tbody>
  </table></div>`;
}

/** @param {Request} request */
function outcome(request) {
  if (request.outcome !== null) return request.outcome;
  return html`<span class="soft">${request.taken_at || request.run_id === null ? "in progress" : "waiting for the run"}</span>`;
}
