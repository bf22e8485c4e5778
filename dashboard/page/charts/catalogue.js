// The catalogue of metrics: titles, units and meanings, fetched once. The server reads it from vocabulary/metrics.py.
import { get } from "../lib/api.js";
import { useEffect } from "../lib/html.js";
import { Shared, useShared } from "../lib/live.js";

/** @typedef {import("../lib/types.js").MetricInfo} MetricInfo */
/** @typedef {Map<string, MetricInfo>} Catalogue by name; "reward/{task}" stands for one metric per task */

/** @type {Shared<Catalogue | null>} */
const catalogue = new Shared(/** @type {Catalogue | null} */ (null));
let requested = false;

/** Return the catalogue, or null until it is loaded. Without it, metrics are shown by their names. */
export function useCatalogue() {
  useEffect(() => {
    if (requested) return;
    requested = true;
    get("/api/metrics").then(
      (/** @type {MetricInfo[]} */ found) =>
        catalogue.set(new Map(found.map((metric) => [metric.name, metric]))),
      () => {
        requested = false;
        catalogue.set(new Map());
      },
    );
  }, []);
  return useShared(catalogue);
}

/** @param {Catalogue | null} known @param {string} name as recorded @returns {MetricInfo | undefined} */
export function metricOf(known, name) {
  return known?.get(name) ?? known?.get(`${name.split("/")[0]}/{task}`);
}

/** "reward/jigsaw" → "Mean reward: jigsaw". @param {Catalogue | null} known @param {string} name */
export function titleOf(known, name) {
  const metric = metricOf(known, name);
  if (!metric) return name;
  return metric.name === name
    ? metric.title
    : `${metric.title.replace(/ by task$/, "")}: ${name.slice(name.indexOf("/") + 1)}`;
}
