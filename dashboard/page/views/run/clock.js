// Where the time of a step goes, for the learner and for the engines. The parts of each side add up to the whole step.
import { address, get } from "../../lib/api.js";
import { titleOf, useCatalogue } from "../../charts/catalogue.js";
import { Chart } from "../../charts/chart.js";
import { duration, percent } from "../../lib/format.js";
import { html, useEffect, useMemo, useRef, useState } from "../../lib/html.js";
import { lineOf } from "../../charts/lines.js";
import { useLoaded } from "../../lib/live.js";
import { useSeries } from "../../charts/series.js";
import { lineClass } from "../../lib/theme.js";
import { Choice, Failure, Loading } from "../../ui.js";
import { NoSteps } from "./curves.js";
import { ChartCard } from "../../charts/card.js";

const WHOLE = "step";
const OTHER = "other";
const WAITING = -1; // grey

/** @typedef {{name: string, colour: number, words: string}} StepPart */
/** @typedef {"learner" | "engines"} Side */
/** @typedef {import("../../charts/catalogue.js").Catalogue} Catalogue */

/** @type {Record<Side, StepPart[]>} for each side, the parts of a step in order; they never overlap */
const SIDES = {
  learner: [
    { name: "waited_for_groups", colour: WAITING, words: "idle until the step's groups were ready" },
    { name: "update", colour: 2, words: "trained on the groups" },
    { name: "push", colour: 1, words: "sent the weights to the engines" },
    { name: "save", colour: 6, words: "wrote checkpoints" },
    { name: OTHER, colour: 8, words: "handed over data, wrote records" },
  ],
  engines: [
    { name: "push", colour: 1, words: "received the weights" },
    { name: "prompts", colour: 5, words: "idle until prompts were built" },
    { name: "rollout", colour: 3, words: "generated completions" },
    { name: "reward", colour: 4, words: "idle until the last completions were scored" },
    { name: "waited_for_update", colour: WAITING, words: "idle while the learner trained" },
    { name: OTHER, colour: 8, words: "waited for checkpoints and records" },
  ],
};
/** @type {[Side, string][]} */
const CHOICES = [
  ["learner", "Learner"],
  ["engines", "Engines"],
];
/** @type {[string, string][]} */
const LATEST = [
  ["50", "Last 50"],
  ["500", "Last 500"],
];

/** @param {import("./run.js").TabProps} props */
export function Clock({ run }) {
  const names = run.metric_names.filter((name) => name.startsWith("seconds/"));
  const [side, setSide] = useState(/** @type {Side} */ ("learner"));
  const [latest, setLatest] = useState("50");
  const [zoom, setZoom] = useState(/** @type {import("../../charts/chart.js").Zoom} */ (null));
  const { series, more, error } = useSeries([run.id], names, null);
  useEffect(() => void more(run.id, run.step), [run.step]);
  const known = useCatalogue();
  const lines = useMemo(() => stack(SIDES[side], series ?? [], known), [side, series, known]);
  // The server does not thin so few steps, so the means are exact, even for parts that only some steps have.
  const { data } = useLoaded(
    () =>
      names.length
        ? get("/api/series", { run: run.id, name: names, first_step: Math.max(0, run.step - Number(latest)) })
        : Promise.resolve([]), // the server refuses a request without metrics
    [run.step, latest, names.join()],
  );
  if (!names.includes(`seconds/${WHOLE}`)) return html`<${NoSteps} run=${run} />`;
  if (!series || !known) return html`<${Failure} error=${error} />${!error && html`<${Loading} />`}`;
  const csv = address(`/api/runs/${run.id}/metrics.csv`, { name: names });
  const means = meansOf(data ?? []);
  return html`<div class="clock">
    <div class="head"><h2>Shares of a step</h2><span class="soft">A step takes <b class="num">${duration(means.get(WHOLE))}</b>, without evaluations.</span>
      <span class="space"></span><${Choice} label="Which steps" choices=${LATEST} value=${latest} choose=${setLatest} /></div>
    <p class="soft">${overlap(run.config.train?.max_staleness > 0)}</p>
    ${data && html`<div class="columns even">${CHOICES.map(([name, words]) => html`<${Shares} key=${name} title=${words} shares=${sharesOf(SIDES[name], means)} known=${known} />`)}</div>`}
    <${ChartCard} title="Parts of each step" note="stacked; drag to zoom" file=${`${run.name}-clock`} csv=${csv}
      controls=${html`${zoom && html`<button onClick=${() => setZoom(null)}>Reset zoom</button>`}
        <${Choice} label="Whose parts" choices=${CHOICES} value=${side} choose=${setSide} />`}
      chart=${(/** @type {any} */ onPlot) =>
        html`<${Chart} label="Seconds of each part over steps, stacked" lines=${lines} axis="step" range="zero"
          format=${duration} stacked height=${260} zoom=${zoom} onZoom=${setZoom} onPlot=${onPlot} />`} />
  </div>`;
}

