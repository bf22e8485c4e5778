// Small curves in a list, with uPlot.
import { html, useEffect, useRef } from "../lib/html.js";
import { useShared } from "../lib/live.js";
import { colour, theme } from "../lib/theme.js";
import { useSeen } from "../ui.js";
import uPlot from "../vendor/uplot.js";

/** A curve of a few points without axes or legend. @param {{x: number[], y: import("../lib/types.js").Values, label: string}} props */
export function Spark({ x, y, label }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {uPlot | null} */ (null));
  const seen = useSeen(box);
  const look = useShared(theme);
  useEffect(() => {
    if (!seen || !box.current) return;
    const bare = { show: false };
    const made = new uPlot(
      {
        width: 120,
        height: 32,
        padding: [3, 2, 3, 2],
        cursor: bare,
        legend: bare,
        axes: [bare, bare],
        scales: {
          x: { time: false },
          y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(1, high ?? 1)] },
        },
        series: [{}, { stroke: () => colour("--accent"), width: 1.25, points: bare, spanGaps: true }],
      },
      [x, y],
      box.current,
    );
    plot.current = made;
    return () => made.destroy();
  }, [seen]);
  useEffect(() => plot.current?.setData([x, y]), [x, y]);
  useEffect(() => plot.current?.redraw(false), [look]);
  return html`<div class="spark" ref=${box} role="img" aria-label=${label}></div>`;
}
