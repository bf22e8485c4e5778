// Line charts with uPlot. A chart is created when it is first visible, and then updated with new data.
import { duration, number } from "../lib/format.js";
import { html, useEffect, useMemo, useRef } from "../lib/html.js";
import { SERIES_PER_LINE, table } from "./lines.js";
import { useShared } from "../lib/live.js";
import { colour, lineClass, lineColour, theme } from "../lib/theme.js";
import { useSeen } from "../ui.js";
import uPlot from "../vendor/uplot.js";

const FONT = '11px Inter, system-ui, "Segoe UI", Roboto, sans-serif';
const HEIGHT = 190;
const MAX_MARKED_POINTS = 12; // lines with at most this many points show them

/** @typedef {[number, number] | null} Zoom first and last x shown; null: all */
/** @typedef {"share" | "zero" | "free"} Range range of the y axis: at least 0 to 1; from 0; that of the data */

/**
 * @param {object} props
 * @param {string} props.label description of the chart for screen readers
 * @param {import("./lines.js").Line[]} props.lines
 * @param {import("./lines.js").Axis} props.axis
 * @param {number} [props.smoothing]
 * @param {Range} [props.range]
 * @param {Zoom} [props.zoom]
 * @param {(zoom: Zoom) => void} [props.onZoom]
 * @param {string} [props.sync] charts with the same name share the cursor
 * @param {boolean} [props.stacked] the lines are cumulative, highest first; the space between them is filled
 * @param {(value: number | null | undefined) => string} [props.format]
 * @param {number} [props.height]
 * @param {(plot: uPlot | null) => void} [props.onPlot]
 */
export function Chart({ label, lines, axis, smoothing = 0, height = HEIGHT, ...rest }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {uPlot | null} */ (null));
  const latest = useRef(rest);
  latest.current = rest;
  const seen = useSeen(box);
  const look = useShared(theme);
  const data = useMemo(() => table(lines, smoothing), [lines, smoothing]);
  const shape = JSON.stringify([axis, rest.stacked, lines.map((line) => [line.label, line.colour])]);

  useEffect(() => {
    const element = box.current;
    if (!seen || !element) return;
    const options = optionsOf(lines, axis, latest, {
      width: element.clientWidth,
      height,
    });
    const made = new uPlot(options, /** @type {any} */ (data), element);
    plot.current = made;
    legendByKeyboard(made);
    latestInLegend(made);
    latest.current.onPlot?.(made);
    const sizes = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      made.destroy();
      plot.current = null;
      latest.current.onPlot?.(null);
    };
  }, [seen, shape]);
  useEffect(() => {
    if (!plot.current) return;
    plot.current.setData(/** @type {any} */ (data));
    latestInLegend(plot.current);
  }, [data, rest.zoom?.[0], rest.zoom?.[1]]);
  useEffect(() => plot.current?.redraw(false), [look]);

  return html`<div
    class="plot"
    ref=${box}
    role="img"
    aria-label=${label}
  ></div>`;
}

/**
 * @param {import("./lines.js").Line[]} lines
 * @param {import("./lines.js").Axis} axis
 * @param {{current: Omit<Parameters<typeof Chart>[0], "label" | "lines" | "axis" | "smoothing" | "height">}} latest
 * @param {{width: number, height: number}} size
 * @returns {uPlot.Options}
 */