/** @param {boolean} ahead whether completions are generated a step ahead */
function overlap(ahead) {
  return ahead
    ? "Both sides work at once: while the learner trains on one step's groups, the engines generate those of the next. Their work for a step happens during the step before."
    : "The sides take turns: the learner is idle while the engines generate, and they are idle while it trains. Each table shows the same step from one side.";
}

/** @param {{title: string, shares: (StepPart & {seconds: number, share: number})[], known: Catalogue | null}} props */
function Shares({ title, shares, known }) {
  return html`<section class="card pad" aria-label=${title}>
    <h3>${title}</h3>
    <div class="split" role="img" aria-label=${shares.map((one) => `${partTitle(one.name, known)} ${percent(one.share)}`).join(", ")}>
      ${shares.map((one) => html`<${Part} key=${one.name} colour=${one.colour} share=${one.share} />`)}</div>
    <table class="shares"><thead class="sr"><tr><th scope="col">Part</th><th scope="col">Mean</th><th scope="col">Share</th></tr></thead>
      <tbody>${shares.map(
        (one) => html`<tr key=${one.name}>
        <td><span class="swatch ${lineClass(one.colour)}" aria-hidden="true"></span><span class="part">${partTitle(one.name, known)}</span> <span class="soft what">${one.words}</span></td>
        <td class="right num">${duration(one.seconds)}</td><td class="right num share">${percent(one.share)}</td></tr>`,
      )}</tbody></table>
  </section>`;
}

/** @param {{colour: number, share: number}} props */
function Part({ colour, share }) {
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    // The content policy forbids style attributes in HTML, but not setting styles by script.
    /** @type {HTMLElement} */ (ref.current).style.flexGrow = String(share);
  }, [share]);
  return html`<span ref=${ref} class=${lineClass(colour)}></span>`;
}

/** Return the mean seconds of each part. @param {import("../../lib/types.js").Series[]} series complete, not thinned */
function meansOf(series) {
  const count = series.find((one) => one.name === `seconds/${WHOLE}`)?.steps.length ?? 0;
  const sum = (/** @type {import("../../lib/types.js").Values} */ values) =>
    values.reduce((/** @type {number} */ total, value) => total + (value ?? 0), 0);
  return new Map(series.map((one) => [one.name.replace("seconds/", ""), sum(one.mean) / Math.max(1, count)]));
}

/**
 * Return a side's parts with their shares; the rest of the step is "other".
 *
 * Completions that were generated a step ahead may belong to a step outside the selected ones. So the parts may add up
 * to a little more than the step; then their sum is taken as the whole.
 *
 * @param {StepPart[]} parts
 * @param {Map<string, number>} means
 */
function sharesOf(parts, means) {
  const measured = parts.reduce((total, { name }) => total + (means.get(name) ?? 0), 0);
  const whole = Math.max(means.get(WHOLE) ?? 0, measured);
  return parts
    .map((part) => {
      const seconds = part.name === OTHER ? whole - measured : (means.get(part.name) ?? 0);
      return { ...part, seconds, share: whole ? seconds / whole : 0 };
    })
    .filter(({ share }) => share > 0);
}

/** Return the parts stacked on each other, topmost first. @param {StepPart[]} parts @param {import("../../lib/types.js").Series[]} series @param {Catalogue | null} known */
function stack(parts, series, known) {
  const of = new Map(series.map((one) => [one.name.replace("seconds/", ""), one]));
  const whole = of.get(WHOLE);
  if (!whole) return [];
  const heights = whole.steps.map(() => 0);
  const lines = parts.flatMap(({ name, colour }) => {
    const mine = of.get(name);
    if (!mine && name !== OTHER) return [];
    const at = new Map(mine?.steps.map((step, i) => [step, mine.mean[i] ?? 0]));
    whole.steps.forEach((step, i) => {
      if (name === OTHER) heights[i] = Math.max(heights[i], whole.mean[i] ?? 0);
      else heights[i] += at.get(step) ?? 0;
    });
    const now = [...heights];
    return lineOf({ ...whole, mean: now, low: now, high: now }, "step", partTitle(name, known), colour);
  });
  return lines.reverse();
}

/** @param {string} name of a part @param {Catalogue | null} known */
function partTitle(name, known) {
  return name === OTHER ? "Other" : titleOf(known, `seconds/${name}`);
}
