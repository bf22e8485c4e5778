// The frame of a chart with its downloads, and the smoothing control.
import { html, useRef } from "../lib/html.js";
import { colour } from "../lib/theme.js";
import { download } from "../ui.js";

/**
 * @param {object} props
 * @param {string} props.title
 * @param {string} [props.note]
 * @param {string} [props.meaning] tooltip of the title
 * @param {string} props.file name of the downloaded file, without extension
 * @param {string | (() => string)} props.csv the address of the CSV, or a function that makes it
 * @param {any} [props.controls]
 * @param {(onPlot: (plot: any) => void) => any} props.chart
 */
export function ChartCard({ title, note, meaning, file, csv, controls, chart }) {
  const plot = useRef(/** @type {any} */ (null));
  const name = file.replaceAll(/[^\w.-]+/g, "-");
  return html`<figure class="card chart">
    <figcaption>
      <h3 title=${meaning}>${title}</h3>${note && html`<span class="soft small note">${note}</span>`}
      <span class="space"></span>${controls}
      <button class="quiet" aria-label=${`${title} as PNG`} onClick=${() => plot.current && picture(plot.current, title, `${name}.png`)}>PNG</button>
      ${
        typeof csv === "string"
          ? html`<a class="quiet" aria-label=${`${title} as CSV`} href=${csv} download=${`${name}.csv`}>CSV</a>`
          : html`<button class="quiet" aria-label=${`${title} as CSV`} onClick=${() => download(new Blob([csv()], { type: "text/csv" }), `${name}.csv`)}>CSV</button>`
      }
    </figcaption>
    ${chart((made) => void (plot.current = made))}
  </figure>`;
}

/** @param {{value: number, choose: (value: number) => void}} props */
export function Smoothing({ value, choose }) {
  return html`<label class="field slider"><span>Smooth</span>
    <input type="range" min="0" max="0.98" step="0.02" value=${value} onInput=${(/** @type {any} */ event) => choose(Number(event.target.value))} />
    <output class="num">${value === 0 ? "raw" : value.toFixed(2)}</output></label>`;
}

/** Save the plot with its title and legend on the page's background. @param {any} plot @param {string} title @param {string} file */
function picture(plot, title, file) {
  const drawn = /** @type {HTMLCanvasElement} */ (plot.ctx.canvas);
  const scale = window.devicePixelRatio;
  const top = 44 * scale;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [drawn.width, drawn.height + top];
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.fillStyle = colour("--surface");
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = colour("--text");
  pen.font = `600 ${13 * scale}px Inter, system-ui, sans-serif`;
  pen.fillText(title, 12 * scale, 18 * scale);
  pen.font = `${11 * scale}px Inter, system-ui, sans-serif`;
  let left = 12 * scale;
  for (const series of plot.series) {
    if (!series.class || series.class === "u-aux" || !series.show) continue;
    pen.fillStyle = series.stroke(plot, 0);
    pen.fillText(`— ${series.label}`, left, 36 * scale);
    left += pen.measureText(`— ${series.label}   `).width;
  }
  pen.drawImage(drawn, 0, top);
  canvas.toBlob((blob) => blob && download(blob, file), "image/png");
}
