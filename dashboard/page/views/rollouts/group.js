// One group: its clips, question and truth, its completions, and how they changed over steps.
import { get } from "../../lib/api.js";
import { clock, counted, number, score, signed } from "../../lib/format.js";
import { html, useEffect, useRef, useState } from "../../lib/html.js";
import { useLoaded } from "../../lib/live.js";
import { Failure, Loading } from "../../ui.js";

/** @typedef {import("../../lib/types.js").Completion} Completion */

const MANY_FRAMES = 24; // more frames than this are shown smaller

/** @param {{run: number, id: number, heldOut: string | null}} props heldOut: address of held-out groups of its task */
export function Group({ run, id, heldOut }) {
  const { data, error, reload } = useLoaded(() => get(`/api/runs/${run}/groups/${id}`), [run, id]);
  const group = /** @type {import("../../lib/types.js").StoredGroup | undefined} */ (data);
  if (!group)
    return html`<div class="group"><${Failure} error=${error} retry=${reload} />${!error && html`<${Loading} />`}</div>`;
  const clips = group.frames;
  const edited = clips.flatMap((clip) => clip.frames).filter((frame) => frame.edited).length;
  return html`<article class="group" aria-label=${`Group ${group.group_id}`}>
    <section class="card pad">
      <div class="head"><h2>${group.task}</h2><span class="soft num">${origin(group)} · group ${group.group_id}</span>
        <span class="space"></span>${edited > 0 && html`<span class="pill accent">${counted(edited, "frame")} edited</span>`}</div>
      <div class="clips">${clips.map((clip, i) => html`<${Strip} key=${i} clip=${clip} place=${i} of=${clips.length} />`)}</div>
      <p class="question">${group.question}</p>
      <dl class="truth"><div><dt>Truth</dt><dd><code>${group.truth}</code></dd></div>${group.details && html`<div><dt>Details</dt><dd class="soft">${group.details}</dd></div>`}</dl>
    </section>
    <section class="card"><${Completions} completions=${group.completions} /></section>
    <${History} run=${run} group=${group} heldOut=${heldOut} />
  </article>`;
}

/** @param {{clip: import("../../lib/types.js").Clip, place: number, of: number}} props */
function Strip({ clip, place, of }) {
  const moved = clip.true_place !== null;
  const title = clip.label || (of > 1 ? `Clip ${place + 1}` : "");
  return html`<div class="clip">
    ${(title || moved) && html`<p class="clip-title">${title}${moved && html` <span class="pill ${clip.true_place === place ? "" : "accent"}">${clip.true_place === place ? "in its place" : `really ${ordinal((clip.true_place ?? 0) + 1)}`}</span>`}</p>`}
    <ol class="strip ${clip.frames.length > MANY_FRAMES ? "many" : ""}" aria-label=${`${title || "Video"}: ${counted(clip.frames.length, "frame")}`}>
      ${clip.frames.map((frame, i) => html`<${Picture} key=${i} frame=${frame} />`)}
    </ol>
  </div>`;
}

/** @param {{frame: import("../../lib/types.js").Frame}} props */
function Picture({ frame }) {
  const [size, setSize] = useState(/** @type {[number, number] | null} */ (null));
  const words = `Frame at ${clock(frame.time_s)}${frame.edited ? ", edited" : ""}${frame.boxes.length ? `, with ${frame.boxes.map((box) => box[4]).join(", ")}` : ""}`;
  return html`<li class="frame ${frame.edited ? "edited" : ""}">
    <span class="picture"><img src=${frame.url} alt=${words} loading="lazy" decoding="async" onLoad=${(/** @type {any} */ event) => setSize([event.target.naturalWidth, event.target.naturalHeight])} />
      ${size && frame.boxes.map((box, i) => html`<${Mark} key=${i} box=${box} size=${size} />`)}</span>
    <span class="time num">${clock(frame.time_s)}${frame.edited && html`<span class="edit-word"> edited</span>`}</span>
  </li>`;
}

/** A box over a picture, scaled with it. @param {{box: import("../../lib/types.js").Box, size: [number, number]}} props */
function Mark({ box: [x, y, width, height, label], size: [across, down] }) {
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    // The content policy forbids style attributes in HTML, but not setting styles by script.
    const style = /** @type {HTMLElement} */ (ref.current).style;
    [style.left, style.width] = [`${(100 * x) / across}%`, `${(100 * width) / across}%`];
    [style.top, style.height] = [`${(100 * y) / down}%`, `${(100 * height) / down}%`];
  }, [x, y, width, height, across, down]);
  return html`<span class="box" ref=${ref} title=${label}></span>`;
}

