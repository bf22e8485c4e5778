// Where the time of a step goes, as the learner and as the engines see it: each side's phases add up to a whole step.
import { address, get } from "../../lib/api.js";
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

/** @typedef {{name: string, colour: number, words: string}} Phase */
/** @typedef {"learner" | "engines"} Side */

/** @type {Record<Side, Phase[]>} what never happens at once on a side, in the order of a step */
const SIDES = {
  learner: [
    { name: "waited_for_groups", colour: WAITING, words: "stood still until the answers were there" },
    { name: "update", colour: 2, words: "trained" },
    { name: "push", colour: 1, words: "sent its weights to the engines" },
    { name: "save", colour: 6, words: "wrote checkpoints" },
    { name: OTHER, colour: 8, words: "passed things on, wrote records" },
  ],
  engines: [
    { name: "push", colour: 1, words: "received the weights" },
    { name: "prompts", colour: 5, words: "stood still until prompts were made" },
    { name: "rollout", colour: 3, words: "answered" },
    { name: "reward", colour: 4, words: "stood still until the last answers were scored" },
    { name: "waited_for_update", colour: WAITING, words: "had nothing to do while the learner trained" },
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
  const lines = useMemo(() => stack(SIDES[side], series ?? []), [side, series]);
  // So few steps come whole, so a phase that only some steps have weighs as little as it should.
  const { data } = useLoaded(
    () =>
      names.length
        ? get("/api/series", { run: run.id, name: names, first_step: Math.max(0, run.step - Number(latest)) })
        : Promise.resolve([]), // the server has nothing to say of no metric
    [run.step, latest, names.join()],
  );
  if (!names.includes(`seconds/${WHOLE}`)) return html`<${NoSteps} run=${run} />`;
  if (!series) return html`<${Failure} error=${error} />${!error && html`<${Loading} />`}`;
  const csv = address(`/api/runs/${run.id}/metrics.csv`, { name: names });
  const means = meansOf(data ?? []);
  return html`<div class="clock">
    <div class="head"><h2>Shares of a step</h2><span class="soft">A whole step takes <b class="num">${duration(means.get(WHOLE))}</b>, evaluations left out.</span>
      <span class="space"></span><${Choice} label="Of which steps" choices=${LATEST} value=${latest} choose=${setLatest} /></div>
    <p class="soft">${overlap(run.config.train?.max_staleness > 0)}</p>
    ${data && html`<div class="columns even">${CHOICES.map(([name, words]) => html`<${Shares} key=${name} title=${words} shares=${sharesOf(SIDES[name], means)} />`)}</div>`}
    <${ChartCard} title="Phases of each step" note="stacked; drag to zoom" file=${`${run.name}-clock`} csv=${csv}
      controls=${html`${zoom && html`<button onClick=${() => setZoom(null)}>Reset zoom</button>`}
        <${Choice} label="Whose phases" choices=${CHOICES} value=${side} choose=${setSide} />`}
      chart=${(/** @type {any} */ onPlot) =>
        html`<${Chart} label="Seconds of each phase over steps, stacked" lines=${lines} axis="step" range="zero"
          format=${duration} stacked height=${260} zoom=${zoom} onZoom=${setZoom} onPlot=${onPlot} />`} />
  </div>`;
}

/** @param {boolean} ahead whether answers are made a step ahead */
function overlap(ahead) {
  return ahead
    ? "Both sides work at once: while the learner trains on one step's answers, the engines make those of the next. What they did for a step passed during the step before."
    : "The sides take turns: the learner stands still while the engines answer, and they have nothing to do while it trains. Each table tells the same step from one side.";
}

/** @param {{title: string, shares: (Phase & {seconds: number, share: number})[]}} props */
function Shares({ title, shares }) {
  return html`<section class="card pad" aria-label=${title}>
    <h3>${title}</h3>
    <div class="split" role="img" aria-label=${shares.map((one) => `${said(one.name)} ${percent(one.share)}`).join(", ")}>
      ${shares.map((one) => html`<${Part} key=${one.name} colour=${one.colour} share=${one.share} />`)}</div>
    <table class="shares"><thead class="sr"><tr><th scope="col">Phase</th><th scope="col">Mean</th><th scope="col">Share</th></tr></thead>
      <tbody>${shares.map(
        (one) => html`<tr key=${one.name}>
        <td><span class="swatch ${lineClass(one.colour)}" aria-hidden="true"></span><span class="phase">${said(one.name)}</span> <span class="soft what">${one.words}</span></td>
        <td class="right num">${duration(one.seconds)}</td><td class="right num share">${percent(one.share)}</td></tr>`,
      )}</tbody></table>
  </section>`;
}

/** @param {{colour: number, share: number}} props */
function Part({ colour, share }) {
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    // The content policy forbids style attributes; the object model is allowed.
    /** @type {HTMLElement} */ (ref.current).style.flexGrow = String(share);
  }, [share]);
  return html`<span ref=${ref} class=${lineClass(colour)}></span>`;
}

/** Mean seconds of each phase. @param {import("../../lib/types.js").Series[]} series whole, not thinned */
function meansOf(series) {
  const count = series.find((one) => one.name === `seconds/${WHOLE}`)?.steps.length ?? 0;
  const sum = (/** @type {import("../../lib/types.js").Values} */ values) =>
    values.reduce((/** @type {number} */ total, value) => total + (value ?? 0), 0);
  return new Map(series.map((one) => [one.name.replace("seconds/", ""), sum(one.mean) / Math.max(1, count)]));
}

/**
 * A side's phases with what is left of a step as "other": together they are the whole.
 *
 * Answers made a step ahead may belong to a step outside those looked at, so together phases may be a little more than
 * a step: then they are the whole.
 *
 * @param {Phase[]} phases
 * @param {Map<string, number>} means
 */
function sharesOf(phases, means) {
  const told = phases.reduce((total, { name }) => total + (means.get(name) ?? 0), 0);
  const whole = Math.max(means.get(WHOLE) ?? 0, told);
  return phases
    .map((phase) => {
      const seconds = phase.name === OTHER ? whole - told : (means.get(phase.name) ?? 0);
      return { ...phase, seconds, share: whole ? seconds / whole : 0 };
    })
    .filter(({ share }) => share > 0);
}

/** Each phase on top of those before it, topmost first. @param {Phase[]} phases @param {import("../../lib/types.js").Series[]} series */
function stack(phases, series) {
  const of = new Map(series.map((one) => [one.name.replace("seconds/", ""), one]));
  const whole = of.get(WHOLE);
  if (!whole) return [];
  const heights = whole.steps.map(() => 0);
  const lines = phases.flatMap(({ name, colour }) => {
    const mine = of.get(name);
    if (!mine && name !== OTHER) return [];
    const at = new Map(mine?.steps.map((step, i) => [step, mine.mean[i] ?? 0]));
    whole.steps.forEach((step, i) => {
      if (name === OTHER) heights[i] = Math.max(heights[i], whole.mean[i] ?? 0);
      else heights[i] += at.get(step) ?? 0;
    });
    const now = [...heights];
    return lineOf({ ...whole, mean: now, low: now, high: now }, "step", said(name), colour);
  });
  return lines.reverse();
}

/** @param {string} name */
function said(name) {
  return name.replaceAll("_", " ");
}
