// Curves of runs. They are fetched once; after that, only new points are fetched.
import { get } from "../lib/api.js";
import { useCallback, useEffect, useRef, useState } from "../lib/html.js";
import { extended } from "./lines.js";

const MAX_POINTS = 500;
const MAX_NAMES = 60; // per request

/** @typedef {import("../lib/types.js").Series} Series */

/**
 * @param {number[]} runs
 * @param {string[]} names
 * @param {[number, number] | null} steps first and last step to show in detail; null: all
 */
export function useSeries(runs, names, steps) {
  const [all, setAll] = useState(/** @type {Series[] | null} */ (null));
  const [closer, setCloser] = useState(/** @type {Series[] | null} */ (null));
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const known = useRef(/** @type {Series[]} */ ([]));
  const round = useRef(0); // number of the current selection; responses to an earlier one are dropped
  const busy = useRef(false);
  const waiting = useRef(/** @type {Map<number, number>} */ (new Map())); // newest step of each run that changed during a request
  const keys = `${runs.join()} ${names.join()}`;
  known.current = all ?? [];

  /** Run one request at a time. @param {() => Promise<void>} request @param {number} mine */
  const alone = async (request, mine) => {
    busy.current = true;
    await request();
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
      // A run that resumed from a checkpoint has gone back to an earlier step.
      if (last < 0 || step <= last || longest > 2 * MAX_POINTS) return void reload();
      const now = round.current;
      alone(async () => {
        const query = { max_points: MAX_POINTS, since_step: last };
        // If this fails, the page shows the lost connection, and fetches everything when it is restored.
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
  for (let at = 0; at < names.length; at += MAX_NAMES) {
    parts.push(get("/api/series", { ...query, run: runs, name: names.slice(at, at + MAX_NAMES) }));
  }
  return (await Promise.all(parts)).flat();
}

/** Merge new points. Curves without new points stay the same objects, so their charts are not redrawn. @param {Series[]} old @param {Series[]} fresh */
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
