// Numbers, durations and times as text.

/** Return the stage of a running run; empty while it trains. @param {{state: string, stage: string | null}} run */
export function doing(run) {
  return run.state === "running" && run.stage !== "training" ? (run.stage ?? "") : "";
}

/** @param {number | null | undefined} value */
export function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(1).replace("e+", "e");
  if (size >= 1000) return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? Math.min(1, digits) : digits);
}

/** A reward, validity or share, always with two decimals, so that columns line up. @param {number | null | undefined} value */
export function score(value) {
  return value === null || value === undefined ? "–" : value.toFixed(2);
}

/** @param {number} value */
export function signed(value) {
  const text = Math.abs(value).toFixed(2);
  return Number(text) === 0 ? "0.00" : (value > 0 ? "+" : "−") + text;
}

/** @param {number} value */
export function percent(value) {
  return `${(100 * value).toFixed(value < 0.1 ? 1 : 0)}\u202f%`;
}

/** 5400 → "1 h 30 min". @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds > 0 && seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/** Return how long ago something happened, in a single unit. @param {number} seconds */
export function ago(seconds) {
  if (seconds < 15) return "just now";
  if (seconds < 60) return `${15 * Math.floor(seconds / 15)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 2 * 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

/** Return a position in a video. @param {number} seconds */
export function clock(seconds) {
  const whole = Math.floor(seconds / 60);
  const rest = seconds - 60 * whole;
  return whole ? `${whole}:${rest.toFixed(1).padStart(4, "0")}` : `${rest.toFixed(1)} s`;
}

const FULL = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const SHORT = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** @param {number} time seconds since the epoch */
export function dateTime(time) {
  return FULL.format(new Date(1000 * time));
}

/** @param {number} time seconds since the epoch */
export function timeOfDay(time) {
  return SHORT.format(new Date(1000 * time));
}

/** @param {number} count @param {string} thing @param {string} [things] */
export function counted(count, thing, things = `${thing}s`) {
  return `${count} ${count === 1 ? thing : things}`;
}
