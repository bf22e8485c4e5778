// All metrics of a run over its steps. The charts share cursor and zoom.
import { address } from "../../lib/api.js";
import { useCatalogue } from "../../charts/catalogue.js";
import { Chart } from "../../charts/chart.js";
import { html, useEffect, useMemo, useRef, useState } from "../../lib/html.js";
import { lineOf } from "../../charts/lines.js";
import { useSeries } from "../../charts/series.js";
import { Choice, Empty, Failure, Loading } from "../../ui.js";
import { isWhole, lineLabel, missing, panels } from "../../charts/panels.js";
import { ChartCard, Smoothing } from "../../charts/card.js";
import { neverBegan } from "./queued.js";

/** @typedef {import("../../lib/types.js").Series} Series */

/** @param {import("./run.js").TabProps} props */
export function Curves({ run }) {
  const [axis, setAxis] = useState(/** @type {import("../../charts/lines.js").Axis} */ ("step"));
  const [smoothing, setSmoothing] = useState(0);
  const [zoom, setZoom] = useState(/** @type {import("../../charts/chart.js").Zoom} */ (null)); // in steps
  const [wanted, setWanted] = useState("");
  const { series, more, error, reload } = useSeries([run.id], run.metric_names, zoom);
  useEffect(() => void more(run.id, run.step), [run.step]);
  const known = useCatalogue();
  const shown = useMemo(() => panels(run.metric_names, known), [run.metric_names.join(), known]);
  const without = missing(run.metric_names, run.config, known);
  const of = useMemo(() => new Map((series ?? []).map((one) => [one.name, one])), [series]);

  if (!run.metric_names.length) return html`<${NoSteps} run=${run} />`;
  const began = /** @type {Series | undefined} */ (of.values().next().value)?.times[0] ?? 0;
  const matching = shown.filter((panel) =>
    `${panel.title} ${panel.names.join(" ")}`.toLowerCase().includes(wanted.toLowerCase()),
  );
  return html` <div class="bar sticky">
      <label class="field"
        ><span class="sr">Find a metric</span
        ><input
          type="search"
          placeholder="Find a metric…"
          value=${wanted}
          onInput=${(/** @type {any} */ event) => setWanted(event.target.value)}
      /></label>
      <${Choice}
        label="Axis"
        choices=${[
          ["step", "Step"],
          ["time", "Time"],
        ]}
        value=${axis}
        choose=${setAxis}
      />
      <${Smoothing} value=${smoothing} choose=${setSmoothing} />
      <${Between} run=${run} zoom=${zoom} setZoom=${setZoom} />
      <span class="space"></span>
      <a
        class="button"
        href=${`/api/runs/${run.id}/metrics.csv`}
        download=${`${run.name}.csv`}
        >All as CSV</a
      >
    </div>
    <${Failure} error=${error} retry=${reload} />
    ${!(series && known) && !error && html`<${Loading} />`}
    ${
      series &&
      known &&
      html`<div class="charts">
        ${matching.map((panel) => html`<${PanelChart} key=${panel.names[0]} run=${run} panel=${panel} known=${known} of=${of} axis=${axis} began=${began} smoothing=${smoothing} zoom=${zoom} setZoom=${setZoom} />`)}
      </div>`
    }
    ${series && !wanted && without.length > 0 && html`<p class="soft small">Not shown: ${without.join("; ")}.</p>`}
    ${series && !matching.length && html`<${Empty} title="No metric matches"><button onClick=${() => setWanted("")}>Show all</button><//>`}`;
}

/**
 * @param {object} props
 * @param {import("../../lib/types.js").RunDetail} props.run
 * @param {import("../../charts/panels.js").Panel} props.panel
 * @param {import("../../charts/catalogue.js").Catalogue} props.known
 * @param {Map<string, Series>} props.of
 * @param {import("../../charts/lines.js").Axis} props.axis
 * @param {number} props.began
 * @param {number} props.smoothing
 * @param {import("../../charts/chart.js").Zoom} props.zoom in steps
 * @param {(zoom: import("../../charts/chart.js").Zoom) => void} props.setZoom
 */
