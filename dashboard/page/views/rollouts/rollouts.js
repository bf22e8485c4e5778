// Recorded rollouts: choose a step and a task, then a group to see in full.
import { get } from "../../lib/api.js";
import { score } from "../../lib/format.js";
import { html, useEffect, useMemo, useRef } from "../../lib/html.js";
import { useLoaded } from "../../lib/live.js";
import { link, replace, useRoute } from "../../lib/router.js";
import { Choice, Empty, Failure, Loading, Select } from "../../ui.js";
import { Group } from "./group.js";

/** @typedef {import("../../lib/types.js").GroupSummary} GroupSummary */
/** @typedef {import("../../lib/types.js").GroupStep} GroupStep */

const MAX_LISTED = 200; // groups of one step in the list
/** @typedef {"training" | "held-out"} Kind */

const KINDS = {
  training: { label: "Training step", each: (/** @type {number} */ step) => String(step) },
  "held-out": {
    label: "Evaluation after steps",
    each: (/** @type {number} */ step) => (step === 0 ? "0, before training" : String(step)),
  },
};
/** @type {[Kind, string][]} */
const CHOICES = [
  ["training", "Training"],
  ["held-out", "Held out"],
];
const SORTS = [
  ["-spread", "Spread"],
  ["-mean_reward", "Mean reward"],
  ["group_id", "Order generated"],
];
/** @type {Record<string, [number, number]>} moves to another step, or to another group */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @param {import("../run/run.js").TabProps} props */
export function Rollouts({ run, changes }) {
  const { data, error, reload } = useLoaded(() => get(`/api/runs/${run.id}/steps`), [run.id]);
  useEffect(() => void (changes.groups && reload()), [changes.groups]);
  const all = /** @type {GroupStep[] | undefined} */ (data);
  if (!all) return html`<${Failure} error=${error} retry=${reload} />${!error && html`<${Loading} />`}`;
  if (!all.length) {
    return html`<${Empty} title="No rollouts yet">Some groups of each step are recorded with their frames; <code>train.recorded_groups</code> sets how many.<//>`;
  }
  return html`<${Recorded} run=${run} changes=${changes} all=${all} />`;
}

/**
 * The recorded groups. The address holds the choice of step, task and group.
 *
 * @param {import("../run/run.js").TabProps & {all: GroupStep[]}} props
 */
