// The configuration and environment of a run, and how they differ from another run's.
import { get } from "../../lib/api.js";
import { html, useState } from "../../lib/html.js";
import { useLoaded } from "../../lib/live.js";
import { Empty, Failure, Loading, Select } from "../../ui.js";

/** @param {import("./run.js").TabProps} props */
export function Config({ run }) {
  const [against, setAgainst] = useState("");
  const others = useLoaded(() => get("/api/runs", { limit: 200 }), [run.id]);
  const { data, error, reload } = useLoaded(
    () => get(`/api/runs/${run.id}/config`, { against }),
    [run.id, against],
  );
  const options = (others.data?.items ?? [])
    .filter((/** @type {any} */ other) => other.id !== run.id)
    .map((/** @type {any} */ other) => [String(other.id), `${other.name} (#${other.id})`]);
  if (!data) return html`<${Failure} error=${error} retry=${reload} />${!error && html`<${Loading} />`}`;
  const theirs = options.find((/** @type {string[]} */ option) => option[0] === against)?.[1] ?? "";
  return html`
    <div class="bar"><${Select} label="Compare with" options=${[["", "no other run"], ...options]} value=${against} choose=${setAgainst} /></div>
    ${against && html`<${Differences} differences=${data.differences ?? []} mine=${run.name} theirs=${theirs} />`}
    <div class="columns">
      <section class="card pad"><h3>Config</h3><div class="tree"><${Tree} value=${data.config} /></div></section>
      <section class="card pad"><h3>Environment</h3><div class="tree"><${Tree} value=${data.environment} /></div></section>
    </div>`;
}

/** @param {{differences: {key: string, mine: unknown, theirs: unknown}[], mine: string, theirs: string}} props */
function Differences({ differences, mine, theirs }) {
  if (!differences.length)
    return html`<${Empty} title="The same config">All settings of ${theirs} are the same.<//>`;
  return html`<div class="card"><table class="differences stack">
    <thead><tr><th scope="col">Key</th><th scope="col">${mine}</th><th scope="col">${theirs}</th></tr></thead>
    <tbody>${differences.map(
      (one) => html`<tr key=${one.key}><td><code>${one.key}</code></td>
      <td data-head=${mine}><code class="mine">${plain(one.mine)}</code></td><td data-head=${theirs}><code class="theirs">${plain(one.theirs)}</code></td></tr>`,
    )}</tbody>
  </table></div>`;
}

/** A tree that reads like YAML, with sections that fold. @param {{value: unknown}} props */
function Tree({ value }) {
  if (!isSection(value)) return html`<code class="leaf">${plain(value)}</code>`;
  return html`${Object.entries(value).map(([key, entry]) =>
    isSection(entry) && Object.keys(entry).length
      ? html`<details key=${key} open><summary>${key}</summary><div class="below"><${Tree} value=${entry} /></div></details>`
      : html`<div key=${key} class="entry"><span class="key">${key}</span> <${Tree} value=${isSection(entry) ? "{}" : entry} /></div>`,
  )}`;
}

/** @param {unknown} value @returns {value is object} */
function isSection(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** @param {unknown} value */
function plain(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "string" ? value || '""' : JSON.stringify(value).replaceAll(",", ", ");
}
