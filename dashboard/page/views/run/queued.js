// A run that has not begun: what it waits for.
import { html } from "../../lib/html.js";
import { Ago, Empty } from "../../ui.js";

/** Whether no process of it has ever said that it begins. @param {import("../../lib/types.js").RunDetail} run */
export function neverBegan(run) {
  return run.started_at === null;
}

/** @param {{run: import("../../lib/types.js").RunDetail}} props */
export function Queued({ run }) {
  return html`<${Empty} title="This run has not begun">
    ${waitsFor(run)} It was asked for <${Ago} time=${run.created_at} />; what it records appears here by itself.<//>`;
}

/** @param {import("../../lib/types.js").RunDetail} run */
export function waitsFor(run) {
  if (run.job_id)
    return html`It waits as a job of Ray, <code>${run.job_id}</code>, until the cluster has room for it.`;
  return html`A process starts for it: it checks the settings, looks at the videos and loads the model.`;
}

/** Of one that was asked for and fell silent: why that may be, and what helps. @param {{run: import("../../lib/types.js").RunDetail}} props */
export function Unheard({ run }) {
  const why = run.job_id
    ? html`Ray may have no room for its job, <code>${run.job_id}</code>, or have lost it.`
    : html`Its process may have ended before it could say why: what it said first stands on the server, under <code>.launched</code> in the folder of runs.`;
  return html`It was asked for <${Ago} time=${run.created_at} />, and has not begun. ${why} <b>Resume</b> starts it again.`;
}
