// What the model looked at and answered: a step and a task, its groups, and one of them whole.
import { get } from "../api.js";
import { score } from "../format.js";
import { html, useEffect, useMemo, useRef } from "../html.js";
import { useLoaded } from "../live.js";
import { link, replace, useRoute } from "../router.js";
import { Choice, Empty, Failure, Loading, Select } from "../ui.js";
import { Group } from "./group.js";

/** @typedef {import("../types.js").GroupSummary} GroupSummary */

const MOST = 200; // groups of a step that are listed
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

/** @param {import("./run.js").TabProps} props */
export function Rollouts({ run, changes }) {
  const { query } = useRoute();
  const { data, error, reload } = useLoaded(() => get(`/api/runs/${run.id}/steps`), [run.id]);
  useEffect(() => void (changes.groups && reload()), [changes.groups]);
  const all = /** @type {import("../types.js").GroupStep[] | undefined} */ (data);
  const kind = kindOf(query.get("kind"), all ?? []);
  const recorded = useMemo(
    () => (all ?? []).filter((entry) => entry.held_out === (kind === "held-out")),
    [all, kind],
  );
  const steps = useMemo(() => unique(recorded.map((entry) => entry.step)).sort((a, b) => a - b), [recorded]);

  const asked = query.get("step");
  const step = asked !== null && steps.includes(Number(asked)) ? Number(asked) : steps.at(-1);
  const tasks = useMemo(() => unique(recorded.map((entry) => entry.task)).sort(), [recorded]);
  const here = recorded.filter((entry) => entry.step === step);
  const task = here.some((entry) => entry.task === query.get("task")) ? (query.get("task") ?? "") : "";
  const sort = query.get("sort") ?? "-spread";
  const list = useLoaded(
    () =>
      step === undefined
        ? Promise.resolve(undefined)
        : get(`/api/runs/${run.id}/groups`, {
            step,
            task,
            sort,
            held_out: String(kind === "held-out"),
            limit: MOST,
          }),
    [run.id, kind, step, task, sort, changes.groups],
  );
  const groups = /** @type {GroupSummary[]} */ (list.data?.items ?? []);
  const chosen = groups.find((group) => group.id === Number(query.get("group"))) ?? groups[0];

  /** @param {Record<string, string | number | null>} change */
  const at = (change) =>
    link(["run", run.id, "rollouts"], { kind, step: asked, task, sort, group: null, ...change });
  /** @param {Record<string, string | number | null>} change */
  const choose = (change) => replace(at(change));
  useArrows((key) => {
    const [across, down] = [
      { ArrowLeft: -1, ArrowRight: 1 }[key] ?? 0,
      { ArrowUp: -1, ArrowDown: 1 }[key] ?? 0,
    ];
    const nextStep = steps[steps.indexOf(step ?? 0) + across];
    const nextGroup = groups[groups.indexOf(chosen) + down];
    if (across && nextStep !== undefined) choose({ step: nextStep });
    if (down && nextGroup) choose({ step: step ?? null, group: nextGroup.id });
  });

  if (!all) return html`<${Failure} error=${error} retry=${reload} />${!error && html`<${Loading} />`}`;
  if (!all.length) {
    return html`<${Empty} title="No rollouts yet">Some groups of each step are kept, with their frames: <code>train.recorded_groups</code> says how many.<//>`;
  }
  const kinds = html`<${Choice} label="Groups of" choices=${CHOICES} value=${kind} choose=${(/** @type {Kind} */ value) => choose({ kind: value, step: null })} />`;
  if (step === undefined) {
    return html`<div class="bar">${kinds}</div>
      ${
        kind === "training"
          ? html`<${Empty} title="No training groups yet">They appear with the first step. <code>train.recorded_groups</code> says how many of each are kept.<//>`
          : html`<${Empty} title="No held-out groups">An evaluation asks the same samples each time and keeps some of its groups: <code>evaluation.samples_per_task</code> says how many it asks.<//>`
      }`;
  }
  const elsewhere = all.some((entry) => entry.held_out && entry.task === chosen?.task)
    ? link(["run", run.id, "rollouts"], { kind: "held-out", task: chosen?.task })
    : null;
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
        <${Select} label="By" options=${[
          ["-spread", "Spread"],
          ["-mean_reward", "Mean reward"],
          ["group_id", "Order drawn"],
        ]} value=${sort} choose=${(/** @type {string} */ value) => choose({ sort: value })} />
        <ul>${groups.map((group) => html`<${Entry} key=${group.id} group=${group} chosen=${group === chosen} to=${at({ step, group: group.id })} />`)}</ul>
        ${list.data?.total > MOST && html`<p class="soft small">The first ${MOST} of ${list.data.total}. Choose a task to see the others.</p>`}
      </nav>
      ${chosen ? html`<${Group} key=${chosen.id} run=${run.id} id=${chosen.id} heldOut=${elsewhere} />` : html`<${Loading} />`}
    </div>`;
}

/** Training's first, as that is what a run is about. @param {string | null} wanted @param {import("../types.js").GroupStep[]} all @returns {Kind} */
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
    <span class="what"><b>${group.task}</b><span class="soft answer">${group.answer}</span></span>
    <span class="num both" title="mean reward; spread"><b>${score(group.mean_reward)}</b><span class="soft">spread ${score(group.spread)}</span></span>
  </a></li>`;
}

/** Arrow keys, unless something is being typed or chosen. @param {(key: string) => void} act */
function useArrows(act) {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    const press = (/** @type {KeyboardEvent} */ event) => {
      const at = /** @type {HTMLElement} */ (event.target);
      if (!event.key.startsWith("Arrow") || event.altKey || event.ctrlKey || event.metaKey) return;
      if (at.closest("input, select, textarea, dialog")) return;
      event.preventDefault();
      latest.current(event.key);
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, []);
}
