// The curves of some runs: fetched once, then only what is new.
import { get } from "./api.js";
import { useCallback, useEffect, useRef, useState } from "./html.js";
import { extended } from "./lines.js";

const MAX_POINTS = 500;
const MOST_NAMES = 60; // in one request

/** @typedef {import("./types.js").Series} Series */

/**
 * @param {number[]} runs
 * @param {string[]} names
 * @param {[number, number] | null} steps first and last one, to see them closer; null: all
 */
export function useSeries(runs, names, steps) {
  const [all, setAll] = useState(/** @type {Series[] | null} */ (null));
  const [closer, setCloser] = useState(/** @type {Series[] | null} */ (null));
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const known = useRef(/** @type {Series[]} */ ([]));
  const busy = useRef(false);
  const keys = `${runs.join()} ${names.join()}`;
  known.current = all ?? [];

  const reload = useCallback(async () => {
    try {
      setAll(await fetchSeries(runs, names, { max_points: MAX_POINTS }));
      setError(null);
    } catch (failure) {
      setError(/** @type {Error} */ (failure));
    }
  }, [keys]);

  /** Fetch what came after the last known step of `run`, which is now at `step`. */
  const more = useCallback(
    async (/** @type {number} */ run, /** @type {number} */ step) => {
      const mine = known.current.filter((series) => series.run_id === run);
      const last = Math.max(-1, ...mine.map((series) => series.steps.at(-1) ?? -1));
      const longest = Math.max(0, ...mine.map((series) => series.steps.length));
      if (busy.current) return;
      busy.current = true;
      try {
        // A run that was resumed from a checkpoint is back at an earlier step.
        if (last < 0 || step <= last || longest > 2 * MAX_POINTS) return await reload();
        const fresh = await fetchSeries([run], names, { max_points: MAX_POINTS, since_step: last });
        if (fresh.length) setAll((old) => joined(old ?? [], fresh));
      } catch {
        // The line shows as lost, and when it is back everything is fetched.
      } finally {
        busy.current = false;
      }
    },
    [keys, reload],
  );

  useEffect(() => {
    setAll(null);
    if (runs.length && names.length) reload();
    else setAll([]);
  }, [keys]);
  useEffect(() => {
    let mine = true;
    setCloser(null);
    if (steps && runs.length) {
      const [first_step, last_step] = steps;
      fetchSeries(runs, names, { max_points: MAX_POINTS, first_step, last_step }).then(
        (series) => mine && setCloser(series),
        () => {}, // the overview stays
      );
    }
    return () => void (mine = false);
  }, [keys, steps?.[0], steps?.[1]]);

  return { series: closer ?? all, error, more, reload };
}

/** @param {number[]} runs @param {string[]} names @param {import("./api.js").Query} query @returns {Promise<Series[]>} */
async function fetchSeries(runs, names, query) {
  const parts = [];
  for (let at = 0; at < names.length; at += MOST_NAMES) {
    parts.push(get("/api/series", { ...query, run: runs, name: names.slice(at, at + MOST_NAMES) }));
  }
  return (await Promise.all(parts)).flat();
}

/** Curves that got nothing new stay the same objects, so their charts are left alone. @param {Series[]} old @param {Series[]} fresh */
function joined(old, fresh) {
  const of = new Map(fresh.map((series) => [`${series.run_id} ${series.name}`, series]));
  const longer = old.map((series) => {
    const key = `${series.run_id} ${series.name}`;
    const more = of.get(key);
    of.delete(key);
    return more ? extended(series, more) : series;
  });
  return [...longer, ...of.values()];
}
