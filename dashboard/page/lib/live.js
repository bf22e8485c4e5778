// State that views share: who is using the page, the connection's state, the time, and data that follows the server.
import { ApiError, get, listen } from "./api.js";
import { useEffect, useRef, useState } from "./html.js";

/** A value that views watch. @template T */
export class Shared {
  /** @param {T} value */
  constructor(value) {
    this.value = value;
    /** @type {Set<(value: T) => void>} */
    this.watchers = new Set();
  }

  /** @param {T} value */
  set(value) {
    if (Object.is(value, this.value)) return;
    this.value = value;
    for (const notify of [...this.watchers]) notify(value);
  }
}

/** @template T @param {Shared<T>} shared */
export function useShared(shared) {
  const [value, setValue] = useState(shared.value);
  useEffect(() => {
    setValue(() => shared.value);
    const notify = (/** @type {T} */ next) => setValue(() => next);
    shared.watchers.add(notify);
    return () => void shared.watchers.delete(notify);
  }, [shared]);
  return value;
}

/** @type {Shared<import("./types.js").Me | null>} */
export const me = new Shared(/** @type {import("./types.js").Me | null} */ (null));
/** Ask the server who is using the page. All views follow; where reading needs a token, the token form appears. */
export async function updateMe() {
  me.set(await get("/api/me"));
}
/** @typedef {"opening" | "live" | "lost" | "polling"} LineState */
/** @type {Shared<LineState>} */
export const line = new Shared(/** @type {LineState} */ ("opening"));
/** Why the server refuses the stream, in its words; empty: it does not. */
export const refusal = new Shared("");
/** Seconds since the epoch, updated every 5 seconds. */
export const now = new Shared(Date.now() / 1000);
window.setInterval(() => now.set(Date.now() / 1000), 5000);

/**
 * Follow the stream of changes of one run, or of the list of runs without `run`.
 *
 * Changes are gathered for a moment, so that a burst of them causes one fetch.
 *
 * @param {number | undefined} run
 * @param {(changes: import("./types.js").Change[] | null) => void} tell null: anything may have changed
 */
export function useChanges(run, tell) {
  const latest = useRef(tell);
  latest.current = tell;
  useEffect(() => {
    /** @type {import("./types.js").Change[]} */
    let gathered = [];
    let timer = 0;
    let before = false;
    const stop = listen({
      run,
      changed: (change) => {
        gathered.push(change);
        timer ||= window.setTimeout(() => {
          const batch = gathered;
          [gathered, timer] = [[], 0];
          latest.current(batch);
        }, 150);
      },
      opened: () => {
        setLine("live", "");
        if (before) latest.current(null);
        before = true;
      },
      lost: () => setLine("lost", ""),
      unknown: () => {
        setLine("opening", "");
        updateMe().catch(() => setLine("lost", ""));
      },
      refused: (words) => {
        setLine("polling", words);
        if (before) latest.current(null);
        before = true;
      },
    });
    return () => {
      window.clearTimeout(timer);
      stop();
    };
  }, [run]);
}

/** @param {LineState} state @param {string} words */
function setLine(state, words) {
  line.set(state);
  refusal.set(words);
}

/**
 * Return what `load` gives, loaded again whenever `keys` change or `reload` is called. Overtaken responses are dropped.
 *
 * @template T
 * @param {() => Promise<T>} load
 * @param {unknown[]} keys
 * @returns {{data: T | undefined, error: ApiError | null, reload: () => void, change: (change: (data: T) => T) => void}}
 */
export function useLoaded(load, keys) {
  const [state, setState] = useState(
    /** @type {{data: T | undefined, error: ApiError | null}} */ ({ data: undefined, error: null }),
  );
  const round = useRef(0);
  const fetchNow = useRef(() => {});
  fetchNow.current = () => {
    const mine = ++round.current;
    load().then(
      (data) => mine === round.current && setState({ data, error: null }),
      (error) => mine === round.current && setState((old) => ({ data: old.data, error })),
    );
  };
  useEffect(() => {
    fetchNow.current();
    return () => void round.current++;
  }, keys);
  const change = (/** @type {(data: T) => T} */ edit) =>
    setState((old) => (old.data === undefined ? old : { data: edit(old.data), error: old.error }));
  return { ...state, reload: () => fetchNow.current(), change };
}
