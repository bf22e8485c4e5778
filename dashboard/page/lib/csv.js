// Tables as RFC 4180 has them: what holds a comma, a quote or a line break is quoted.

/** @typedef {string | number | null | undefined} Cell nothing: an empty one */

/** @param {Cell[][]} rows with their heads */
export function csvOf(rows) {
  return rows.map((row) => row.map(cell).join()).join("\r\n");
}

/** @param {Cell} value */
function cell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
