// What views share: who asks, whether the line stands, the time, and data that follows the server.
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
    for (const tell of [...this.watchers]) tell(value);
  }
}

/** @template T @param {Shared<T>} shared */
export function useShared(shared) {
  const [value, setValue] = useState(shared.value);
  useEffect(() => {
    setValue(() => shared.value);
    const tell = (/** @type {T} */ next) => setValue(() => next);
    shared.watchers.add(tell);
    return () => void shared.watchers.delete(tell);
  }, [shared]);
  return value;
}

/** @type {Shared<import("./types.js").Me | null>} */
export const me = new Shared(/** @type {import("./types.js").Me | null} */ (null));
/** Ask the server who looks: views follow, and where reading needs a token, the entrance does. */
export async function askWho() {
  me.set(await get("/api/me"));
}
/** @typedef {"opening" | "live" | "lost" | "polling"} LineState */
/** @type {Shared<LineState>} */
export const line = new Shared(/** @type {LineState} */ ("opening"));
/** Why the server gives no stream, in its words; empty: it does, or was not asked. */
export const refusal = new Shared("");
/** Seconds since the epoch, every few of them. */
export const now = new Shared(Date.now() / 1000);
window.setInterval(() => now.set(Date.now() / 1000), 5000);

/**
 * Follow the stream: of one run, or of all without `run`.
 *
 * Changes are gathered for a moment, so that a burst of them is one fetch.
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
          const told = gathered;
          [gathered, timer] = [[], 0];
          latest.current(told);
        }, 150);
      },
      opened: () => {
        heard("live", "");
        if (before) latest.current(null);
        before = true;
      },
      lost: () => heard("lost", ""),
      unknown: () => {
        heard("opening", "");
        askWho().catch(() => heard("lost", ""));
      },
      refused: (words) => {
        heard("polling", words);
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
function heard(state, words) {
  line.set(state);
  refusal.set(words);
}

/**
 * What `load` gives, again whenever `keys` change or `reload` is called. An answer that was overtaken is dropped.
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
