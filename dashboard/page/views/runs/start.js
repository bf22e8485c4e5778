// The dialog that starts a run, from one of the server's configs or from YAML.
import { post } from "../../lib/api.js";
import { html, useState } from "../../lib/html.js";
import { me, useShared } from "../../lib/live.js";
import { Choice, Dialog, Select } from "../../ui.js";
import { ActionDialog, NeedsToken, TokenForm } from "../ask.js";

/** @param {{close: () => void}} props */
export function StartDialog({ close }) {
  const who = useShared(me);
  if (who?.role !== "operator") {
    return html`<${Dialog} title="Start a run" close=${close}><${NeedsToken} /><${TokenForm} done=${() => {}} words="Continue" cancel=${close} /><//>`;
  }
  if (!who.can_start) {
    return html`<${Dialog} title="Start a run" close=${close}><p>This dashboard only shows runs. Start them where videossr is installed for training:</p>
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
  return html`<${ActionDialog} title="Start a run" words="Start" close=${close} act=${act} leads>
    <p>The run appears in the list at once, as queued. If a setting, the model or the videos are unusable, it fails there with the reason.</p>
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
    <label class="field column"><span>Overrides, one per line</span>
      <textarea rows="3" spellcheck="false" placeholder="train.steps=100" value=${overrides} onInput=${(/** @type {any} */ event) => setOverrides(event.target.value)}></textarea></label>
  <//>`;
}
