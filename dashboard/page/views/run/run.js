// One run: a header with its state, and a tab for each of its views.
import { get } from "../../lib/api.js";
import { ago, dateTime, doing, duration } from "../../lib/format.js";
import { html, useEffect, useRef, useState } from "../../lib/html.js";
import { later } from "../../lib/later.js";
import { now, useChanges, useLoaded, useShared } from "../../lib/live.js";
import { link } from "../../lib/router.js";
import { Ago, Empty, Failure, Loading, Progress, State, useTitle } from "../../ui.js";
import { ActionButtons } from "./actions.js";
import { Curves } from "./curves.js";
import { neverBegan, Queued, NeverBegan, waitsFor } from "./queued.js";

/** @type {Record<string, [string, any]>} */
const TABS = {
  curves: ["Curves", Curves],
  clock: ["Clock", later(() => import("./clock.js").then((found) => found.Clock))],
  rollouts: ["Rollouts", later(() => import("../rollouts/rollouts.js").then((found) => found.Rollouts))],
  evaluations: ["Evaluations", later(() => import("./evaluations.js").then((found) => found.Evaluations))],
  workers: ["Workers", later(() => import("./workers.js").then((found) => found.Workers))],
  events: ["Events", later(() => import("./events.js").then((found) => found.Events))],
  config: ["Config", later(() => import("./config.js").then((found) => found.Config))],
};

const TABS_BEFORE_START = ["events", "config"]; // tabs that have content before the run begins

/**
 * The properties of each tab.
 *
 * @typedef {object} TabProps
 * @property {import("../../lib/types.js").RunDetail} run
 * @property {Record<string, number>} changes number of changes of each kind since the view opened
 */

/** @param {{id: number, tab: string}} props */
export function Run({ id, tab }) {
  const { data, error, reload } = useLoaded(() => get(`/api/runs/${id}`), [id]);
  const run = /** @type {import("../../lib/types.js").RunDetail | undefined} */ (data);
  useTitle(run?.name ?? `Run ${id}`, "Runs");
  const [changes, setChanges] = useState(/** @type {Record<string, number>} */ ({}));
  const tabs = useRef(/** @type {HTMLElement | null} */ (null));
  // A phone cannot show all tabs at once, so scroll to the current one.
  useEffect(
    () =>
      tabs.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" }),
    [tab, Boolean(run)],
  );
  useChanges(id, (changed) => {
    const what = new Set(
      changed
        ? changed.flatMap((change) => change.what)
        : ["run", "metrics", "events", "workers", "groups", "evaluations", "requests"],
    );
    if (what.has("run") || what.has("metrics")) reload();
    setChanges((old) =>
      Object.fromEntries(
        [...new Set([...Object.keys(old), ...what])].map((kind) => [
          kind,
          (old[kind] ?? 0) + Number(what.has(kind)),
        ]),
      ),
    );
  });
  if (!run) {
    if (/** @type {any} */ (error)?.status === 404) {
      return html`<div class="page"><${Empty} title=${`There is no run number ${id}`}><a href=${link(["runs"])}>All runs</a><//></div>`;
    }
    return html`<div class="page"><${Failure} error=${error} retry=${reload} />${!error && html`<${Loading} />`}</div>`;
  }
  const begun = run.state !== "queued" || run.step > 0;
  const [, View] = begun || TABS_BEFORE_START.includes(tab) ? (TABS[tab] ?? TABS.curves) : ["", Queued];
  return html`<section class="page" aria-labelledby="title">
    <${Header} run=${run} />
    <${Failure} error=${error} retry=${reload} />
    <nav class="tabs" ref=${tabs} aria-label="Views of this run">
      ${Object.entries(TABS).map(([name, [words]]) => html`<a key=${name} href=${link(["run", id, name])} aria-current=${name === tab ? "page" : undefined}>${words}</a>`)}
    </nav>
    <${View} key=${tab} run=${run} changes=${changes} />
  </section>`;
}

/** @param {{run: import("../../lib/types.js").RunDetail}} props */
function Header({ run }) {
  const active = run.state === "running" || run.state === "stalled";
  const end = run.ended_at ?? run.heartbeat_at;
  return html`<header class="run-head">
    <p class="crumbs"><a href=${link(["runs"])}>Runs</a> <span aria-hidden="true">/</span></p>
    <div class="head"><h1 id="title">${run.name}</h1><${State} state=${run.state} />${doing(run) && html`<span class="soft">${doing(run)}</span>`}<span class="space"></span><${ActionButtons} run=${run} /></div>
    <dl class="facts">
      <div class="wide"><dt>Progress</dt><dd><${Progress} step=${run.step} steps=${run.steps} state=${run.state} /></dd></div>
      <div><dt>Remaining</dt><dd class="num">${active ? duration(run.eta_s) : "–"}</dd></div>
      <div><dt>Per step</dt><dd class="num">${duration(run.seconds_per_step)}</dd></div>
      <div><dt>Created</dt><dd class="num"><${Ago} time=${run.created_at} /></dd></div>
      ${!active && run.started_at && end && html`<div><dt>${run.step ? "Last session" : "Duration"}</dt><dd class="num">${duration(end - run.started_at)}</dd></div>`}
      ${active && html`<div><dt>Last seen</dt><dd class="num"><${Ago} time=${run.heartbeat_at} /></dd></div>`}
      ${run.job_id && html`<div><dt>Ray job</dt><dd><code>${run.job_id}</code></dd></div>`}
      <div class="folder"><dt>Folder</dt><dd><code>${run.folder}</code></dd></div>
    </dl>
    ${run.state === "failed" && html`<div class="notice bad" role="alert"><b>Failed</b> <span>${run.failure ?? "without a reason. See the events."}</span></div>`}
    ${run.state === "queued" && run.step > 0 && html`<div class="notice"><b>Queued</b> <span>${waitsFor(run)}</span></div>`}
    ${run.state === "stalled" && html`<${Stalled} run=${run} />`}
  </header>`;
}

/** Explain why a run is stalled, and which buttons help. @param {{run: import("../../lib/types.js").RunDetail}} props */
function Stalled({ run }) {
  const at = useShared(now);
  const heard = run.heartbeat_at;
  if (neverBegan(run))
    return html`<div class="notice warn" role="alert"><b>Stalled</b> <span><${NeverBegan} run=${run} /></span></div>`;
  return html`<div class="notice warn" role="alert"><b>Stalled</b>
    <span>${
      run.silent
        ? html`No sign of life ${heard ? html`since ${dateTime(heard)} (${ago(at - heard)})` : "yet"}. ${SILENT}`
        : html`Its process is alive, but the current step takes much longer than usual${run.seconds_per_step !== null && ` (${duration(run.seconds_per_step)})`}. ${stuck(run.id)}`
    }</span>
  </div>`;
}

const SILENT = html`Its process may have been killed, or its machine lost. If it does not come back, <b>Resume</b> it from its last checkpoint.`;

/** @param {number} id */
function stuck(id) {
  return html`See its <a href=${link(["run", id, "workers"])}>workers</a> and last <a href=${link(["run", id, "events"])}>events</a>. If it does not recover, <b>Stop</b> it now and <b>Resume</b> it from its last checkpoint.`;
}
