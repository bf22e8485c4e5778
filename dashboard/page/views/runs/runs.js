// The list of runs with their small curves, and the chart that compares ticked runs.
import { get } from "../../lib/api.js";
import { ago, doing, duration, score } from "../../lib/format.js";
import { html, useEffect, useState } from "../../lib/html.js";
import { now, useChanges, useLoaded, useShared } from "../../lib/live.js";
import { link, replace, useRoute } from "../../lib/router.js";
import { Spark } from "../../charts/spark.js";
import { Ago, Empty, Failure, Loading, Pages, Progress, State, STATES, useTitle } from "../../ui.js";
import { Compare } from "./compare.js";
import { StartDialog } from "./start.js";

const PAGE = 50;
const POINTS = 60;
const MAX_COMPARED = 8;
const NOTHING = html`<span class="soft">–</span>`;
/** @type {[string, string, string][]} sort key, heading, class */
const COLUMNS = [
  ["name", "Run", ""],
  ["state", "State", ""],
  ["step", "Progress", ""],
  ["", "Reward", ""],
  ["", "Last reward", ""],
  ["", "Per step · remaining", "right"],
  ["created_at", "Age", "right"],
];

export function Runs() {
  useTitle("Runs");
  const { query } = useRoute();
  const [text, sort] = [query.get("text") ?? "", query.get("sort") ?? "-created_at"];
  const [states, offset] = [query.getAll("state"), Number(query.get("offset") ?? 0)];
  const ticked = query.getAll("compare").map(Number);
  const [starting, setStarting] = useState(false);
  const { data, error, reload } = useLoaded(
    () => get("/api/runs", { text, state: states, sort, offset, limit: PAGE }),
    [text, states.join(), sort, offset],
  );
  const page =
    /** @type {import("../../lib/types.js").Page<import("../../lib/types.js").RunSummary> | undefined} */ (
      data
    );
  const curves = useCurves(page?.items ?? []);
  const [changes, setChanges] = useState(0);
  useChanges(undefined, () => {
    reload();
    setChanges((count) => count + 1);
  });

  /** @param {Record<string, any>} change */
  const choose = (change) =>
    replace(link(["runs"], { text, state: states, sort, offset, compare: ticked.map(String), ...change }));
  const tick = (/** @type {number} */ id) =>
    choose({
      compare: (ticked.includes(id)
        ? ticked.filter((other) => other !== id)
        : [...ticked, id].slice(-MAX_COMPARED)
      ).map(String),
    });

  return html`<section class="page" aria-labelledby="title">
    <div class="head">
      <h1 id="title">Runs</h1>
      ${page && html`<span class="soft num">${page.total}</span>`}
      <span class="space"></span>
      <button class="strong" onClick=${() => setStarting(true)}>Start a run</button>
    </div>
    <${Filter} text=${text} states=${states} choose=${choose} />
    ${ticked.length > 0 && html`<${Compare} key="compare" ids=${ticked} listed=${page?.items ?? []} changes=${changes} untick=${tick} clear=${() => choose({ compare: [] })} />`}
    <${Failure} error=${error} retry=${reload} />
    ${!page && !error && html`<${Loading} />`}
    ${page && page.items.length === 0 && html`<${NoRuns} filtered=${Boolean(text || states.length)} clear=${() => choose({ text: "", state: [], offset: 0 })} />`}
    ${
      page &&
      page.items.length > 0 &&
      html`
      <div class="card">
        <table class="runs">
          <${Heads} sort=${sort} choose=${choose} />
          <tbody>
            ${page.items.map((run) => html`<${Row} key=${run.id} run=${run} curve=${curves.get(run.id)} ticked=${ticked.includes(run.id)} tick=${tick} />`)}
          </tbody>
        </table>
      </div>
      <${Pages} page=${page} go=${(/** @type {number} */ to) => choose({ offset: to })} />`
    }
    ${starting && html`<${StartDialog} close=${() => setStarting(false)} />`}
  </section>`;
}

/** Small curves of the listed runs; a curve is fetched again when its run has new steps. @param {import("../../lib/types.js").RunSummary[]} runs */
function useCurves(runs) {
  const [curves, setCurves] = useState(
    /** @type {Map<number, import("../../lib/types.js").Curve & {at: number}>} */ (new Map()),
  );
  const wanted = runs.filter((run) => run.step > 0 && curves.get(run.id)?.at !== run.step);
  useEffect(() => {
    if (!wanted.length) return;
    get("/api/curves", { run: wanted.map((run) => run.id), name: "reward/mean", points: POINTS }).then(
      (/** @type {import("../../lib/types.js").Curve[]} */ found) =>
        setCurves((old) => {
          const next = new Map(old);
          for (const run of wanted) next.set(run.id, { run_id: run.id, steps: [], values: [], at: run.step });
          for (const curve of found)
            next.set(curve.run_id, { ...curve, at: next.get(curve.run_id)?.at ?? 0 });
          return next;
        }),
      () => {}, // the list shows its own error
    );
  }, [wanted.map((run) => `${run.id}:${run.step}`).join()]);
  return curves;
}

