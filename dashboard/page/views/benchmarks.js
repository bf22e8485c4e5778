// Benchmarks: results of `videossr eval`, with the paper's row and the scores of guessing.
import { get } from "../lib/api.js";
import { BarChart } from "../charts/bars.js";
import { csvOf } from "../lib/csv.js";
import { dateTime } from "../lib/format.js";
import { html, useMemo } from "../lib/html.js";
import { useChanges, useLoaded } from "../lib/live.js";
import { link } from "../lib/router.js";
import { Empty, Failure, Loading, useTitle } from "../ui.js";
import { ChartCard } from "../charts/card.js";

const PUBLISHED = "VideoSSR-8B, published";
const GUESSING = "Guessing";
const MAX_PLOTTED_ROWS = 6;

/** @typedef {import("../lib/types.js").BenchmarkColumn} Column */
/** @typedef {import("../lib/types.js").BenchmarkRow} Row */

export function Benchmarks() {
  useTitle("Benchmarks");
  const { data, error, reload } = useLoaded(() => get("/api/benchmarks"), []);
  useChanges(
    undefined,
    (changes) => (changes === null || changes.some((change) => change.what.includes("run"))) && reload(),
  );
  const found = /** @type {{columns: Column[], rows: Row[]} | undefined} */ (data);
  const bars = useMemo(() => (found ? barsOf(found.columns, found.rows) : []), [found]);
  return html`<section class="page" aria-labelledby="title">
    <div class="head"><h1 id="title">Benchmarks</h1>${found && html`<span class="soft num">${found.rows.length}</span>`}</div>
    <${Failure} error=${error} retry=${reload} />
    ${!found && !error && html`<${Loading} />`}
    ${found && !found.rows.length && html`<${Empty} title="No evaluations yet">Evaluate a model on VIUBench: <code>videossr bench build --videos DIR --out bench/</code> builds it, <code>videossr eval --model NAME --bench bench/</code> evaluates a run's model. Its row appears here, above the paper's.<//>`}
    ${
      found &&
      found.columns.length > 0 &&
      html`
      <${ChartCard} title="Scores" note="percent" file="benchmarks" csv=${() => csvOf(tableOf(found.columns, found.rows))}
        chart=${(/** @type {any} */ onPlot) => html`<${BarChart} label="Scores of each benchmark" groups=${found.columns.map((column) => `${column.task} ${column.label}`)} bars=${bars} onPlot=${onPlot} />`} />
      <div class="card scroll"><${Table} columns=${found.columns} rows=${found.rows} /></div>`
    }
  </section>`;
}

/** @param {{columns: Column[], rows: Row[]}} props */
function Table({ columns, rows }) {
  const best = new Map(
    columns.map((column) => [column.name, Math.max(...rows.map((row) => row.scores[column.name] ?? -1))]),
  );
  const whole = (/** @type {(number | null | undefined)[]} */ values) =>
    values.every((value) => typeof value === "number");
  const mean = (/** @type {(number | null | undefined)[]} */ values) =>
    whole(values)
      ? percentText(
          values.reduce((sum, value) => /** @type {number} */ (sum) + /** @type {number} */ (value), 0) /
            values.length,
        )
      : "–";
  return html`<table class="benchmarks">
    <thead><tr><th scope="col">Model</th>${columns.map((column) => html`<th key=${column.name} scope="col" class="right"><span class="soft small">${column.task}</span><br />${column.label}</th>`)}<th scope="col" class="right">Mean</th></tr></thead>
    <tbody>
      ${rows.map(
        (row, i) => html`<tr key=${i}>
        <th scope="row">${row.run_id === null ? row.name : html`<a href=${link(["run", row.run_id])}>${row.name}</a>`}${row.time > 0 && html`<span class="soft small when">${dateTime(row.time)}</span>`}</th>
        ${columns.map((column) => html`<td key=${column.name} class="right num ${rows.length > 1 && row.scores[column.name] === best.get(column.name) ? "best" : ""}">${percentText(row.scores[column.name])}</td>`)}
        <td class="right num"><b>${mean(columns.map((column) => row.scores[column.name]))}</b></td></tr>`,
      )}
    </tbody>
    <tfoot>
      <tr><th scope="row">${PUBLISHED}</th>${columns.map((column) => html`<td key=${column.name} class="right num">${percentText(column.published)}</td>`)}<td class="right num">${mean(columns.map((column) => column.published))}</td></tr>
      <tr><th scope="row">${GUESSING}</th>${columns.map((column) => html`<td key=${column.name} class="right num">${percentText(column.random)}</td>`)}<td class="right num">${mean(columns.map((column) => column.random))}</td></tr>
    </tfoot>
  </table>`;
}

/** @param {Column[]} columns @param {Row[]} rows */
function barsOf(columns, rows) {
  const models = rows.slice(0, MAX_PLOTTED_ROWS).map((row, i) => ({
    label: row.name,
    colour: i + 1,
    values: columns.map((column) => row.scores[column.name] ?? null),
  }));
  return [
    { label: GUESSING, values: columns.map((column) => column.random), colour: -1 },
    ...models,
    { label: PUBLISHED, values: columns.map((column) => column.published), colour: 0 },
  ];
}

/** @param {Column[]} columns @param {Row[]} rows */
function tableOf(columns, rows) {
  return [
    ["model", ...columns.map((column) => column.name)],
    ...rows.map((row) => [row.name, ...columns.map((column) => row.scores[column.name])]),
    [PUBLISHED, ...columns.map((column) => column.published)],
    [GUESSING, ...columns.map((column) => column.random)],
  ];
}

/** @param {number | null | undefined} value */
function percentText(value) {
  return value === null || value === undefined ? "–" : value.toFixed(1);
}