function Recorded({ run, changes, all }) {
  const { query } = useRoute();
  const chosen = useMemo(() => choiceOf(query, all), [query, all]);
  const { kind, asked, step, task, sort } = chosen;
  /** @param {Record<string, string | number | null>} change */
  const at = (change) =>
    link(["run", run.id, "rollouts"], { kind, step: asked, task, sort, group: null, ...change });
  const kinds = html`<${Choice} label="Groups of" choices=${CHOICES} value=${kind} choose=${(/** @type {Kind} */ value) => replace(at({ kind: value, step: null }))} />`;
  if (step === undefined) {
    return html`<div class="bar">${kinds}</div>
      ${
        kind === "training"
          ? html`<${Empty} title="No training groups yet">They appear with the first step. <code>train.recorded_groups</code> sets how many are recorded per step.<//>`
          : html`<${Empty} title="No held-out groups">Every evaluation uses the same samples and records some of their groups; <code>evaluation.samples_per_task</code> sets the number of samples.<//>`
      }`;
  }
  /** @param {string | undefined} of */
  const heldOut = (of) =>
    all.some((entry) => entry.held_out && entry.task === of)
      ? link(["run", run.id, "rollouts"], { kind: "held-out", task: of })
      : null;
  return html`<${OfStep} run=${run} changes=${changes} chosen=${{ ...chosen, step }} wanted=${Number(query.get("group"))} at=${at} kinds=${kinds} heldOut=${heldOut} />`;
}

/**
 * The groups of one step, and one of them in full.
 *
 * @param {object} props
 * @param {import("../../lib/types.js").RunDetail} props.run
 * @param {Record<string, number>} props.changes
 * @param {Chosen & {step: number}} props.chosen
 * @param {number} props.wanted number of the group to show, if it belongs to this step
 * @param {(change: Record<string, string | number | null>) => string} props.at returns the address of another choice
 * @param {any} props.kinds
 * @param {(task: string | undefined) => string | null} props.heldOut returns the address of held-out groups of a task, or null
 */
function OfStep({ run, changes, chosen, wanted, at, kinds, heldOut }) {
  const { kind, steps, step, tasks, task, sort } = chosen;
  const query = { step, task, sort, held_out: String(kind === "held-out"), limit: MAX_LISTED };
  const list = useLoaded(
    () => get(`/api/runs/${run.id}/groups`, query),
    [run.id, kind, step, task, sort, changes.groups],
  );
  const groups = /** @type {GroupSummary[]} */ (list.data?.items ?? []);
  const group = groups.find((one) => one.id === wanted) ?? groups[0];
  /** @param {Record<string, string | number | null>} change */
  const choose = (change) => replace(at(change));
  useArrows((key) => {
    const [across, down] = ARROWS[key] ?? [0, 0];
    const nextStep = across ? steps[steps.indexOf(step) + across] : undefined;
    const nextGroup = down ? groups[groups.indexOf(group) + down] : undefined;
    if (nextStep !== undefined) choose({ step: nextStep });
    if (nextGroup) choose({ step, group: nextGroup.id });
    return nextStep !== undefined || nextGroup !== undefined;
  });
  return html`
    <div class="bar">
      ${kinds}
      <${Stepper} label=${KINDS[kind].label} each=${KINDS[kind].each} steps=${steps} step=${step} choose=${(/** @type {number} */ next) => choose({ step: next })} />
      <${Choice} label="Task" choices=${[["", "All tasks"], ...tasks.map((one) => [one, one])]} value=${task} choose=${(/** @type {string} */ value) => choose({ task: value })} />
      <span class="space"></span>
      <span class="soft keys">Keys: <kbd>←</kbd> <kbd>→</kbd> step, <kbd>↑</kbd> <kbd>↓</kbd> group</span>
    </div>
    <${Failure} error=${list.error} retry=${list.reload} />
    <div class="rollouts">
      <nav class="card groups" aria-label="Groups of this step">
        <${Select} label="Sort by" options=${SORTS} value=${sort} choose=${(/** @type {string} */ value) => choose({ sort: value })} />
        <ul>${groups.map((one) => html`<${Entry} key=${one.id} group=${one} chosen=${one === group} to=${at({ step, group: one.id })} />`)}</ul>
        ${list.data?.total > MAX_LISTED && html`<p class="soft small">The first ${MAX_LISTED} of ${list.data.total}. Choose a task to see more.</p>`}
      </nav>
      ${group ? html`<${Group} key=${group.id} run=${run.id} id=${group.id} heldOut=${heldOut(group.task)} />` : html`<${Loading} />`}
    </div>`;
}

/**
 * @typedef {object} Chosen
 * @property {Kind} kind
 * @property {number[]} steps steps with groups of this kind
 * @property {string | null} asked the step in the address, which is kept even if it has no groups
 * @property {number | undefined} step the step shown
 * @property {string[]} tasks of this kind
 * @property {string} task empty: all tasks
 * @property {string} sort
 */

/** Return what to show of the recorded groups. @param {URLSearchParams} query @param {GroupStep[]} all @returns {Chosen} */
function choiceOf(query, all) {
  const kind = kindOf(query.get("kind"), all);
  const recorded = all.filter((entry) => entry.held_out === (kind === "held-out"));
  const steps = unique(recorded.map((entry) => entry.step)).sort((a, b) => a - b);
  const asked = query.get("step");
  const step = asked !== null && steps.includes(Number(asked)) ? Number(asked) : steps.at(-1);
  const tasks = unique(recorded.map((entry) => entry.task)).sort();
  const wanted = query.get("task") ?? "";
  const task = recorded.some((entry) => entry.step === step && entry.task === wanted) ? wanted : "";
  return { kind, steps, asked, step, tasks, task, sort: query.get("sort") ?? "-spread" };
}

/** Return the kind to show: training unless the address or the data says otherwise. @param {string | null} wanted @param {GroupStep[]} all @returns {Kind} */
function kindOf(wanted, all) {
  if (wanted === "training" || wanted === "held-out") return wanted;
  return all.length > 0 && all.every((entry) => entry.held_out) ? "held-out" : "training";
}

/** @template T @param {T[]} values */
function unique(values) {
  return [...new Set(values)];
}

/** @param {{label: string, each: (step: number) => string, steps: number[], step: number, choose: (step: number) => void}} props */
function Stepper({ label, each, steps, step, choose }) {
  const place = steps.indexOf(step);
  return html`<div class="stepper" role="group" aria-label=${label}>
    <button aria-label="Step before" disabled=${place === 0} onClick=${() => choose(steps[place - 1])}>←</button>
    <${Select} label=${label} options=${[...steps].reverse().map((one) => [String(one), each(one)])} value=${String(step)} choose=${(/** @type {string} */ value) => choose(Number(value))} />
    <button aria-label="Step after" disabled=${place === steps.length - 1} onClick=${() => choose(steps[place + 1])}>→</button>
  </div>`;
}

/** @param {{group: GroupSummary, chosen: boolean, to: string}} props */
function Entry({ group, chosen, to }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (chosen && document.activeElement?.closest(".groups")) box.current?.focus();
    if (chosen) box.current?.scrollIntoView({ block: "nearest" });
  }, [chosen]);
  return html`<li><a ref=${box} href=${to} aria-current=${chosen ? "true" : undefined}>
    <span class="what"><b>${group.task}</b><span class="soft entry-truth">${group.truth}</span></span>
    <span class="num both" title="mean reward; spread"><b>${score(group.mean_reward)}</b><span class="soft">spread ${score(group.spread)}</span></span>
  </a></li>`;
}

/**
 * Handle arrow keys, unless a form field or dialog has the focus.
 *
 * @param {(key: string) => boolean} act returns whether it moved; if not, the page scrolls
 */
function useArrows(act) {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    const press = (/** @type {KeyboardEvent} */ event) => {
      const at = /** @type {HTMLElement} */ (event.target);
      if (!event.key.startsWith("Arrow") || event.altKey || event.ctrlKey || event.metaKey) return;
      if (at.closest("input, select, textarea, dialog")) return;
      if (latest.current(event.key)) event.preventDefault();
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, []);
}