/** @param {{text: string, states: string[], choose: (change: object) => void}} props */
function Filter({ text, states, choose }) {
  const flip = (/** @type {string} */ state) =>
    choose({
      offset: 0,
      state: states.includes(state) ? states.filter((other) => other !== state) : [...states, state],
    });
  return html`<div class="bar" role="search">
    <label class="field"><span class="sr">Find a run by its name</span>
      <input type="search" placeholder="Find a run…" value=${text} onInput=${(/** @type {any} */ event) => choose({ text: event.target.value, offset: 0 })} />
    </label>
    <div class="chips" role="group" aria-label="Show only these states">
      ${STATES.map((state) => html`<button key=${state} class="chip" aria-pressed=${String(states.includes(state))} onClick=${() => flip(state)}><${State} state=${state} /></button>`)}
    </div>
  </div>`;
}

/** @param {{sort: string, choose: (change: object) => void}} props */
function Heads({ sort, choose }) {
  const [key, down] = [sort.replace("-", ""), sort.startsWith("-")];
  const by = (/** @type {string} */ name) =>
    choose({
      sort: name === key && !down ? `-${name}` : name === key ? name : name === "name" ? name : `-${name}`,
    });
  return html`<thead><tr>
    <th class="tick"><span class="sr">Compare</span></th>
    ${COLUMNS.map(([name, words, kind]) =>
      name
        ? html`<th key=${words} class=${kind} scope="col" aria-sort=${name === key ? (down ? "descending" : "ascending") : "none"}>
            <button class="sort" onClick=${() => by(name)}>${words}<span aria-hidden="true">${name === key && (down ? " ↓" : " ↑")}</span></button></th>`
        : html`<th key=${words} class=${kind} scope="col">${words}</th>`,
    )}
  </tr></thead>`;
}

/**
 * @param {object} props
 * @param {import("../../lib/types.js").RunSummary} props.run
 * @param {import("../../lib/types.js").Curve | undefined} props.curve
 * @param {boolean} props.ticked
 * @param {(id: number) => void} props.tick
 */
function Row({ run, curve, ticked, tick }) {
  const rewards = Object.entries(run.last_rewards).sort();
  const drawn = curve && curve.steps.length > 1;
  return html`<tr class=${run.state} data-run=${run.id}>
    <td class="tick"><input type="checkbox" aria-label=${`Compare ${run.name}`} checked=${ticked} onChange=${() => tick(run.id)} /></td>
    <td class="name"><a href=${link(["run", run.id])}>${run.name}</a><${Trouble} run=${run} /></td>
    <td class="where"><${State} state=${run.state} /></td>
    <td class="progress"><${Progress} step=${run.step} steps=${run.steps} state=${run.state} /></td>
    <td class=${drawn ? "curve" : "curve bare"}>
      ${drawn ? html`<${Spark} x=${curve.steps} y=${curve.values} label=${`Mean reward of ${run.name} over its steps`} />` : NOTHING}
    </td>
    <td class=${rewards.length ? "rewards" : "rewards bare"}>
      ${rewards.map(
        ([task, value]) =>
          html`<span key=${task} class="pair"><span class="soft">${task}</span> <b class="num">${score(value)}</b></span>`,
      )}
      ${!rewards.length && NOTHING}
    </td>
    <td class="pace right num">
      ${duration(run.seconds_per_step)}${run.eta_s !== null && html`<span class="soft"> · ${duration(run.eta_s)}</span>`}
    </td>
    <td class="age right num"><${Ago} time=${run.created_at} /></td>
  </tr>`;
}

/** @param {{run: import("../../lib/types.js").RunSummary}} props */
function Trouble({ run }) {
  const at = useShared(now);
  if (run.state === "failed" && run.failure)
    return html`<p class="trouble bad" title=${run.failure}>${run.failure}</p>`;
  if (doing(run)) return html`<p class="trouble soft">${doing(run)}</p>`;
  if (run.state === "stalled") {
    return html`<p class="trouble warn">${run.heartbeat_at ? `last seen ${ago(at - run.heartbeat_at)}` : "no sign of life yet"}</p>`;
  }
  return null;
}

/** @param {{filtered: boolean, clear: () => void}} props */
function NoRuns({ filtered, clear }) {
  if (filtered)
    return html`<${Empty} title="No run matches"><button onClick=${clear}>Show all runs</button><//>`;
  return html`<${Empty} title="No runs yet">Start one on the dashboard's machine: <code>videossr train configs/demo.yaml</code>. It appears here at once.<//>`;
}
