// The dialog for actions, and the log-in form.
import { get, post, remove } from "../lib/api.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { updateMe, me, useShared } from "../lib/live.js";
import { link } from "../lib/router.js";
import { Dialog, Failure } from "../ui.js";

/**
 * A dialog that says what will happen, requests the token if necessary, carries out the action and shows its outcome.
 *
 * @param {object} props
 * @param {string} props.title
 * @param {string} props.words label of the button
 * @param {"strong" | "danger"} [props.strong] the button's style
 * @param {() => void} props.close
 * @param {() => Promise<import("../lib/types.js").Accepted>} props.act
 * @param {boolean} [props.leads] whether the outcome has a link to the run
 * @param {any} [props.children]
 */
export function ActionDialog({ title, words, strong = "strong", close, act, leads = false, children }) {
  const who = useShared(me);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const [accepted, setAccepted] = useState(/** @type {import("../lib/types.js").Accepted | null} */ (null));
  const done = useRef(/** @type {HTMLButtonElement | null} */ (null));
  useEffect(() => done.current?.focus(), [accepted]);
  const go = async () => {
    setBusy(true);
    setError(null);
    try {
      setAccepted(await act());
    } catch (failure) {
      setError(/** @type {Error} */ (failure));
      // The session may have expired. If checking this fails too, keep the first error.
      if (/** @type {any} */ (failure).status === 401) await updateMe().catch(() => {});
    } finally {
      setBusy(false);
    }
  };
  if (accepted) {
    return html`<${Dialog} title=${title} close=${close}><p class="notice good" role="status">${accepted.message}</p>
      <div class="buttons">
        <button ref=${done} class=${leads ? "" : "strong"} onClick=${close}>Close</button>
        ${leads && accepted.run_id && html`<a class="button strong" href=${link(["run", accepted.run_id])}>Open the run</a>`}
      </div><//>`;
  }
  return html`<${Dialog} title=${title} close=${close}>
    ${children}
    <${Failure} error=${error} />
    ${
      who?.role === "operator"
        ? html`<div class="buttons"><button onClick=${close}>Cancel</button><button class=${strong} disabled=${busy} onClick=${go}>${busy ? "Sending…" : words}</button></div>`
        : html`<${NeedsToken} /><${TokenForm} done=${go} words=${words} strong=${strong} cancel=${close} />`
    }
  <//>`;
}

export function NeedsToken() {
  return html`<p class="soft">This needs the operator's token: the dashboard's VIDEOSSR_TOKEN, or the one it printed at its start.</p>`;
}

/** @param {{done: () => void, words: string, strong?: string, cancel?: () => void}} props */
export function TokenForm({ done, words, strong = "strong", cancel }) {
  const [token, setToken] = useState("");
  const [name, setName] = useState("");
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const enter = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      await post("/api/session", name.trim() ? { token, name: name.trim() } : { token });
      const who = await get("/api/me");
      if (cancel && who.role !== "operator")
        setError(new Error("This token may only read. Enter the operator's token."));
      else done();
      me.set(who);
    } catch (failure) {
      setError(/** @type {Error} */ (failure));
    }
  };
  return html`<form class="token" onSubmit=${enter}>
    <label class="field column"><span>Token</span>
      <input type="password" autocomplete="current-password" required value=${token} onInput=${(/** @type {any} */ event) => setToken(event.target.value)} /></label>
    <label class="field column"><span>Your name (for the log)</span>
      <input autocomplete="name" maxlength="60" placeholder="optional" value=${name} onInput=${(/** @type {any} */ event) => setName(event.target.value)} /></label>
    <${Failure} error=${error} />
    <div class="buttons">${cancel && html`<button type="button" onClick=${cancel}>Cancel</button>`}<button class=${strong}>${words}</button></div>
  </form>`;
}

export async function signOut() {
  await remove("/api/session");
  await updateMe();
  if (me.value?.needs_token) window.location.hash = link(["runs"]);
}
