// Notices about a run that has not begun: what it is waiting for, or why it may never begin.
import { html } from "../../lib/html.js";
import { Ago, Empty } from "../../ui.js";

/** Return whether no process of the run has ever reported a start. @param {import("../../lib/types.js").RunDetail} run */
export function neverBegan(run) {
  return run.started_at === null;
}

/** @param {{run: import("../../lib/types.js").RunDetail}} props */
export function Queued({ run }) {
  return html`<${Empty} title="This run has not begun">
    ${waitsFor(run)} It was requested <${Ago} time=${run.created_at} />. Its data will appear here.<//>`;
}

/** @param {import("../../lib/types.js").RunDetail} run */
export function waitsFor(run) {
  if (run.job_id)
    return html`It waits as Ray job <code>${run.job_id}</code> until the cluster has room for it.`;
  return html`Its process is starting: it checks the settings, inspects the videos and loads the model.`;
}

/** Explain why a requested run may be silent, and what helps. @param {{run: import("../../lib/types.js").RunDetail}} props */
export function NeverBegan({ run }) {
  const why = run.job_id
    ? html`Ray may have no room for its job <code>${run.job_id}</code>, or may have lost it.`
    : html`Its process may have ended before it could report why. Its output is on the server, under <code>.launched</code> in the folder of runs.`;
  return html`It was requested <${Ago} time=${run.created_at} /> and has not begun. ${why} <b>Resume</b> starts it again.`;
}
