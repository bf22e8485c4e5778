// Several runs in one chart.
import { get } from "../api.js";
import { Chart } from "../chart.js";
import { html, useEffect, useMemo, useState } from "../html.js";
import { lineOf } from "../lines.js";
import { useLoaded } from "../live.js";
import { useSeries } from "../series.js";
import { Choice, Empty, Failure, Loading, Select } from "../ui.js";
import { rangeOf } from "./metrics.js";
import { ChartCard, Smoothing } from "./parts.js";

/**
 * @param {object} props
 * @param {number[]} props.ids
 * @param {number} props.changes grows when some run has changed
 * @param {(id: number) => void} props.untick
 * @param {() => void} props.clear
 */
export function Compare({ ids, changes, untick, clear }) {
  const [metric, setMetric] = useState("reward/mean");
  const [axis, setAxis] = useState(/** @type {import("../lines.js").Axis} */ ("step"));
  const [smoothing, setSmoothing] = useState(0.6);
  const [zoom, setZoom] = useState(/** @type {import("../chart.js").Zoom} */ (null));
  const { data, error } = useLoaded(
    () => Promise.all(ids.map((id) => get(`/api/runs/${id}`))),
    [ids.join(), changes],
  );
  const runs = /** @type {import("../types.js").RunDetail[] | undefined} */ (data);
  const { series, more, error: noSeries } = useSeries(ids, [metric], null);
  useEffect(() => {
    for (const run of runs ?? []) if (run.state === "running") more(run.id, run.step);
  }, [runs]);

  const names = useMemo(
    () => [...new Set([metric, ...(runs ?? []).flatMap((run) => run.metric_names)])].sort(),
    [runs, metric],
  );
  const lines = useMemo(
    () =>
      (series ?? []).map((one) =>
        lineOf(
          one,
          axis,
          runs?.find((run) => run.id === one.run_id)?.name ?? `#${one.run_id}`,
          ids.indexOf(one.run_id) + 1,
        ),
      ),
    [series, axis, runs?.map((run) => run.name).join(), ids.join()],
  );
  const csv = () => asCsv(series ?? []);
  return html`<section class="compare" aria-label="Comparison of runs">
    <${ChartCard} title=${`${ids.length === 1 ? "1 run" : `${ids.length} runs`}: ${metric}`} file=${`compare-${metric}`} csv=${csv}
      controls=${html`
        <${Select} label="Metric" hidden options=${names.map((name) => [name, name])} value=${metric} choose=${(/** @type {string} */ name) => (setMetric(name), setZoom(null))} />
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
            ? html`<${Chart} label=${`${metric} of ${ids.length} runs`} lines=${lines} axis=${axis} smoothing=${smoothing} range=${rangeOf(metric)} zoom=${zoom} onZoom=${setZoom} height=${260} onPlot=${onPlot} />`
            : html`<${Empty} title="No data yet">None of these runs has recorded ${metric}.<//>`} />
    <${Failure} error=${error ?? noSeries} />
    ${ids.length === 1 && html`<p class="soft hint">Tick more runs to see them in one chart.</p>`}
    <div class="chips">${(runs ?? []).map((run) => html`<button key=${run.id} class="chip" aria-label=${`Leave ${run.name} out`} onClick=${() => untick(run.id)}>${run.name} <span aria-hidden="true">×</span></button>`)}</div>
  </section>`;
}

/** @param {import("../types.js").Series[]} series */
function asCsv(series) {
  const rows = series.flatMap((one) =>
    one.steps.map((step, i) => [one.run_id, one.name, step, one.times[i], one.mean[i] ?? ""].join()),
  );
  return ["run,metric,step,time,value", ...rows].join("\n");
}
