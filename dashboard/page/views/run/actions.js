// Actions on a run. Each asks for confirmation and needs the operator's token, and the server logs it.
import { post } from "../../lib/api.js";
import { html, useState } from "../../lib/html.js";
import { ActionDialog } from "../ask.js";
import { neverBegan } from "./queued.js";

/** @typedef {import("../../lib/types.js").RunDetail} Run */
/** @typedef {{path: string, words: string, title: string, fits: (run: Run) => boolean, Dialog: any}} Action */

/** @type {Record<"checkpoint" | "stop" | "resume", Action>} */
const ACTIONS = {
  checkpoint: {
    path: "checkpoint",
    words: "Checkpoint now",
    title: "Write a checkpoint now?",
    fits: (run) => run.state === "running" || (run.state === "stalled" && !run.silent),
    Dialog: plain(
      () => "After its current step the run writes a checkpoint and continues. Nothing else changes.",
    ),
  },
  stop: {
    path: "stop",
    words: "Stop",
    title: "Stop this run?",
    fits: (run) => ["running", "stalled", "queued"].includes(run.state),
    Dialog: Stop,
  },
  resume: {
    path: "resume",
    words: "Resume",
    title: "Resume this run?",
    fits: (run) => ["stopped", "failed"].includes(run.state) || (run.state === "stalled" && run.silent),
    Dialog: plain((run) =>
      neverBegan(run)
        ? "The run has not begun. It is started again with the same config."
        : "The run resumes from its last checkpoint with the same config. Steps after that checkpoint are repeated.",
    ),
  },
};

/** @param {{run: Run}} props */
export function ActionButtons({ run }) {
  const [action, setAction] = useState(/** @type {Action | null} */ (null));
  return html`<div class="actions" role="group" aria-label="Actions">
    ${Object.values(ACTIONS)
      .filter(({ fits }) => fits(run))
      .map((one) => html`<button key=${one.path} onClick=${() => setAction(one)}>${one.words}</button>`)}
    ${action && html`<${action.Dialog} run=${run} action=${action} close=${() => setAction(null)} />`}
  </div>`;
}

/** @typedef {{run: Run, action: Action, close: () => void}} DialogProps */

/** Return a dialog that only asks for confirmation. @param {(run: Run) => string} what returns a description of what will happen */
function plain(what) {
  return (/** @type {DialogProps} */ { run, action, close }) =>
    html`<${ActionDialog} title=${action.title} words=${action.words} close=${close} act=${() => post(`/api/runs/${run.id}/${action.path}`)}>
      <${Which} run=${run} /><p>${what(run)}</p><//>`;
}

/** The dialog for stopping after the current step, or at once. @param {DialogProps} props */
function Stop({ run, action, close }) {
  const [now, setNow] = useState(run.silent); // a silent run would not notice a request
  const act = () => post(`/api/runs/${run.id}/stop`, now ? { now } : undefined);
  /** @type {[boolean, string, string][]} */
  const choices = [
    [false, "after this step", gently(run)],
    [true, "now", `${atOnce(run)} This works only if the dashboard can reach the run's processes.`],
  ];
  if (run.silent) choices.shift();
  return html`<${ActionDialog} title=${action.title} words=${now ? "Stop now" : "Stop after this step"} strong=${now ? "danger" : "strong"} close=${close} act=${act}>
    <${Which} run=${run} />
    <fieldset class="ways"><legend class="sr">When</legend>
      ${choices.map(
        ([value, words, what]) => html`<label key=${words} class="way">
        <input type="radio" name="when" checked=${now === value} onChange=${() => setNow(value)} />
        <span><b>Stop ${words}</b><span class="soft">${what}</span></span></label>`,
      )}
    </fieldset><//>`;
}

/** Return whether the run has not begun. @param {Run} run */
function waits(run) {
  return run.state === "queued" || neverBegan(run);
}

/** @param {Run} run */
function gently(run) {
  if (waits(run)) return "It ends as soon as it sees the request, before its first step.";
  return "It finishes its current step, writes a checkpoint and ends. Nothing is lost.";
}

/** @param {Run} run */
function atOnce(run) {
  if (waits(run)) return "Its process or job is ended at once. There is nothing to lose yet.";
  const every = run.config.train?.checkpoint_every;
  const most = every > 1 ? ` (it writes one every ${every} steps)` : "";
  return `Its processes are ended at once, without a checkpoint. Steps since the last checkpoint${most} are lost; if the run is resumed, it repeats them.`;
}

/** @param {{run: Run}} props */
function Which({ run }) {
  return html`<p><b>${run.name}</b>, step ${run.step} of ${run.steps}.</p>`;
}
