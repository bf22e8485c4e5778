// What a person may do to runs. Each is asked about first, needs the operator's token, and is logged by the server.
import { get, post, remove } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { me, useShared } from "../live.js";
import { link } from "../router.js";
import { Choice, Dialog, Failure, Select } from "../ui.js";

/** @typedef {{path: string, words: string, title: string, what: string, states: string[]}} Deed */

/** @type {Deed[]} */
const DEEDS = [
  {
    path: "checkpoint",
    words: "Checkpoint now",
    title: "Write a checkpoint now?",
    states: ["running", "stalled"],
    what: "After the step under way the run writes a checkpoint and goes on. Nothing else changes.",
  },
  {
    path: "stop",
    words: "Stop after this step",
    title: "Stop this run?",
    states: ["running", "stalled", "queued"],
    what: "The run finishes the step under way, writes a checkpoint and ends. It can be resumed from there.",
  },
  {
    path: "resume",
    words: "Resume",
    title: "Resume this run?",
    states: ["stopped", "failed", "stalled"],
    what: "The run goes on from its last checkpoint, with the same config. Steps after that checkpoint are done again.",
  },
];

/** @param {{run: import("../types.js").RunSummary}} props */
export function ActionButtons({ run }) {
  const [deed, setDeed] = useState(/** @type {Deed | null} */ (null));
  return html`<div class="actions" role="group" aria-label="Actions">
    ${DEEDS.filter(({ states }) => states.includes(run.state)).map((one) => html`<button key=${one.path} onClick=${() => setDeed(one)}>${one.words}</button>`)}
    ${
      deed &&
      html`<${Ask} title=${deed.title} words=${deed.words} close=${() => setDeed(null)} act=${() => post(`/api/runs/${run.id}/${deed.path}`)}>
      <p><b>${run.name}</b>, step ${run.step} of ${run.steps}. ${deed.what}</p><//>`
    }
  </div>`;
}

/** @param {{close: () => void}} props */
export function StartDialog({ close }) {
  const who = useShared(me);
  if (who?.role !== "operator") {
    return html`<${Dialog} title="Start a run" close=${close}><${NeedsToken} /><${TokenForm} done=${() => {}} words="Go on" cancel=${close} /><//>`;
  }
  if (!who.can_start) {
    return html`<${Dialog} title="Start a run" close=${close}><p>This dashboard only shows runs. Start them where videossr is installed to train:</p>
      <p><code>videossr train configs/demo.yaml</code></p><div class="buttons"><button class="strong" onClick=${close}>Close</button></div><//>`;
  }
  return html`<${StartForm} configs=${who.configs} close=${close} />`;
}

/** @param {{configs: string[], close: () => void}} props */
function StartForm({ configs, close }) {
  const [source, setSource] = useState(configs.length ? "name" : "yaml");
  const [name, setName] = useState(configs[0] ?? "");
  const [yaml, setYaml] = useState("");
  const [overrides, setOverrides] = useState("");
  const lines = overrides
    .split("\n")
    .map((entry) => entry.trim())
    .filter(Boolean);
  const act = () => post("/api/runs", { config: source === "name" ? name : { yaml }, overrides: lines });
  return html`<${Ask} title="Start a run" words="Start" close=${close} act=${act}>
    <p>The run starts now, and appears in the list once its settings, model and videos are found good. What it says before that stands on the server, under .launched in the folder of runs.</p>
    ${
      configs.length > 0 &&
      html`<${Choice} label="Config" choices=${[
        ["name", "One of the server's configs"],
        ["yaml", "Paste YAML"],
      ]} value=${source} choose=${setSource} />`
    }
    ${
      source === "name"
        ? html`<${Select} label="Config" options=${configs.map((one) => [one, one])} value=${name} choose=${setName} />`
        : html`<label class="field column"><span>Config (YAML)</span><textarea rows="9" spellcheck="false" value=${yaml} onInput=${(/** @type {any} */ event) => setYaml(event.target.value)}></textarea></label>`
    }
    <label class="field column"><span>Changes to it, one in a line</span>
      <textarea rows="3" spellcheck="false" placeholder="train.steps=100" value=${overrides} onInput=${(/** @type {any} */ event) => setOverrides(event.target.value)}></textarea></label>
  <//>`;
}

/**
 * Says what will happen, asks for the token if need be, acts, and shows what came of it.
 *
 * @param {{title: string, words: string, close: () => void, act: () => Promise<{message: string}>, children?: any}} props
 */
function Ask({ title, words, close, act, children }) {
  const who = useShared(me);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const [said, setSaid] = useState("");
  const done = useRef(/** @type {HTMLButtonElement | null} */ (null));
  useEffect(() => done.current?.focus(), [said]);
  const go = async () => {
    setBusy(true);
    setError(null);
    try {
      setSaid((await act()).message);
    } catch (failure) {
      setError(/** @type {Error} */ (failure));
      if (/** @type {any} */ (failure).status === 401) me.set(await get("/api/me"));
    }
    setBusy(false);
  };
  if (said) {
    return html`<${Dialog} title=${title} close=${close}><p class="notice good" role="status">${said}</p>
      <div class="buttons"><button ref=${done} class="strong" onClick=${close}>Close</button></div><//>`;
  }
  return html`<${Dialog} title=${title} close=${close}>
    ${children}
    <${Failure} error=${error} />
    ${
      who?.role === "operator"
        ? html`<div class="buttons"><button onClick=${close}>Cancel</button><button class="strong" disabled=${busy} onClick=${go}>${busy ? "Asking…" : words}</button></div>`
        : html`<${NeedsToken} /><${TokenForm} done=${go} words=${words} cancel=${close} />`
    }
  <//>`;
}

function NeedsToken() {
  return html`<p class="soft">This needs the operator's token: VIDEOSSR_TOKEN of the dashboard, or the one it printed when it started.</p>`;
}

/** @param {{done: () => void, words: string, cancel?: () => void}} props */
export function TokenForm({ done, words, cancel }) {
  const [token, setToken] = useState("");
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const enter = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      await post("/api/session", { token });
      const who = await get("/api/me");
      if (cancel && who.role !== "operator")
        setError(new Error("That is the token for reading. Acting needs the operator's."));
      else done();
      me.set(who);
    } catch (failure) {
      setError(/** @type {Error} */ (failure));
    }
  };
  return html`<form class="token" onSubmit=${enter}>
    <label class="field column"><span>Token</span>
      <input type="password" autocomplete="current-password" required value=${token} onInput=${(/** @type {any} */ event) => setToken(event.target.value)} /></label>
    <${Failure} error=${error} />
    <div class="buttons">${cancel && html`<button type="button" onClick=${cancel}>Cancel</button>`}<button class="strong">${words}</button></div>
  </form>`;
}

export async function signOut() {
  await remove("/api/session");
  me.set(await get("/api/me"));
  if (me.value?.needs_token) window.location.hash = link(["runs"]);
}
