// Several runs in one chart.
import { get } from "../../lib/api.js";
import { titleOf, useCatalogue } from "../../charts/catalogue.js";
import { Chart } from "../../charts/chart.js";
import { csvOf } from "../../lib/csv.js";
import { html, useEffect, useMemo, useRef, useState } from "../../lib/html.js";
import { lineOf } from "../../charts/lines.js";
import { useSeries } from "../../charts/series.js";
import { Choice, Empty, Failure, Loading, Select } from "../../ui.js";
import { rangeOf } from "../../charts/panels.js";
import { ChartCard, Smoothing } from "../../charts/card.js";

/**
 * @param {object} props
 * @param {number[]} props.ids
 * @param {import("../../lib/types.js").RunSummary[]} props.listed runs of the list, with their current steps
 * @param {number} props.changes grows when any run changes
 * @param {(id: number) => void} props.untick
 * @param {() => void} props.clear
 */
export function Compare({ ids, listed, changes, untick, clear }) {
  const [metric, setMetric] = useState("reward/mean");
  const [axis, setAxis] = useState(/** @type {import("../../charts/lines.js").Axis} */ ("step"));
  const [smoothing, setSmoothing] = useState(0.6);
  const [zoom, setZoom] = useState(/** @type {import("../../charts/chart.js").Zoom} */ (null));
  const known = useCatalogue();
  const title = titleOf(known, metric);
  const summaries = new Map(listed.map((run) => [run.id, run]));
  const { runs, error } = useDetails(ids, summaries);
  const { series, more, error: noSeries } = useSeries(ids, [metric], null);
  useEffect(() => {
    for (const run of runs) {
      // A run that is not on the list's page may have new steps too.
      const now = summaries.get(run.id) ?? { ...run, step: Infinity };
      if (now.state === "running") more(run.id, now.step);
    }
  }, [changes, listed]);

  const names = useMemo(
    () => [...new Set([metric, ...runs.flatMap((run) => run.metric_names)])].sort(),
    [runs.length, ids.join(), metric],
  );
  const nameOf = (/** @type {number} */ id) => runs.find((run) => run.id === id)?.name ?? `#${id}`;
  const lines = useMemo(
    () => (series ?? []).map((one) => lineOf(one, axis, nameOf(one.run_id), ids.indexOf(one.run_id) + 1)),
    [series, axis, runs.length, ids.join()],
  );
  const csv = () => csvOf(tableOf(series ?? [], nameOf));
  return html`<section class="compare" aria-label="Comparison of runs">
    <${ChartCard} title=${`${ids.length === 1 ? "1 run" : `${ids.length} runs`}: ${title}`} file=${`compare-${metric}`} csv=${csv}
      controls=${html`
        <${Select} label="Metric" hidden options=${names.map((name) => [name, titleOf(known, name)])} value=${metric} choose=${(/** @type {string} */ name) => (setMetric(name), setZoom(null))} />
        <${Choice} label="Axis" choices=${[
          ["step", "Step"],
          ["time", "Time"],
        ]} value=${axis} choose=${(/** @type {any} */ name) => (setAxis(name), setZoom(null))} />
        <${Smoothing} value=${smoothing} choose=${setSmoothing} />
        ${zoom && html`<button onClick=${() => setZoom(null)}>Reset zoom</button>`}
        <button onClick=${clear}>Close</button>`}
      chart=${(/** @type {any} */ onPlot) =>
        !series
          ? html`<${Loading} />`
          : lines.length
            ? html`<${Chart} label=${`${title} of ${ids.length} runs`} lines=${lines} axis=${axis} smoothing=${smoothing} range=${rangeOf(metric)} zoom=${zoom} onZoom=${setZoom} height=${260} onPlot=${onPlot} />`
            : html`<${Empty} title="No data yet">None of these runs has recorded ${title}.<//>`} />
    <${Failure} error=${error ?? noSeries} />
    ${ids.length === 1 && html`<p class="soft small">Tick more runs to add them to this chart.</p>`}
    <div class="chips">${runs.map((run) => html`<button key=${run.id} class="chip" aria-label=${`Remove ${run.name}`} onClick=${() => untick(run.id)}>${run.name} <span aria-hidden="true">×</span></button>`)}</div>
  </section>`;
}

/**
 * Return the names and metrics of runs. Each run is fetched once, or again if it had no metrics before its first step.
 *
 * @param {number[]} ids
 * @param {Map<number, import("../../lib/types.js").RunSummary>} listed
 */
function useDetails(ids, listed) {
  const known = useRef(/** @type {Map<number, import("../../lib/types.js").RunDetail>} */ (new Map()));
  const asked = useRef(/** @type {Set<number>} */ (new Set()));
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const [, setCount] = useState(0);
  const missing = ids.filter((id) => {
    const run = known.current.get(id);
    return !run || (!run.metric_names.length && (listed.get(id)?.step ?? 0) > 0);
  });
  useEffect(() => {
    for (const id of missing.filter((one) => !asked.current.has(one))) {
      asked.current.add(id);
      get(`/api/runs/${id}`)
        .then((run) => {
          known.current.set(id, run);
          setCount((count) => count + 1);
          setError(null);
        }, setError)
        .finally(() => asked.current.delete(id));
    }
  }, [missing.join()]);
  return { runs: ids.flatMap((id) => known.current.get(id) ?? []), error };
}

/** @param {import("../../lib/types.js").Series[]} series @param {(run: number) => string} nameOf */
function tableOf(series, nameOf) {
  const rows = series.flatMap((one) =>
    one.steps.map((step, i) => [nameOf(one.run_id), one.name, step, one.times[i], one.mean[i]]),
  );
  return [["run", "metric", "step", "time", "value"], ...rows];
}