/** @param {{completions: Completion[]}} props */
function Completions({ completions }) {
  const sorted = [...completions].sort((a, b) => (b.reward ?? -1) - (a.reward ?? -1));
  return html`<table class="completions stack">
    <thead><tr><th scope="col">${counted(completions.length, "completion")}</th>
      ${["Reward", "Advantage", "Tokens", "Logprob"].map((head) => html`<th key=${head} scope="col" class="right">${head}</th>`)}<th scope="col">Form</th></tr></thead>
    <tbody>${sorted.map(
      (one, i) => html`<tr key=${i}>
      <td class="text"><${Text} text=${one.text} /></td>
      <td data-head="Reward" class="right num"><span class="reward"><progress max="1" value=${Math.max(0, one.reward ?? 0)} aria-hidden="true"></progress>${score(one.reward)}</span></td>
      <td data-head="Advantage" class="right num ${(one.advantage ?? 0) > 0 ? "toned good" : (one.advantage ?? 0) < 0 ? "toned bad" : "soft"}">${one.advantage === null ? "–" : signed(one.advantage)}</td>
      <td data-head="Tokens" class="right num">${one.num_tokens}${one.finish_reason === "length" && html`<span class="pill warn" title="It ran into the length limit">cut</span>`}</td>
      <td data-head="Logprob" class="right num soft">${number(one.logprob_mean)}</td>
      <td data-head="Form">${one.valid ? html`<span class="soft">valid</span>` : html`<span class="pill bad">not valid</span>`}</td>
    </tr>`,
    )}</tbody>
  </table>`;
}

/** @param {{text: string}} props */
function Text({ text }) {
  const [open, setOpen] = useState(false);
  if (text === "") return html`<span class="soft">(empty)</span>`;
  const long = text.length > 280;
  return html`<code class="said">${long && !open ? `${text.slice(0, 260)}…` : text}</code>${long && html`<button class="plain" onClick=${() => setOpen(!open)}>${open ? "less" : "more"}</button>`}`;
}

/** Return a description of the group's origin: its step, and the weights that generated it. @param {import("../../lib/types.js").StoredGroup} group */
function origin(group) {
  const behind = group.step - group.policy_version;
  if (group.held_out)
    return `evaluation ${group.step ? `after ${counted(group.step, "step")}` : "before training"}, not trained on`;
  const weights = group.policy_version
    ? `the weights after ${counted(group.policy_version, "step")}`
    : "the initial weights";
  return `training step ${group.step}, generated by ${weights}${behind > 0 ? `, ${counted(behind, "step")} behind` : ""}`;
}

/** The completions of this prompt over all steps that used it. @param {{run: number, group: import("../../lib/types.js").StoredGroup, heldOut: string | null}} props */
function History({ run, group, heldOut }) {
  const { data } = useLoaded(
    () => get(`/api/runs/${run}/prompts/${encodeURIComponent(group.prompt_key)}`),
    [run, group.prompt_key],
  );
  if (!data) return null;
  const rounds = /** @type {import("../../lib/types.js").GroupHistory[]} */ (data);
  if (rounds.length < 2) return html`<p class="soft small">${onlyOnce(group, heldOut)}</p>`;
  return html`<section class="card"><table class="history stack">
    <thead><tr><th scope="col">${group.held_out ? "After steps" : "Step"}</th><th scope="col" class="right">Mean reward</th><th scope="col">Completions of this prompt, most frequent first</th></tr></thead>
    <tbody>${rounds.map(
      (round) => html`<tr key=${round.id} class=${round.id === group.id ? "here" : ""}>
      <td data-head="Step" class="num">${round.step}${round.id === group.id && html`<span class="soft"> this one</span>`}</td>
      <td data-head="Mean reward" class="right num">${score(round.mean_reward)}</td>
      <td class="texts">${frequent(round.completions).map(([text, count, reward]) => html`<span key=${text} class="said ${(reward ?? 0) > 0.5 ? "good" : ""}"><code>${text.length > 60 ? `${text.slice(0, 58)}…` : text || "(empty)"}</code>${count > 1 && html`<span class="soft num"> ×${count}</span>`}</span>`)}</td>
    </tr>`,
    )}</tbody>
  </table></section>`;
}

/** @param {import("../../lib/types.js").StoredGroup} group @param {string | null} heldOut */
function onlyOnce(group, heldOut) {
  if (group.held_out)
    return "Every evaluation uses this prompt again. After the next one, this table shows how the completions change.";
  const where = heldOut
    ? html`<a href=${heldOut}>held-out groups of ${group.task}</a>, whose prompts every evaluation uses again`
    : "held-out groups, but this run has recorded none of this task";
  return html`Training used this prompt once. To see how completions change, look at the ${where}.`;
}

/** @param {Completion[]} completions @returns {[string, number, number | null][]} text, how often, its reward */
function frequent(completions) {
  /** @type {Map<string, [string, number, number | null]>} */
  const found = new Map();
  for (const { text, reward } of completions)
    found.set(text, [text, (found.get(text)?.[1] ?? 0) + 1, reward]);
  return [...found.values()].sort((a, b) => b[1] - a[1]);
}

/** @param {number} place from 1 */
function ordinal(place) {
  const ending =
    place % 100 > 10 && place % 100 < 14 ? "th" : ({ 1: "st", 2: "nd", 3: "rd" }[place % 10] ?? "th");
  return `${place}${ending}`;
}