function optionsOf(lines, axis, latest, size) {
  const format = (/** @type {number | null | undefined} */ value) => (latest.current.format ?? number)(value);
  const onX = axis === "time" ? duration : String;
  const { stacked, sync } = latest.current;
  const wide = (/** @type {unknown} */ _, /** @type {string[] | null} */ words) =>
    14 + 6.5 * Math.max(2, ...(words ?? []).map((word) => word.length));
  const line = {
    stroke: () => colour("--chart-text"),
    font: FONT,
    grid: { stroke: () => colour("--grid"), width: 1 },
  };
  const noTicks = { show: false };
  return {
    ...size,
    padding: [8, 16, 0, 0],
    scales: {
      x: {
        time: false,
        range: (_, low, high) => latest.current.zoom ?? (low === high ? [low - 1, high + 1] : [low, high]),
      },
      y: {
        range: (_, low, high) => yRange(latest.current.range ?? "free", low, high),
      },
    },
    axes: [
      {
        ...line,
        ticks: noTicks,
        size: 28,
        space: 64,
        incrs: axis === "time" ? TIME_INCRS : STEP_INCRS,
        values: (_, values) => values.map((value) => (axis === "time" ? duration(value) : String(value))),
      },
      {
        ...line,
        ticks: noTicks,
        size: /** @type {any} */ (wide),
        values: (_, values, __, ___, step) => values.map((value) => tick(value, step)),
      },
    ],
    series: [
      {
        label: axis,
        value: (_, value) => (value === null || value === undefined ? "" : onX(value)),
      },
      ...lines.flatMap((entry, i) => seriesOf(entry, format, stacked ? (lines[i + 1] ? i + 1 : -1) : null)),
    ],
    bands: lines.flatMap((entry, i) => bandsOf(entry, i, stacked ? lines.length : 0)),
    cursor: {
      drag: { x: true, y: false, setScale: false, dist: 4 },
      focus: { prox: 24 },
      points: { size: 6, one: true },
      sync: sync
        ? {
            key: sync,
            filters: {
              pub: (type) => type === "mousemove" || type === "mouseleave",
            },
            setSeries: false,
          }
        : undefined,
      bind: { dblclick: () => () => (latest.current.onZoom?.(null), null) },
    },
    focus: { alpha: 0.35 },
    legend: { markers: { width: 0 } },
    hooks: {
      setSelect: [
        (plot) => {
          const { left, width } = plot.select;
          if (width > 4)
            latest.current.onZoom?.([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
          plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        },
      ],
      setSeries: [
        (plot, at, options) => {
          if (at === null || options.show === undefined || at % SERIES_PER_LINE !== 1) return;
          for (let k = at + 1; k < at + SERIES_PER_LINE; k++)
            plot.setSeries(k, { show: options.show }, false);
          legendByKeyboard(plot);
        },
      ],
      setLegend: [(plot) => plot.cursor.idx === null && latestInLegend(plot)],
    },
  };
}

const STEP_INCRS = [1, 2, 5]
  .flatMap((digit) => [...Array(8)].map((_, zeros) => digit * 10 ** zeros))
  .sort((a, b) => a - b);
const TIME_INCRS = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 604800];

/**
 * @param {import("./lines.js").Line} line
 * @param {(value: number | null | undefined) => string} format
 * @param {number | null} below index of the line below it in a stack; -1: the lowest; null: no stack
 * @returns {uPlot.Series[]}
 */
function seriesOf(line, format, below) {
  const stroke = () => lineColour(line.colour);
  const points = { show: line.x.length < MAX_MARKED_POINTS, size: 6, stroke, fill: stroke };
  const hidden = { class: "u-aux", points: { show: false }, spanGaps: true };
  return [
    {
      label: line.label,
      class: lineClass(line.colour),
      stroke,
      width: line.colour === 0 ? 2 : 1.5,
      spanGaps: true,
      points,
      fill: below === -1 ? () => `${lineColour(line.colour)}99` : undefined,
      value: (plot, value, at, index) => {
        if (below === null || below === -1 || value === null || value === undefined || index === null)
          return format(value);
        const under = plot.data[below * SERIES_PER_LINE + 1][index];
        return format(value - (under ?? 0)); // a stack's own share
      },
    },
    { ...hidden, stroke: () => `${lineColour(line.colour)}44`, width: 1 },
    { ...hidden, stroke: "transparent", width: 0 },
    { ...hidden, stroke: "transparent", width: 0 },
  ];
}

/** @param {import("./lines.js").Line} line @param {number} i @param {number} stack lines in the stack; 0: none */
function bandsOf(line, i, stack) {
  const first = i * SERIES_PER_LINE + 1;
  if (!stack)
    return [
      {
        series: /** @type {[number, number]} */ ([first + 3, first + 2]),
        fill: () => `${lineColour(line.colour)}1f`,
      },
    ];
  if (i + 1 === stack) return [];
  return [
    {
      series: /** @type {[number, number]} */ ([first, first + SERIES_PER_LINE]),
      fill: () => `${lineColour(line.colour)}99`,
    },
  ];
}

/** Format a value of the y axis with enough digits to tell it from the next one. @param {number} value @param {number} step */
function tick(value, step) {
  if (Math.abs(value) >= 10_000 || (value !== 0 && step < 1e-4)) return number(value);
  let digits = 0;
  while (digits < 6 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits++;
  return value.toFixed(digits).replace("-", "−");
}

/** @param {Range} kind @param {number | null} low @param {number | null} high @returns {[number, number]} */
function yRange(kind, low, high) {
  if (low === null || high === null) return [0, 1];
  if (kind === "share") return [Math.min(0, low), Math.max(1, high)];
  if (kind === "zero" && low >= 0) return [0, high === 0 ? 1 : 1.08 * high];
  if (low === high) return [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
  const pad = 0.08 * (high - low);
  return [low - pad, high + pad];
}

/** Show the latest values in the legend while no cursor is on the chart. @param {uPlot} plot */
function latestInLegend(plot) {
  const idxs = plot.data.map((column) => {
    for (let i = column.length - 1; i >= 0; i--) if (column[i] !== null && column[i] !== undefined) return i;
    return null;
  });
  if (idxs.some((at, i) => at !== plot.legend.idxs?.[i]))
    plot.setLegend(/** @type {any} */ ({ idxs }), false);
}

/** Make the legend's entries buttons that show and hide lines. @param {uPlot} plot */
function legendByKeyboard(plot) {
  const rows = plot.root.querySelectorAll(".u-legend .u-series:not(.u-aux)");
  for (const row of [...rows].slice(1)) {
    const button = /** @type {HTMLElement} */ (row.querySelector("th"));
    button.tabIndex = 0;
    button.setAttribute("role", "button");
    button.setAttribute("aria-pressed", String(!row.classList.contains("u-off")));
    button.onkeydown = (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      button.click();
    };
  }
}
