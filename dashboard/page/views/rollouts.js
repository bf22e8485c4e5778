// What the model looked at and answered: a step and a task, its groups, and one of them whole.
import { get } from "../api.js";
import { score } from "../format.js";
import { html, useEffect, useMemo, useRef } from "../html.js";
import { useLoaded } from "../live.js";
import { link, replace, useRoute } from "../router.js";
import { Choice, Empty, Failure, Loading, Select } from "../ui.js";
import { Group } from "./group.js";

/** @typedef {import("../types.js").GroupSummary} GroupSummary */

/** @param {import("./run.js").TabProps} props */
export function Rollouts({ run, changes }) {
  const { query } = useRoute();
  const { data, error, reload } = useLoaded(() => get(`/api/runs/${run.id}/steps`), [run.id]);
  useEffect(() => void (changes.groups && reload()), [changes.groups]);
  const recorded = /** @type {import("../types.js").GroupStep[] | undefined} */ (data);
  const steps = useMemo(
    () => [...new Set((recorded ?? []).map((entry) => entry.step))].sort((a, b) => a - b),
    [recorded],
  );

  const asked = query.get("step");
  const step = asked !== null && steps.includes(Number(asked)) ? Number(asked) : steps.at(-1);
  const tasks = useMemo(() => [...new Set((recorded ?? []).map((entry) => entry.task))].sort(), [recorded]);
  const here = (recorded ?? []).filter((entry) => entry.step === step);
  const task = here.some((entry) => entry.task === query.get("task")) ? (query.get("task") ?? "") : "";
  const sort = query.get("sort") ?? "-spread";
  const list = useLoaded(
    () =>
      step === undefined
        ? Promise.resolve(undefined)
        : get(`/api/runs/${run.id}/groups`, { step, task, sort, limit: 200 }),
    [run.id, step, task, sort, changes.groups],
  );
  const groups = /** @type {GroupSummary[]} */ (list.data?.items ?? []);
  const chosen = groups.find((group) => group.id === Number(query.get("group"))) ?? groups[0];

  /** @param {Record<string, string | number | null>} change */
  const choose = (change) =>
    replace(link(["run", run.id, "rollouts"], { step: asked, task, sort, group: null, ...change }));
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

  if (!recorded) return html`<${Failure} error=${error} retry=${reload} />${!error && html`<${Loading} />`}`;
  if (step === undefined) {
    return html`<${Empty} title="No rollouts yet">Some groups of each step are kept, with their frames: <code>train.recorded_groups</code> says how many.<//>`;
  }
  return html`
    <div class="bar">
      <div class="stepper" role="group" aria-label="Step">
        <button aria-label="Step before" disabled=${steps[0] === step} onClick=${() => choose({ step: steps[steps.indexOf(step) - 1] })}>←</button>
        <${Select} label="Step" options=${[...steps].reverse().map((one) => [String(one), `${one}`])} value=${String(step)} choose=${(/** @type {string} */ value) => choose({ step: value })} />
        <button aria-label="Step after" disabled=${steps.at(-1) === step} onClick=${() => choose({ step: steps[steps.indexOf(step) + 1] })}>→</button>
      </div>
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
        <ul>${groups.map((group) => html`<${Entry} key=${group.id} group=${group} chosen=${group === chosen} to=${link(["run", run.id, "rollouts"], { step, task, sort, group: group.id })} />`)}</ul>
      </nav>
      ${chosen ? html`<${Group} key=${chosen.id} run=${run.id} id=${chosen.id} />` : html`<${Loading} />`}
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
