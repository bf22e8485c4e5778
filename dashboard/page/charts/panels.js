// Which metrics stand in one chart, and what they are called.
import { duration } from "../lib/format.js";

/**
 * @typedef {object} Panel
 * @property {string} title
 * @property {string} [note]
 * @property {string[]} names of metrics, in the order of their colours
 * @property {import("./chart.js").Range} range
 * @property {(value: number | null | undefined) => string} [format]
 */

/** @type {(Omit<Panel, "names"> & {take: RegExp})[]} */
const PANELS = [
  { title: "Reward", note: "mean, and per task", take: /^reward\//, range: "share" },
  { title: "Valid answers", note: "share of the task's form", take: /^valid\//, range: "share" },
  { title: "Entropy", note: "nats a token", take: /^policy\/entropy$/, range: "zero" },
  { title: "KL", note: "to the reference", take: /^policy\/kl$/, range: "zero" },
  { title: "Logprob gap", note: "engine against learner", take: /^policy\/logprob_gap/, range: "zero" },
  {
    title: "Spread of rewards",
    note: "in a group; groups without any",
    take: /^spread\/|^groups\/without_spread$/,
    range: "share",
  },
  { title: "Seconds per phase", take: /^seconds\//, range: "zero", format: duration },
  { title: "Throughput", note: "tokens per second", take: /^tokens_per_second$/, range: "zero" },
  { title: "Staleness", note: "policy versions", take: /^staleness\//, range: "zero" },
  { title: "Completion length", note: "tokens", take: /^completion\/tokens$/, range: "zero" },
  {
    title: "Completions cut off",
    note: "share at the length limit",
    take: /^completion\/cut$/,
    range: "share",
  },
  { title: "Prompt length", note: "tokens", take: /^prompt\/tokens$/, range: "free" },
  { title: "Loss", take: /^policy\/loss$/, range: "free" },
  { title: "Clipped", note: "share of tokens", take: /^policy\/clip_(low|high)_share$/, range: "zero" },
  { title: "Gradient norm", take: /^policy\/grad_norm$/, range: "zero" },
  { title: "Learning rate", take: /^policy\/learning_rate$/, range: "zero" },
];

/** The charts of a run, in a fixed order: known ones, then a chart for each other metric. @param {string[]} names @returns {Panel[]} */
export function panels(names) {
  const left = new Set(names);
  const known = PANELS.map(({ take, ...panel }) => {
    const mine = names.filter((name) => take.test(name)).sort(meanFirst);
    for (const name of mine) left.delete(name);
    return { ...panel, names: mine };
  });
  const others = [...left].sort().map((name) => ({ title: name, names: [name], range: rangeOf(name) }));
  return [...known.filter((panel) => panel.names.length), ...others];
}

/**
 * The usual charts that a run has nothing for, each with the reason where its config tells it.
 *
 * @param {string[]} names of its metrics
 * @param {import("../lib/types.js").Config} config
 */
export function missing(names, config) {
  return PANELS.filter(({ take }) => !names.some((name) => take.test(name))).map(
    ({ title }) =>
      `${title}: ${title === "KL" && config.grpo?.kl_coef === 0 ? "not computed, grpo.kl_coef is 0" : "not recorded"}`,
  );
}

/** @param {string} name @returns {import("./chart.js").Range} */
export function rangeOf(name) {
  return PANELS.find(({ take }) => take.test(name))?.range ?? "free";
}

/** The mean comes first, in the text's colour. @param {string} a @param {string} b */
function meanFirst(a, b) {
  return Number(isWhole(b)) - Number(isWhole(a)) || a.localeCompare(b);
}

/** @param {string} name */
export function isWhole(name) {
  return name.endsWith("/mean") || name === "seconds/step" || name === "groups/without_spread";
}

/** @param {Panel} panel @param {string} name */
export function lineLabel(panel, name) {
  if (name === "groups/without_spread") return "without spread";
  return panel.names.length > 1
    ? name
        .slice(name.indexOf("/") + 1)
        .replace(/^logprob_gap_|^clip_|_share$/g, "")
        .replaceAll("_", " ")
    : panel.title.toLowerCase();
}
