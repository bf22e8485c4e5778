// Grouped bars with uPlot: each bar has its own place on the x axis.
import { html, useEffect, useRef } from "../lib/html.js";
import { useShared } from "../lib/live.js";
import { colour, lineClass, lineColour, theme } from "../lib/theme.js";
import { useSeen } from "../ui.js";
import uPlot from "../vendor/uplot.js";

const LETTER_PX = 6.2;

/** @typedef {{label: string, colour: number, values: (number | null)[]}} Bars one value for each group */

/**
 * @param {object} props
 * @param {string} props.label
 * @param {string[]} props.groups
 * @param {Bars[]} props.bars
 * @param {(plot: any) => void} [props.onPlot]
 */
export function BarChart({ label, groups, bars, onPlot }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {uPlot | null} */ (null));
  const seen = useSeen(box);
  const look = useShared(theme);
  useEffect(() => {
    const element = box.current;
    if (!seen || !element) return;
    const size = () => {
      const width = element.clientWidth;
      return { width, height: fits(width, groups) ? 280 : 360 };
    };
    const made = new uPlot({ ...size(), ...optionsOf(groups, bars) }, dataOf(groups, bars), element);
    plot.current = made;
    onPlot?.(made);
    const sizes = new ResizeObserver(() => made.setSize(size()));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      made.destroy();
    };
  }, [seen, groups, bars]);
  useEffect(() => plot.current?.redraw(false), [look]);
  return html`<div class="plot" ref=${box} role="img" aria-label=${label}></div>`;
}

/** Return the data for uPlot. Group g starts at x = g * (bars + 1), which leaves a gap of one bar between groups. @param {string[]} groups @param {Bars[]} bars */
function dataOf(groups, bars) {
  const width = bars.length + 1;
  const x = Array.from({ length: groups.length * width }, (_, i) => i);
  const columns = bars.map(({ values }, k) =>
    x.map((i) => (i % width === k ? values[Math.floor(i / width)] : null)),
  );
  return /** @type {uPlot.AlignedData} */ ([x, ...columns]);
}

/** @param {string[]} groups @param {Bars[]} bars */
function optionsOf(groups, bars) {
  const width = bars.length + 1;
  const middle = (bars.length - 1) / 2;
  const font = '11px Inter, system-ui, "Segoe UI", Roboto, sans-serif';
  const text = () => colour("--chart-text");
  const paths = /** @type {any} */ (uPlot.paths).bars({ size: [0.9, 48], radius: 0.1 });
  return /** @type {Omit<uPlot.Options, "width" | "height">} */ ({
    padding: [8, 10, 0, 0],
    scales: {
      x: { time: false, range: () => [-1, groups.length * width - 1] },
      y: { range: (_, __, high) => [0, Math.max(10, 1.08 * (high ?? 100))] },
    },
    axes: [
      {
        stroke: text,
        font,
        grid: { show: false },
        ticks: { show: false },
        size: (plot) => (fits(plot.width, groups) ? 30 : 10 + 5.6 * longest(groups)),
        rotate: (plot) => (fits(plot.width, groups) ? 0 : 90),
        splits: () => groups.map((_, i) => i * width + middle),
        values: () => groups,
      },
      {
        stroke: text,
        font,
        ticks: { show: false },
        size: 36,
        grid: { stroke: () => colour("--grid"), width: 1 },
      },
    ],
    series: [
      {
        label: "Benchmark",
        value: (_, value) =>
          value === null || value === undefined ? "" : (groups[Math.floor(value / width)] ?? ""),
      },
      ...bars.map((one) => ({
        label: one.label,
        class: lineClass(one.colour),
        paths,
        points: { show: false },
        width: 0,
        value: (/** @type {any} */ _, /** @type {number | null} */ value) => value?.toFixed(1) ?? "",
        stroke: () => lineColour(one.colour),
        fill: () => lineColour(one.colour) + "d8",
      })),
    ],
    cursor: {
      drag: { x: false, y: false },
      y: false,
      points: { show: false },
      dataIdx: (plot, series, at) => groupPlace(plot, series, at, width),
    },
    legend: { markers: { width: 0 } },
  });
}

/** Show all bars of the group under the cursor in the legend. @param {uPlot} _ @param {number} series @param {number} at @param {number} width */
function groupPlace(_, series, at, width) {
  return Math.floor(at / width) * width + Math.max(0, series - 1);
}

/** Return whether the names fit next to each other; otherwise they are rotated. @param {number} width @param {string[]} groups */
function fits(width, groups) {
  return LETTER_PX * longest(groups) < (width - 46) / groups.length;
}

/** @param {string[]} words */
function longest(words) {
  return Math.max(...words.map((word) => word.length));
}
