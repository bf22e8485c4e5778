// What a person may do to runs. Each is asked about first, needs the operator's token, and is logged by the server.
import { post } from "../../lib/api.js";
import { html, useState } from "../../lib/html.js";
import { Ask } from "../ask.js";
import { neverBegan } from "./queued.js";

/** @typedef {import("../../lib/types.js").RunDetail} Run */
/** @typedef {{path: string, words: string, title: string, fits: (run: Run) => boolean, Dialog: any}} Deed */

/** @type {Record<"checkpoint" | "stop" | "resume", Deed>} */
const DEEDS = {
  checkpoint: {
    path: "checkpoint",
    words: "Checkpoint now",
    title: "Write a checkpoint now?",
    fits: (run) => run.state === "running" || (run.state === "stalled" && !run.silent),
    Dialog: plain(
      () => "After the step under way the run writes a checkpoint and goes on. Nothing else changes.",
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
        ? "The run had not begun: it starts again, with the same config."
        : "The run goes on from its last checkpoint, with the same config. Steps after that checkpoint are done again.",
    ),
  },
};

/** @param {{run: Run}} props */
export function ActionButtons({ run }) {
  const [deed, setDeed] = useState(/** @type {Deed | null} */ (null));
  return html`<div class="actions" role="group" aria-label="Actions">
    ${Object.values(DEEDS)
      .filter(({ fits }) => fits(run))
      .map((one) => html`<button key=${one.path} onClick=${() => setDeed(one)}>${one.words}</button>`)}
    ${deed && html`<${deed.Dialog} run=${run} deed=${deed} close=${() => setDeed(null)} />`}
  </div>`;
}

/** @typedef {{run: Run, deed: Deed, close: () => void}} DialogProps */

/** A dialog that asks whether to, and nothing else. @param {(run: Run) => string} what will happen */
function plain(what) {
  return (/** @type {DialogProps} */ { run, deed, close }) =>
    html`<${Ask} title=${deed.title} words=${deed.words} close=${close} act=${() => post(`/api/runs/${run.id}/${deed.path}`)}>
      <${Which} run=${run} /><p>${what(run)}</p><//>`;
}

/** After the step under way, or at once. @param {DialogProps} props */
function Stop({ run, deed, close }) {
  const [now, setNow] = useState(run.silent); // nobody would hear of the other way
  const act = () => post(`/api/runs/${run.id}/stop`, now ? { now } : undefined);
  /** @type {[boolean, string, string][]} */
  const choices = [
    [false, "after this step", gently(run)],
    [true, "now", `${atOnce(run)} Works where this dashboard reaches the run's processes.`],
  ];
  if (run.silent) choices.shift();
  return html`<${Ask} title=${deed.title} words=${now ? "Stop now" : "Stop after this step"} strong=${now ? "danger" : "strong"} close=${close} act=${act}>
    <${Which} run=${run} />
    <fieldset class="ways"><legend class="sr">When</legend>
      ${choices.map(
        ([value, words, what]) => html`<label key=${words} class="way">
        <input type="radio" name="when" checked=${now === value} onChange=${() => setNow(value)} />
        <span><b>Stop ${words}</b><span class="soft">${what}</span></span></label>`,
      )}
    </fieldset><//>`;
}

/** Whether it is still to begin, or was never heard of. @param {Run} run */
function waits(run) {
  return run.state === "queued" || neverBegan(run);
}

/** @param {Run} run */
function gently(run) {
  if (waits(run)) return "It ends as soon as it hears of it, before its first step.";
  return "It finishes the step under way, writes a checkpoint and ends. Nothing is lost.";
}

/** @param {Run} run */
function atOnce(run) {
  if (waits(run)) return "Its process or job is ended at once. There is nothing to lose yet.";
  const every = run.config.train?.checkpoint_every;
  const most = every > 1 ? ` (it writes one every ${every} steps)` : "";
  return `Its processes are ended at once, without a checkpoint. Steps since the last checkpoint${most} are lost: if it is resumed, it does them again.`;
}

/** @param {{run: Run}} props */
function Which({ run }) {
  return html`<p><b>${run.name}</b>, step ${run.step} of ${run.steps}.</p>`;
}
