// State that views share: the user's role, the connection's state, the time, and data that is kept up to date.
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
/** Fetch the user's role. If reading needs a token and the user has none, the page shows the log-in form. */
export async function updateMe() {
  me.set(await get("/api/me"));
}
/** @typedef {"opening" | "live" | "lost" | "polling"} ConnectionState */
/** @type {Shared<ConnectionState>} */
export const connection = new Shared(/** @type {ConnectionState} */ ("opening"));
/** The server's reason for refusing the stream; empty if it accepts it. */
export const refusal = new Shared("");
/** Seconds since the epoch, updated every 5 seconds. */
export const now = new Shared(Date.now() / 1000);
window.setInterval(() => now.set(Date.now() / 1000), 5000);

/**
 * Report changes of one run or, without `run`, of the list of runs.
 *
 * Changes are collected for 150 ms, so that a burst of them causes one fetch.
 *
 * @param {number | undefined} run
 * @param {(changes: import("./types.js").Change[] | null) => void} tell gets null after a gap, when anything may have changed
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
        setConnection("live", "");
        if (before) latest.current(null);
        before = true;
      },
      connectionLost: () => setConnection("lost", ""),
      sessionExpired: () => {
        setConnection("opening", "");
        updateMe().catch(() => setConnection("lost", ""));
      },
      refused: (words) => {
        setConnection("polling", words);
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

/** @param {ConnectionState} state @param {string} words */
function setConnection(state, words) {
  connection.set(state);
  refusal.set(words);
}

/**
 * Return the data that `load` fetches. It is fetched again whenever `keys` change or `reload` is called; a response that
 * arrives after a newer request was sent is dropped.
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
