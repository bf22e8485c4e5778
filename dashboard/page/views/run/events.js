// The run's events in words, and the requests to it.
import { get } from "../../lib/api.js";
import { dateTime, timeOfDay } from "../../lib/format.js";
import { html, useEffect, useMemo, useState } from "../../lib/html.js";
import { useLoaded } from "../../lib/live.js";
import { Empty, Failure, Loading, Pages } from "../../ui.js";
import { Requests } from "../requests.js";
import { eventSeverity, eventTitle } from "./event_kinds.js";

const LIMIT = 200;
const REQUESTS_PER_PAGE = 50;
/** @type {Record<import("./event_kinds.js").Severity, string>} CSS classes */
const CLASSES = { info: "", warn: "warn", error: "bad" };

/** @typedef {import("../../lib/types.js").EventRecord} Entry */

/** @param {import("./run.js").TabProps} props */
export function Events({ run, changes }) {
  const [text, setText] = useState("");
  const [titles, setTitles] = useState(/** @type {string[]} */ ([]));
  const path = `/api/runs/${run.id}/events`;
  const { data, error, reload, change } = useLoaded(() => get(path, { limit: LIMIT }), [run.id]);
  const events = /** @type {Entry[] | undefined} */ (data);
  const [whole, setWhole] = useState(false);
  useEffect(() => {
    if (!changes.events || !events) return;
    const last = events.at(-1)?.id;
    if (!last) return reload();
    // If this fails, the connection shows as lost; once it is back, everything counts as changed.
    newer(last).catch(() => {});
  }, [changes.events]);
  const newer = async (/** @type {number} */ last) => {
    for (let full = true; full;) {
      const found = /** @type {Entry[]} */ (await get(path, { after_id: last, limit: LIMIT }));
      // Another change may have brought the same events in the meantime.
      change((old) => [...old, ...found.filter((event) => event.id > (old.at(-1)?.id ?? 0))]);
      full = found.length === LIMIT;
      last = found.at(-1)?.id ?? last;
    }
  };
  const older = async () => {
    const found = /** @type {Entry[]} */ (await get(path, { before_id: events?.[0]?.id, limit: LIMIT }));
    setWhole(found.length < LIMIT);
    change((old) => [...found.filter((event) => event.id < (old[0]?.id ?? Infinity)), ...old]);
  };
  const known = useMemo(
    () => [...new Set((events ?? []).map((event) => eventTitle(event.kind)))].sort(),
    [events],
  );
  const shown = (events ?? []).filter(
    (event) =>
      (!titles.length || titles.includes(eventTitle(event.kind))) &&
      `${eventTitle(event.kind)} ${event.message}`.toLowerCase().includes(text.toLowerCase()),
  );
  const flip = (/** @type {string} */ title) =>
    setTitles(titles.includes(title) ? titles.filter((one) => one !== title) : [...titles, title]);
  return html`
    <div class="bar">
      <label class="field"><span class="sr">Find in events</span><input type="search" placeholder="Find in events…" value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)} /></label>
      <div class="chips" role="group" aria-label="Show only these kinds">${known.map((title) => html`<button key=${title} class="chip" aria-pressed=${String(titles.includes(title))} onClick=${() => flip(title)}>${title}</button>`)}</div>
    </div>
    <${Failure} error=${error} retry=${reload} />
    ${!events && !error && html`<${Loading} />`}
    ${events && !shown.length && html`<${Empty} title=${events.length ? "No event matches" : "No events yet"}>${events.length ? "Remove a filter." : "A run reports here what it does and what goes wrong."}<//>`}
    ${
      shown.length > 0 &&
      html`<ol class="card events" aria-label="Events, newest first">
      ${[...shown].reverse().map(
        (event) => html`<li key=${event.id} class=${CLASSES[eventSeverity(event.kind)]}>
        <time title=${dateTime(event.time)}>${timeOfDay(event.time)}</time><span class="kind">${eventTitle(event.kind)}</span><span class="message">${event.message}</span></li>`,
      )}
    </ol>`
    }
    ${events && events.length >= LIMIT && !whole && html`<nav class="pages"><button onClick=${older}>Older events</button></nav>`}
    <${RequestList} run=${run} changes=${changes} />`;
}

/** @param {import("./run.js").TabProps} props */
function RequestList({ run, changes }) {
  const [offset, setOffset] = useState(0);
  const { data, reload } = useLoaded(
    () => get(`/api/runs/${run.id}/requests`, { offset, limit: REQUESTS_PER_PAGE }),
    [run.id, offset],
  );
  useEffect(() => void (changes.requests && reload()), [changes.requests]);
  const page =
    /** @type {import("../../lib/types.js").Page<import("../../lib/types.js").Request> | undefined} */ (data);
  if (!page?.total) return null;
  return html`<h2>Requests</h2><${Requests} requests=${page.items} ofRun /><${Pages} page=${page} go=${setOffset} />`;
}
