// A run that has not begun: what it waits for.
import { html } from "../html.js";
import { Ago, Empty } from "../ui.js";

/** @param {{run: import("../types.js").RunDetail}} props */
export function Queued({ run }) {
  return html`<${Empty} title="This run has not begun">
    ${waitsFor(run)} It was asked for <${Ago} time=${run.created_at} />; what it records appears here by itself.<//>`;
}

/** @param {import("../types.js").RunDetail} run */
export function waitsFor(run) {
  if (run.job_id)
    return html`It waits as a job of Ray, <code>${run.job_id}</code>, until the cluster has room for it.`;
  return html`A process starts for it: it checks the settings, looks at the videos and loads the model.${run.silent && html` Nothing was heard of it yet; what it says first stands on the server, under <code>.launched</code> in the folder of runs.`}`;
}
