// Where the time of a step goes.
import { address, get } from "../api.js";
import { Chart } from "../chart.js";
import { duration, percent } from "../format.js";
import { html, useEffect, useMemo, useState } from "../html.js";
import { lineOf } from "../lines.js";
import { useLoaded } from "../live.js";
import { useSeries } from "../series.js";
import { Choice, Failure, Loading } from "../ui.js";
import { NoSteps } from "./curves.js";
import { ChartCard } from "./parts.js";

const WHOLE = "seconds/step";
/** @type {Record<string, string>} what a phase is, for people */
const WORDS = {
  push: "weights go to the engines",
  prompts: "prompts that were not ready before",
  rollout: "engines answer",
  reward: "answers are scored",
  update: "the learner's step",
  save: "a checkpoint is written",
  waited_for_groups: "the learner stood still",
  waited_for_update: "the engines stood still",
};
/** @type {[string, string][]} */
const LATEST = [
  ["50", "Last 50"],
  ["500", "Last 500"],
];
/** Those that follow each other when a step is trained on what was sampled in it. */
const ORDER = ["push", "prompts", "rollout", "reward", "update", "save"];

/** @param {import("./run.js").TabProps} props */
export function Clock({ run }) {
  const names = run.metric_names.filter((name) => name.startsWith("seconds/"));
  const [latest, setLatest] = useState("50");
  const [zoom, setZoom] = useState(/** @type {import("../chart.js").Zoom} */ (null));
  const { series, more, error } = useSeries([run.id], names, null);
  useEffect(() => void more(run.id, run.step), [run.step]);
  const lines = useMemo(() => stack(series ?? []), [series]);
  // So few steps come whole, so a phase that only some steps have weighs as little as it should.
  const { data } = useLoaded(
    () =>
      names.length
        ? get("/api/series", { run: run.id, name: names, first_step: Math.max(0, run.step - Number(latest)) })
        : Promise.resolve([]), // the server has nothing to say of no metric
    [run.step, latest, names.join()],
  );
  if (!names.includes(WHOLE)) return html`<${NoSteps} run=${run} />`;
  if (!series) return html`<${Failure} error=${error} />${!error && html`<${Loading} />`}`;
  const csv = address(`/api/runs/${run.id}/metrics.csv`, { name: names });
  return html`<div class="clock">
    <${ChartCard} title="Phases of a step" note="stacked; drag to zoom" file=${`${run.name}-clock`} csv=${csv}
      controls=${zoom && html`<button onClick=${() => setZoom(null)}>Reset zoom</button>`}
      chart=${(/** @type {any} */ onPlot) =>
        html`<${Chart} label="Seconds of each phase over steps, stacked" lines=${lines} axis="step" range="zero"
          format=${duration} stacked height=${280} zoom=${zoom} onZoom=${setZoom} onPlot=${onPlot} />`} />
    <section class="card pad" aria-labelledby="shares">
      <div class="head"><h3 id="shares">Shares of a step</h3><span class="space"></span>
        <${Choice} label="Of which steps" choices=${LATEST} value=${latest} choose=${setLatest} /></div>
      ${data && html`<${Shares} series=${data} />`}
    </section>
  </div>`;
}

/** @param {{series: import("../types.js").Series[]}} props */
function Shares({ series }) {
  const count = series.find((one) => one.name === WHOLE)?.steps.length ?? 0;
  const means = new Map(
    series.map((one) => [one.name.replace("seconds/", ""), sum(one.mean) / Math.max(1, count)]),
  );
  const whole = means.get("step") ?? 0;
  const phases = [...means].filter(([name]) => name !== "step").sort((a, b) => b[1] - a[1]);
  const together = ORDER.reduce((total, name) => total + (means.get(name) ?? 0), 0);
  return html`<table class="shares">
      <thead><tr>
        <th scope="col">Phase</th><th scope="col" class="right">Mean</th><th scope="col" class="right">Share</th>
        <th scope="col"><span class="sr">Share as a bar</span></th>
      </tr></thead>
      <tbody>
        ${phases.map(
          ([name, value]) => html`<tr key=${name}>
            <td><span class="phase">${name.replaceAll("_", " ")}</span><span class="soft what">${WORDS[name]}</span></td>
            <td class="right num">${duration(value)}</td>
            <td class="right num">${whole ? percent(value / whole) : "–"}</td>
            <td class="bar-cell">
              <progress aria-label=${`share of ${name}`} max="1" value=${whole ? Math.min(1, value / whole) : 0}></progress>
            </td>
          </tr>`,
        )}
      </tbody>
      <tfoot><tr><td>A whole step</td><td class="right num">${duration(whole)}</td><td></td><td></td></tr></tfoot>
    </table>
    ${
      whole > 0 &&
      together > 1.05 * whole &&
      html`<p class="soft hint">Phases overlap: together they are
      ${percent(together / whole)} of a step, because answers of the next step are made while this one trains.</p>`
    }`;
}

/** Each phase on top of those before it, topmost first. @param {import("../types.js").Series[]} series */
function stack(series) {
  const phases = ORDER.flatMap((name) => series.find((one) => one.name === `seconds/${name}`) ?? []);
  const steps = series.find((one) => one.name === WHOLE)?.steps ?? [];
  const below = new Map(steps.map((step) => [step, 0]));
  const lines = phases.map((one, i) => {
    const of = new Map(one.steps.map((step, at) => [step, one.mean[at] ?? 0]));
    for (const [step, height] of below) below.set(step, height + (of.get(step) ?? 0));
    const heights = [...below.values()];
    return lineOf(
      { ...one, steps, mean: heights, low: heights, high: heights },
      "step",
      one.name.replace("seconds/", ""),
      i + 1,
    );
  });
  return lines.reverse();
}

/** @param {import("../types.js").Values} values */
function sum(values) {
  return values.reduce((/** @type {number} */ total, value) => total + (value ?? 0), 0);
}
