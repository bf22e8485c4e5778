// Dark or light theme: the system's setting, unless the user has chosen one.
import { Shared } from "./live.js";

const KEY = "videossr-theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");

/** @type {Shared<"dark" | "light">} */
export const theme = new Shared(/** @type {"dark" | "light"} */ ("light"));

/** @type {Map<string, string>} */
const colours = new Map();

function apply() {
  const chosen = window.localStorage.getItem(KEY);
  const dark = chosen ? chosen === "dark" : system.matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  colours.clear();
  theme.set(dark ? "dark" : "light");
}

export function switchTheme() {
  const next = theme.value === "dark" ? "light" : "dark";
  if ((next === "dark") === system.matches) window.localStorage.removeItem(KEY);
  else window.localStorage.setItem(KEY, next);
  apply();
}

/** Return a colour of the style sheet, for canvases. @param {string} name such as "--text" */
export function colour(name) {
  let value = colours.get(name);
  if (value === undefined) {
    value = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    colours.set(name, value);
  }
  return value;
}

/** Return a line's colour: line 0 has the text's colour, -1 is grey, the others rotate through eight colours. @param {number} line */
export function lineColour(line) {
  return colour(`--${lineClass(line)}`);
}

/** @param {number} line */
export function lineClass(line) {
  if (line < 0) return "cg";
  return line === 0 ? "c0" : `c${((line - 1) % 8) + 1}`;
}

system.addEventListener("change", apply);
apply();
