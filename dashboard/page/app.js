// The frame around all views: header, navigation, connection state and the log-in.
import { post } from "./lib/api.js";
import { html, render, useEffect, useState } from "./lib/html.js";
import { later } from "./lib/later.js";
import { connection, me, refusal, updateMe, useShared } from "./lib/live.js";
import { link, useRoute } from "./lib/router.js";
import { switchTheme, theme } from "./lib/theme.js";
import { Empty, Failure, Loading, useTitle } from "./ui.js";
import { signOut, TokenForm } from "./views/ask.js";
import { Runs } from "./views/runs/runs.js";

const TOKEN = /^#token=(.+)$/;
// These views are loaded when they are first shown, so that the list of runs opens quickly.
const Log = later(() => import("./views/log.js").then((found) => found.Log));
const Benchmarks = later(() => import("./views/benchmarks.js").then((found) => found.Benchmarks));
const findRun = () => import("./views/run/run.js").then((found) => found.Run);
const Run = later(findRun);
// Load the run view while `logIn` waits for the server. The view itself reports an error of this load.
if (window.location.hash.startsWith("#/run/")) findRun().catch(() => {});

function App() {
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const who = useShared(me);
  const begin = () => {
    setError(null);
    logIn().catch(setError);
  };
  useEffect(() => {
    begin();
    const onAddress = () => TOKEN.test(window.location.hash) && begin(); // a link was pasted into an open page
    window.addEventListener("hashchange", onAddress);
    return () => window.removeEventListener("hashchange", onAddress);
  }, []);
  return html`
    <a class="skip" href="#main" onClick=${toMain}>Skip to content</a>
    <${Top} />
    <${NotLive} />
    <main id="main" tabindex="-1">
      ${error ? html`<div class="page"><${Failure} error=${error} retry=${begin} /></div>` : who ? html`<${View} who=${who} />` : html`<${Loading} />`}
    </main>`;
}

/** Exchange the token in the address, which the command prints, for a session, and remove it from the address. */
async function logIn() {
  const found = TOKEN.exec(window.location.hash);
  if (found) {
    window.history.replaceState(null, "", "#/runs");
    window.dispatchEvent(new HashChangeEvent("hashchange"));
    await post("/api/session", { token: decodeURIComponent(found[1]) });
  }
  await updateMe();
}

/** @param {{who: import("./lib/types.js").Me}} props */
function View({ who }) {
  const { path } = useRoute();
  if (who.needs_token && !who.role) return html`<${LogIn} />`;
  const [view = "runs", id, tab = "curves"] = path;
  if (view === "runs") return html`<${Runs} />`;
  if (view === "benchmarks") return html`<${Benchmarks} />`;
  if (view === "log") return html`<${Log} />`;
  if (view === "run" && /^\d+$/.test(id ?? "")) return html`<${Run} key=${id} id=${Number(id)} tab=${tab} />`;
  return html`<${NotFound} />`;
}

function NotFound() {
  useTitle("Not found");
  return html`<div class="page"><${Empty} title="There is nothing at this address"><a href=${link(["runs"])}>Go to the runs</a><//></div>`;
}

function LogIn() {
  useTitle("Log in");
  return html`<section class="page entrance"><div class="card pad"><h1>This dashboard asks for a token</h1>
    <p class="soft">Enter VIDEOSSR_READ_TOKEN or VIDEOSSR_TOKEN, which the operator of the server has set.</p>
    <${TokenForm} done=${() => {}} words="Log in" /></div></section>`;
}

function Top() {
  const { path } = useRoute();
  const who = useShared(me);
  const here = path[0] ?? "runs";
  const look = useShared(theme);
  return html`<header class="top">
    <a class="brand" href=${link(["runs"])} aria-label="VideoSSR"><span class="mark" aria-hidden="true">▶</span><span class="name">VideoSSR</span></a>
    <nav aria-label="Views">
      <a href=${link(["runs"])} aria-current=${here === "runs" || here === "run" ? "page" : undefined}>Runs</a>
      <a href=${link(["benchmarks"])} aria-current=${here === "benchmarks" ? "page" : undefined}>Benchmarks</a>
    </nav>
    <span class="space"></span>
    ${!(who?.needs_token && !who.role) && html`<${ConnectionState} />`}
    <a class="quiet" href=${link(["log"])} aria-current=${here === "log" ? "page" : undefined} title="Requests to start, stop, save and resume runs">Log</a>
    ${who?.role === "operator" && html`<button class="quiet" title="You may start and stop runs. Click to log out." onClick=${signOut}>Operator ×</button>`}
    <button class="quiet" aria-label=${`Switch to ${look === "dark" ? "light" : "dark"} colours`} onClick=${switchTheme}>${look === "dark" ? "☀" : "☾"}</button>
  </header>`;
}

function ConnectionState() {
  const state = useShared(connection);
  const [sign, words] = {
    opening: ["○", "connecting"],
    live: ["●", "live"],
    lost: ["▲", "connection lost, reconnecting"],
    polling: ["◔", "updated every 15 s"],
  }[state];
  return html`<span class="line ${state}" role="status"><span aria-hidden="true">${sign}</span> ${words}</span>`;
}

/** Show why there are no live updates: the server refuses the stream when too many pages are open. */
function NotLive() {
  const words = useShared(refusal);
  if (!words) return null;
  return html`<div class="notice warn not-live" role="status"><b>Not live</b>
    <span>The server refused live updates: ${words} Until then, this page refreshes every 15 seconds.</span></div>`;
}

/** Move the focus to the view. A plain link to #main would change the address. @param {Event} event */
function toMain(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

const root = /** @type {HTMLElement} */ (document.getElementById("app"));
root.replaceChildren();
render(html`<${App} />`, root);
