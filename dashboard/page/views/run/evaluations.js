// Scores on held-out samples before, during and after training.
import { get } from "../../lib/api.js";
import { Chart } from "../../charts/chart.js";
import { csvOf } from "../../lib/csv.js";
import { score, signed } from "../../lib/format.js";
import { html, useEffect, useMemo, useState } from "../../lib/html.js";
import { useLoaded } from "../../lib/live.js";
import { Choice, Empty, Failure, Loading } from "../../ui.js";
import { ChartCard } from "../../charts/card.js";

/** @typedef {import("../../lib/types.js").Evaluation} Evaluation */

/** @param {import("./run.js").TabProps} props */
export function Evaluations({ run, changes }) {
  const { data, error, reload } = useLoaded(() => get(`/api/runs/${run.id}/evaluations`), [run.id]);
  useEffect(() => void (changes.evaluations && reload()), [changes.evaluations]);
  const [shown, setShown] = useState("sampled_mean");
  const all = /** @type {Evaluation[] | undefined} */ (data);
  const found = useMemo(() => all?.filter((one) => one.stage !== "bench"), [all]); // benchmarks have their own page
  const lines = useMemo(() => linesOf(found ?? [], shown), [found, shown]);
  if (!found) return html`<${Failure} error=${error} retry=${reload} />${!error && html`<${Loading} />`}`;
  if (!found.length) {
    return html`<${Empty} title="No evaluations yet">Held-out samples are evaluated before and after training, and in between with <code>evaluation.every</code>.<//>`;
  }
  const csv = () =>
    csvOf([
      ["stage", "step", "task", "source", "score", "value"],
      ...found.flatMap((one) =>
        Object.entries(one.scores).map(([name, value]) => [
          one.stage,
          one.step,
          one.task,
          one.source,
          name,
          value,
        ]),
      ),
    ]);
  return html`<div class="evaluations">
    <${ChartCard} title="Held-out scores" note="over training steps" file=${`${run.name}-evaluations`} csv=${csv}
      controls=${html`<${Choice} label="Score" choices=${[
        ["sampled_mean", "Sampled"],
        ["greedy_mean", "Greedy"],
        ["sampled_valid", "Valid"],
      ]} value=${shown} choose=${setShown} />`}
      chart=${(/** @type {any} */ onPlot) => html`<${Chart} label="Held-out scores per task over steps" lines=${lines} axis="step" range="share" format=${score} height=${240} onPlot=${onPlot} />`} />
    <div class="card"><${Table} found=${found} /></div>
  </div>`;
}

/** @param {{found: Evaluation[]}} props */
function Table({ found }) {
  const rows = [...found].sort(
    (a, b) => `${a.source} ${a.task}`.localeCompare(`${b.source} ${b.task}`) || a.step - b.step,
  );
  const first = new Map(
    rows.filter((one) => one.stage === "before").map((one) => [`${one.source} ${one.task}`, one.scores]),
  );
  return html`<table class="stack">
    <thead><tr><th scope="col">Task</th><th scope="col">Stage</th>${["Step", "Greedy", "Sampled", "Change", "Valid", "Samples"].map((head) => html`<th key=${head} scope="col" class="right">${head}</th>`)}</tr></thead>
    <tbody>${rows.map((one) => {
      const before = first.get(`${one.source} ${one.task}`)?.sampled_mean;
      const change = one.stage === "before" || before === undefined ? null : one.scores.sampled_mean - before;
      return html`<tr key=${one.id}>
        <td data-head="Task">${one.task}${one.source && html`<span class="soft"> ${one.source}</span>`}</td><td data-head="Stage">${one.stage}</td><td data-head="Step" class="right num">${one.step}</td>
        <td data-head="Greedy" class="right num">${score(one.scores.greedy_mean)}</td><td data-head="Sampled" class="right num"><b>${score(one.scores.sampled_mean)}</b></td>
        <td data-head="Change" class="right num ${change === null ? "soft" : change >= 0 ? "toned good" : "toned bad"}">${change === null ? "–" : signed(change)}</td>
        <td data-head="Valid" class="right num">${score(one.scores.sampled_valid)}</td><td data-head="Samples" class="right num soft">${one.scores.samples ?? "–"}</td></tr>`;
    })}</tbody></table>`;
}

/** @param {Evaluation[]} found @param {string} shown */
function linesOf(found, shown) {
  const tasks = [...new Set(found.map((one) => `${one.task}${one.source ? ` ${one.source}` : ""}`))].sort();
  return tasks.map((task, i) => {
    const mine = found
      .filter((one) => `${one.task}${one.source ? ` ${one.source}` : ""}` === task)
      .sort((a, b) => a.step - b.step);
    const values = mine.map((one) => one.scores[shown] ?? null);
    return {
      label: task,
      colour: i + 1,
      x: mine.map((one) => one.step),
      mean: values,
      low: values,
      high: values,
    };
  });
}
