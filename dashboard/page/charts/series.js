// The curves of some runs: fetched once, then only what is new.
import { get } from "../lib/api.js";
import { useCallback, useEffect, useRef, useState } from "../lib/html.js";
import { extended } from "./lines.js";

const MAX_POINTS = 500;
const MOST_NAMES = 60; // in one request

/** @typedef {import("../lib/types.js").Series} Series */

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
  const round = useRef(0); // answers of an earlier one are of other curves
  const busy = useRef(false);
  const waiting = useRef(/** @type {Map<number, number>} */ (new Map())); // steps of runs that went on meanwhile
  const keys = `${runs.join()} ${names.join()}`;
  known.current = all ?? [];

  /** One request at a time. @param {() => Promise<void>} ask @param {number} mine */
  const alone = async (ask, mine) => {
    busy.current = true;
    await ask();
    if (mine !== round.current) return;
    busy.current = false;
    const [next] = waiting.current;
    if (next) {
      waiting.current.delete(next[0]);
      more(...next);
    }
  };

  const reload = useCallback(() => {
    const mine = ++round.current;
    return alone(async () => {
      try {
        const found = await fetchSeries(runs, names, { max_points: MAX_POINTS });
        if (mine !== round.current) return;
        setAll(found);
        setError(null);
      } catch (failure) {
        if (mine === round.current) setError(/** @type {Error} */ (failure));
      }
    }, mine);
  }, [keys]);

  /** Fetch what came after the last known step of `run`, which is now at `step`. */
  const more = useCallback(
    (/** @type {number} */ run, /** @type {number} */ step) => {
      if (busy.current) return void waiting.current.set(run, step);
      const mine = known.current.filter((series) => series.run_id === run);
      const last = Math.max(-1, ...mine.map((series) => series.steps.at(-1) ?? -1));
      const longest = Math.max(0, ...mine.map((series) => series.steps.length));
      if (step === last + 1) return;
      // A run that was resumed from a checkpoint is back at an earlier step.
      if (last < 0 || step <= last || longest > 2 * MAX_POINTS) return void reload();
      const now = round.current;
      alone(async () => {
        const query = { max_points: MAX_POINTS, since_step: last };
        // If it fails, the line shows as lost, and when it is back everything is fetched.
        const fresh = await fetchSeries([run], names, query).catch(() => []);
        if (now === round.current && fresh.length) setAll((old) => joined(old ?? [], fresh));
      }, now);
    },
    [keys, reload],
  );

  useEffect(() => {
    setAll(null);
    waiting.current.clear();
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

/** @param {number[]} runs @param {string[]} names @param {import("../lib/api.js").Query} query @returns {Promise<Series[]>} */
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
