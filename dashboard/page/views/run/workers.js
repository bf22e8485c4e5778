// The processes of a run, with their node, GPU, policy version and queue.
import { get } from "../../lib/api.js";
import { counted } from "../../lib/format.js";
import { html, useEffect } from "../../lib/html.js";
import { now, useLoaded, useShared } from "../../lib/live.js";
import { Ago, Empty, ENDED, Failure, Loading } from "../../ui.js";

const SILENT_S = 30;
/** @type {Record<string, string>} */
const ROLES = {
  prompts: "Prompt workers",
  rollout: "Rollout workers",
  rewards: "Reward workers",
  learner: "Learner ranks",
};
const ORDER = Object.keys(ROLES);

/** @param {import("./run.js").TabProps} props */
export function Workers({ run, changes }) {
  const { data, error, reload } = useLoaded(() => get(`/api/runs/${run.id}/workers`), [run.id]);
  useEffect(() => void (changes.workers && reload()), [changes.workers]);
  const at = useShared(now);
  const workers = /** @type {import("../../lib/types.js").WorkerStatus[] | undefined} */ (data);
  if (!workers) return html`<${Failure} error=${error} retry=${reload} />${!error && html`<${Loading} />`}`;
  if (!workers.length)
    return html`<${Empty} title="No workers yet">They appear when Ray has started them.<//>`;
  const place = (/** @type {string} */ role) => (ORDER.includes(role) ? ORDER.indexOf(role) : ORDER.length);
  const roles = [...new Set(workers.map((worker) => worker.role))].sort((a, b) => place(a) - place(b));
  const ended = ENDED.includes(run.state);
  return html`<div class="card"><table class="workers stack">
    <thead><tr>${["Worker", "State", "Node", "GPU", "Process"].map((words) => html`<th key=${words} scope="col">${words}</th>`)}
      ${["Version", "Queue", "Restarts", "Last seen"].map((words) => html`<th key=${words} scope="col" class="right">${words}</th>`)}</tr></thead>
    ${roles.map((role) => {
      const mine = workers.filter((worker) => worker.role === role);
      return html`<tbody key=${role}>
        <tr class="role"><th colSpan="9" scope="rowgroup">${ROLES[role] ?? role} <span class="soft">${counted(mine.length, "process", "processes")}</span></th></tr>
        ${mine.map((worker) => html`<${Worker} key=${worker.index} worker=${worker} silent=${!ended && at - worker.updated_at > SILENT_S} ended=${ended} newest=${run.step} />`)}
      </tbody>`;
    })}
  </table></div>`;
}

/** @param {{worker: import("../../lib/types.js").WorkerStatus, silent: boolean, ended: boolean, newest: number}} props */
function Worker({ worker, silent, ended, newest }) {
  const behind = ended || worker.policy_version === null ? 0 : newest - worker.policy_version;
  const bad = !["running", "idle", "starting", "done"].includes(worker.state);
  const state = bad ? worker.state : ended ? "ended" : silent ? "silent" : worker.state;
  return html`<tr class=${silent ? "silent" : ""}>
    <td data-head="Worker">${worker.role} ${worker.index}</td>
    <td data-head="State"><span class="pill ${bad ? "bad" : silent ? "warn" : ""}">${state}</span></td>
    <td data-head="Node">${worker.node}</td>
    <td data-head="GPU">${worker.gpu ?? "–"}</td>
    <td data-head="Process" class="num">${worker.pid ?? "–"}</td>
    <td data-head="Version" class="right num">${worker.policy_version ?? "–"}${behind > 1 && html`<span class="soft"> ${behind} behind</span>`}</td>
    <td data-head="Queue" class="right num">${ended ? "–" : (worker.queue ?? "–")}</td>
    <td data-head="Restarts" class="right num ${worker.restarts ? "toned warn" : ""}">${worker.restarts}</td>
    <td data-head="Last seen" class="right num"><${Ago} time=${worker.updated_at} /></td>
  </tr>`;
}