function PanelChart({ run, panel, known, of, axis, began, smoothing, zoom, setZoom }) {
  const mine = panel.names.flatMap((name) => of.get(name) ?? []);
  const before = useRef(/** @type {Series[]} */ ([]));
  // Keep the same array as long as nothing in it is new, so that the chart is not redrawn.
  if (mine.length !== before.current.length || mine.some((one, i) => one !== before.current[i]))
    before.current = mine;
  const lines = useMemo(() => {
    const first = isWhole(panel.names[0]) && panel.names.length > 1 ? 0 : 1;
    return before.current.map((one) =>
      lineOf(one, axis, lineLabel(panel, one.name, known), panel.names.indexOf(one.name) + first, began),
    );
  }, [before.current, axis, began]);
  const clock = mine[0];
  const inTime = axis === "time" && zoom && clock;
  const onX = useMemo(
    () => (inTime ? /** @type {[number, number]} */ (zoom.map((step) => timeAt(clock, step) - began)) : zoom),
    [zoom, inTime, clock],
  );
  const onZoom = (/** @type {import("../../charts/chart.js").Zoom} */ next) =>
    setZoom(
      next &&
        (axis === "time" && clock
          ? [stepAt(clock, next[0] + began), stepAt(clock, next[1] + began)]
          : [Math.floor(next[0]), Math.ceil(next[1])]),
    );
  return html`<${ChartCard}
    title=${panel.title}
    note=${panel.note}
    meaning=${panel.meaning}
    file=${`${run.name}-${panel.title}`}
    csv=${address(`/api/runs/${run.id}/metrics.csv`, { name: panel.names })}
    chart=${(/** @type {any} */ onPlot) =>
      html`<${Chart}
        label=${`${panel.title} over ${axis === "step" ? "steps" : "time"}`}
        lines=${lines}
        axis=${axis}
        smoothing=${smoothing}
        range=${panel.range}
        format=${panel.format}
        zoom=${onX}
        onZoom=${onZoom}
        sync=${`run-${run.id}`}
        onPlot=${onPlot}
      />`}
  />`;
}

/** @param {{run: import("../../lib/types.js").RunDetail, zoom: import("../../charts/chart.js").Zoom, setZoom: (zoom: import("../../charts/chart.js").Zoom) => void}} props */
function Between({ run, zoom, setZoom }) {
  const [from, to] = zoom ?? [0, Math.max(0, run.step - 1)];
  const number = (/** @type {any} */ event) => Math.max(0, Number(event.target.value) || 0);
  const set = (/** @type {number} */ first, /** @type {number} */ last) =>
    last > first && setZoom([first, last]);
  return html`<span class="field between"
    ><span>Steps</span>
    <input
      type="number"
      min="0"
      aria-label="First step shown"
      value=${from}
      onChange=${(/** @type {any} */ event) => set(number(event), to)}
    />
    <span aria-hidden="true">–</span>
    <input
      type="number"
      min="0"
      aria-label="Last step shown"
      value=${to}
      onChange=${(/** @type {any} */ event) => set(from, number(event))}
    />
    ${zoom && html`<button onClick=${() => setZoom(null)}>Reset zoom</button>`}</span
  >`;
}

/** @param {{run: import("../../lib/types.js").RunDetail}} props */
export function NoSteps({ run }) {
  const words = /** @type {Record<string, string>} */ ({
    running: `It is ${run.stage ?? "starting"}. Curves begin with its first step; its events show its progress.`,
    stalled: neverBegan(run)
      ? "The run was requested and has not begun."
      : "The run went silent before its first step. See its events.",
    failed: "The run failed before its first step. Its events show why.",
  })[run.state];
  return html`<${Empty} title="No data yet"
    >${words ?? "The run ended before its first step."}<//
  >`;
}

/** @param {Series} series @param {number} step */
function timeAt(series, step) {
  const at = series.steps.findIndex((one) => one >= step);
  return series.times[at < 0 ? series.times.length - 1 : at];
}

/** @param {Series} series @param {number} time */
function stepAt(series, time) {
  const at = series.times.findIndex((one) => one >= time);
  return series.steps[at < 0 ? series.steps.length - 1 : at];
}
