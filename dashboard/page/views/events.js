// What happened, in words; and what people asked for.
import { get } from "../api.js";
import { dateTime, timeOfDay } from "../format.js";
import { html, useEffect, useMemo, useState } from "../html.js";
import { useLoaded } from "../live.js";
import { Empty, Failure, Loading } from "../ui.js";

const LIMIT = 200;
const BAD = /fail|error|broke|crash|killed|lost|died|dead/i;
const WARN = /restart|retry|timeout|skipped|silent|stalled|set_aside|unreadable/i;

/** @typedef {import("../types.js").EventRecord} Entry */

/** @param {import("./run.js").TabProps} props */
export function Events({ run, changes }) {
  const [text, setText] = useState("");
  const [kinds, setKinds] = useState(/** @type {string[]} */ ([]));
  const path = `/api/runs/${run.id}/events`;
  const { data, error, reload, change } = useLoaded(() => get(path, { limit: LIMIT }), [run.id]);
  const events = /** @type {Entry[] | undefined} */ (data);
  const [whole, setWhole] = useState(false);
  useEffect(() => {
    if (!changes.events || !events) return;
    const last = events.at(-1)?.id;
    if (!last) return reload();
    get(path, { after_id: last, limit: LIMIT }).then(
      (more) => more.length && change((old) => [...old, ...more]),
      () => {},
    );
  }, [changes.events]);
  const older = async () => {
    const found = /** @type {Entry[]} */ (await get(path, { before_id: events?.[0]?.id, limit: LIMIT }));
    setWhole(found.length < LIMIT);
    change((old) => [...found, ...old]);
  };
  const known = useMemo(() => [...new Set((events ?? []).map((event) => event.kind))].sort(), [events]);
  const shown = (events ?? []).filter(
    (event) =>
      (!kinds.length || kinds.includes(event.kind)) &&
      `${event.kind} ${event.message}`.toLowerCase().includes(text.toLowerCase()),
  );
  const flip = (/** @type {string} */ kind) =>
    setKinds(kinds.includes(kind) ? kinds.filter((one) => one !== kind) : [...kinds, kind]);
  return html`
    <div class="bar">
      <label class="field"><span class="sr">Find in events</span><input type="search" placeholder="Find in events…" value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)} /></label>
      <div class="chips" role="group" aria-label="Show only these kinds">${known.map((kind) => html`<button key=${kind} class="chip" aria-pressed=${String(kinds.includes(kind))} onClick=${() => flip(kind)}>${words(kind)}</button>`)}</div>
    </div>
    <${Failure} error=${error} retry=${reload} />
    ${!events && !error && html`<${Loading} />`}
    ${events && !shown.length && html`<${Empty} title=${events.length ? "No event is like that" : "No events yet"}>${events.length ? "Take a filter away." : "A run says here what it does and what went wrong."}<//>`}
    ${
      shown.length > 0 &&
      html`<ol class="card events" aria-label="Events, newest first">
      ${[...shown].reverse().map(
        (event) => html`<li key=${event.id} class=${severity(event)}>
        <time title=${dateTime(event.time)}>${timeOfDay(event.time)}</time><span class="kind">${words(event.kind)}</span><span class="message">${event.message}</span></li>`,
      )}
    </ol>`
    }
    ${events && events.length >= LIMIT && !whole && html`<nav class="pages"><button onClick=${older}>Older events</button></nav>`}
    <${Asked} run=${run} changes=${changes} />`;
}

/** @param {import("./run.js").TabProps} props */
function Asked({ run, changes }) {
  const { data, reload } = useLoaded(() => get(`/api/runs/${run.id}/requests`), [run.id]);
  useEffect(() => void (changes.requests && reload()), [changes.requests]);
  const requests = /** @type {import("../types.js").Request[]} */ (data ?? []);
  if (!requests.length) return null;
  return html`<h2>Actions</h2><div class="card"><table class="stack">
    <thead><tr>${["Asked", "Action", "By", "Outcome"].map((head) => html`<th key=${head} scope="col">${head}</th>`)}</tr></thead>
    <tbody>${requests.map(
      (request) => html`<tr key=${request.id}>
      <td data-head="Asked" class="num">${dateTime(request.asked_at)}</td><td data-head="Action">${request.action}</td><td data-head="By">${request.asked_by}</td>
      <td data-head="Outcome">${request.outcome ?? (request.taken_at ? "under way" : "waits for the run")}</td></tr>`,
    )}</tbody>
  </table></div>`;
}

/** @param {Entry} event */
function severity(event) {
  return BAD.test(event.kind) ? "bad" : WARN.test(event.kind) ? "warn" : "";
}

/** @param {string} kind */
function words(kind) {
  return kind.replaceAll("_", " ");
}
