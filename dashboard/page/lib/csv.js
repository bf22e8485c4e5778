// Tables as CSV (RFC 4180): a cell with a comma, a quote or a line break is quoted.

/** @typedef {string | number | null | undefined} Cell null and undefined: an empty cell */

/** @param {Cell[][]} rows the first row holds the headings */
export function csvOf(rows) {
  return rows.map((row) => row.map(cell).join()).join("\r\n");
}

/** @param {Cell} value */
function cell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
