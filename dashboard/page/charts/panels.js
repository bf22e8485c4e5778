// Which metrics share a chart. Their titles and units come from the catalogue.
import { duration } from "../lib/format.js";
import { metricOf, titleOf } from "./catalogue.js";

/**
 * @typedef {object} Panel
 * @property {string} title
 * @property {string} [note] the unit, or what the lines are
 * @property {string} [meaning] meaning of the metric, shown as the tooltip of the title
 * @property {string[]} names names of metrics, in the order of their colours
 * @property {import("./chart.js").Range} range
 * @property {(value: number | null | undefined) => string} [format]
 */

/** @typedef {import("./catalogue.js").Catalogue} Catalogue */

/** @type {{take: RegExp, range: import("./chart.js").Range, title?: string, note?: string, format?: Panel["format"]}[]} with a title: several metrics in one chart */
const PANELS = [
  { title: "Reward", note: "mean, and per task", take: /^reward\//, range: "share" },
  { title: "Valid completions", note: "share, per task", take: /^valid\//, range: "share" },
  { take: /^policy\/entropy$/, range: "zero" },
  { take: /^policy\/kl$/, range: "zero" },
  { title: "Logprob gap", note: "engine against learner, nats", take: /^policy\/logprob_gap/, range: "zero" },
  {
    title: "Spread of rewards",
    note: "within a group, per task",
    take: /^spread\/|^groups\/without_spread$/,
    range: "share",
  },
  { title: "Parts of a step", note: "seconds", take: /^seconds\//, range: "zero", format: duration },
  { take: /^tokens_per_second$/, range: "zero" },
  { take: /^staleness\/mean$/, range: "zero" },
  { take: /^completion\/tokens$/, range: "zero" },
  { take: /^completion\/cut$/, range: "share" },
  { take: /^prompt\/tokens$/, range: "free" },
  { take: /^policy\/loss$/, range: "free" },
  { title: "Clipped", note: "share of tokens", take: /^policy\/clip_(low|high)_share$/, range: "zero" },
  { take: /^policy\/grad_norm$/, range: "zero" },
  { take: /^policy\/learning_rate$/, range: "zero" },
];

/** @type {Record<string, string>} */
const UNITS = {
  share: "share, 0 to 1",
  s: "seconds",
  "tokens/s": "tokens per second",
  "nats/token": "nats per token",
};

/**
 * The charts of a run in a fixed order: the usual ones, then one for each other metric.
 *
 * @param {string[]} names
 * @param {Catalogue | null} known
 * @returns {Panel[]}
 */
export function panels(names, known) {
  const left = new Set(names);
  const usual = PANELS.map(({ take, ...panel }) => {
    const mine = names.filter((name) => take.test(name)).sort(meanFirst);
    for (const name of mine) left.delete(name);
    return mine.length ? { ...single(mine[0], known), ...panel, names: mine } : null;
  });
  const others = [...left].sort().map((name) => single(name, known));
  return [...usual.flatMap((panel) => panel ?? []), ...others];
}

/** @param {string} name @param {Catalogue | null} known @returns {Panel} a chart of one metric */
function single(name, known) {
  const { unit = "", meaning = undefined } = metricOf(known, name) ?? {};
  return {
    title: titleOf(known, name),
    note: UNITS[unit] ?? unit,
    meaning,
    names: [name],
    range: rangeOf(name),
    format: unit === "s" ? duration : undefined,
  };
}

/**
 * The usual charts that a run has no data for, each with the reason if its config gives one.
 *
 * @param {string[]} names of the run's metrics
 * @param {import("../lib/types.js").Config} config
 * @param {Catalogue | null} known
 */
export function missing(names, config, known) {
  const metrics = [...(known?.values() ?? [])];
  return PANELS.filter(({ take }) => !names.some((name) => take.test(name))).flatMap(({ title, take }) => {
    const metric = metrics.find(({ name }) => take.test(name));
    if (!metric) return [];
    const off = metric.name === "policy/kl" && config.grpo?.kl_coef === 0;
    return `${title ?? metric.title}: ${off ? "not computed, because grpo.kl_coef is 0" : "not recorded"}`;
  });
}

/** @param {string} name @returns {import("./chart.js").Range} */
export function rangeOf(name) {
  return PANELS.find(({ take }) => take.test(name))?.range ?? "free";
}

/** Sort the mean first, so that it has the text's colour. @param {string} a @param {string} b */
function meanFirst(a, b) {
  return Number(isWhole(b)) - Number(isWhole(a)) || a.localeCompare(b);
}

/** Return whether a metric summarises the others in its chart. @param {string} name */
export function isWhole(name) {
  return name.endsWith("/mean") || name === "seconds/step" || name === "groups/without_spread";
}

/** @param {Panel} panel @param {string} name @param {Catalogue | null} known */
export function lineLabel(panel, name, known) {
  if (panel.names.length === 1) return panel.title.toLowerCase();
  const metric = metricOf(known, name);
  if (name.endsWith("/mean")) return "mean";
  if (!metric || metric.name !== name) return name.slice(name.indexOf("/") + 1).replaceAll("_", " ");
  return metric.title.replace(`${panel.title}, `, "").toLowerCase();
}
