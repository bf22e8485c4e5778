// Before anything is done: what will happen is said, the token asked for, and then what came of it told.
import { get, post, remove } from "../lib/api.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { askWho, me, useShared } from "../lib/live.js";
import { link } from "../lib/router.js";
import { Dialog, Failure } from "../ui.js";

/**
 * Says what will happen, asks for the token if need be, acts, and shows what came of it.
 *
 * @param {object} props
 * @param {string} props.title
 * @param {string} props.words on the button
 * @param {"strong" | "danger"} [props.strong] how the button looks
 * @param {() => void} props.close
 * @param {() => Promise<import("../lib/types.js").Accepted>} props.act
 * @param {boolean} [props.leads] to the run, once it was done
 * @param {any} [props.children]
 */
export function Ask({ title, words, strong = "strong", close, act, leads = false, children }) {
  const who = useShared(me);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const [answer, setAnswer] = useState(/** @type {import("../lib/types.js").Accepted | null} */ (null));
  const done = useRef(/** @type {HTMLButtonElement | null} */ (null));
  useEffect(() => done.current?.focus(), [answer]);
  const go = async () => {
    setBusy(true);
    setError(null);
    try {
      setAnswer(await act());
    } catch (failure) {
      setError(/** @type {Error} */ (failure));
      // The session may be over; if that cannot be asked either, what was said stands.
      if (/** @type {any} */ (failure).status === 401) await askWho().catch(() => {});
    } finally {
      setBusy(false);
    }
  };
  if (answer) {
    return html`<${Dialog} title=${title} close=${close}><p class="notice good" role="status">${answer.message}</p>
      <div class="buttons">
        <button ref=${done} class=${leads ? "" : "strong"} onClick=${close}>Close</button>
        ${leads && answer.run_id && html`<a class="button strong" href=${link(["run", answer.run_id])}>Look at it</a>`}
      </div><//>`;
  }
  return html`<${Dialog} title=${title} close=${close}>
    ${children}
    <${Failure} error=${error} />
    ${
      who?.role === "operator"
        ? html`<div class="buttons"><button onClick=${close}>Cancel</button><button class=${strong} disabled=${busy} onClick=${go}>${busy ? "Asking…" : words}</button></div>`
        : html`<${NeedsToken} /><${TokenForm} done=${go} words=${words} strong=${strong} cancel=${close} />`
    }
  <//>`;
}

export function NeedsToken() {
  return html`<p class="soft">This needs the operator's token: VIDEOSSR_TOKEN of the dashboard, or the one it printed when it started.</p>`;
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
    <label class="field column"><span>Your name (for the log)</span>
      <input autocomplete="name" maxlength="60" placeholder="may stay empty" value=${name} onInput=${(/** @type {any} */ event) => setName(event.target.value)} /></label>
    <${Failure} error=${error} />
    <div class="buttons">${cancel && html`<button type="button" onClick=${cancel}>Cancel</button>`}<button class=${strong}>${words}</button></div>
  </form>`;
}

export async function signOut() {
  await remove("/api/session");
  await askWho();
  if (me.value?.needs_token) window.location.hash = link(["runs"]);
}
