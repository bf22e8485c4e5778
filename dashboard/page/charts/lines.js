// Conversion of the server's series to the data of a chart. Pure functions.
import uPlot from "../vendor/uplot.js";

/** @typedef {import("../lib/types.js").Values} Values */
/**
 * @typedef {object} Line
 * @property {string} label
 * @property {number} colour see theme.lineColour
 * @property {number[]} x
 * @property {Values} mean
 * @property {Values} low lowest value of the steps that a point stands for
 * @property {Values} high
 */

export const SERIES_PER_LINE = 4; // smoothed, raw, low, high

/**
 * Return the exponential moving average, with bias correction so that the first values do not dominate.
 *
 * @param {Values} values
 * @param {number} weight weight of earlier values, 0 to 1
 */
export function smoothed(values, weight) {
  if (weight === 0) return values;
  let [sum, norm] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    norm = weight * norm + (1 - weight);
    return sum / norm;
  });
}

/**
 * Return one table for uPlot: x, then SERIES_PER_LINE columns per line.
 *
 * @param {Line[]} lines
 * @param {number} smoothing
 */
export function table(lines, smoothing) {
  const tables = lines.map((line) => {
    // A point that stands for one step has no band.
    const thinned = line.mean.map((value, i) => line.low[i] !== value || line.high[i] !== value);
    return [
      line.x,
      smoothed(line.mean, smoothing),
      smoothing ? line.mean : line.mean.map(() => null),
      line.low.map((value, i) => (thinned[i] ? value : null)),
      line.high.map((value, i) => (thinned[i] ? value : null)),
    ];
  });
  const same = tables.every(([x]) =>
    sameNumbers(/** @type {number[]} */ (x), /** @type {number[]} */ (tables[0][0])),
  );
  if (same) return [tables[0]?.[0] ?? [], ...tables.flatMap((columns) => columns.slice(1))];
  return uPlot.join(/** @type {any} */ (tables));
}

/** @param {number[]} a @param {number[]} b */
function sameNumbers(a, b) {
  return a === b || (a.length === b.length && a.every((value, i) => value === b[i]));
}

/** @typedef {"step" | "time"} Axis */

/**
 * @param {import("../lib/types.js").Series} series
 * @param {Axis} axis
 * @param {string} label
 * @param {number} colour
 * @param {number} [began] start time of the run, for a time axis
 * @returns {Line}
 */
export function lineOf(series, axis, label, colour, began = series.times[0] ?? 0) {
  const x = axis === "step" ? series.steps : series.times.map((time) => time - began);
  return { label, colour, x, mean: series.mean, low: series.low, high: series.high };
}

/**
 * Return `old` followed by `more`; where they overlap, `more` wins.
 *
 * @param {import("../lib/types.js").Series} old
 * @param {import("../lib/types.js").Series} more
 * @returns {import("../lib/types.js").Series}
 */
export function extended(old, more) {
  if (!more.steps.length) return old;
  const found = old.steps.findIndex((step) => step >= more.steps[0]);
  const kept = found < 0 ? old.steps.length : found;
  return {
    ...old,
    steps: [...old.steps.slice(0, kept), ...more.steps],
    times: [...old.times.slice(0, kept), ...more.times],
    mean: [...old.mean.slice(0, kept), ...more.mean],
    low: [...old.low.slice(0, kept), ...more.low],
    high: [...old.high.slice(0, kept), ...more.high],
  };
}
