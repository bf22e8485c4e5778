// Copies the released files that the page loads from node_modules (pinned by package-lock.json) to dashboard/page/vendor,
// and writes README.md there. `npm run vendor -- DIR` copies them elsewhere, for a comparison.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2] ?? join(here, "../../../dashboard/page/vendor");

/** [file in the page, package, file in the package] */
const FILES = [
  ["preact.js", "preact", "dist/preact.mjs"],
  ["preact-hooks.js", "preact", "hooks/dist/hooks.mjs"],
  ["htm.js", "htm", "dist/htm.mjs"],
  ["uplot.js", "uplot", "dist/uPlot.esm.js"],
  ["uplot.css", "uplot", "dist/uPlot.min.css"],
  ["preact.LICENSE", "preact", "LICENSE"],
  ["htm.LICENSE", "htm", "LICENSE"],
  ["uplot.LICENSE", "uplot", "LICENSE"],
];

const rows = FILES.map(([name, from, path]) => {
  const folder = join(here, "node_modules", from);
  const released = readFileSync(join(folder, path));
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  mkdirSync(target, { recursive: true });
  writeFileSync(join(target, name), loadable(released.toString("utf8")));
  return `| ${name} | ${from} ${version} | ${path} | ${license} | \`${sha256(released)}\` |`;
});

writeFileSync(
  join(target, "README.md"),
  `# Libraries of the page

Released files from npm, copied by \`npm ci && npm run vendor\` in tests/browser/npm. Two changes let a browser load
them without an import map and source maps: \`from"preact"\` is replaced by the file in this folder, and the line with
the source map is removed. The checksums are those of the released files.

| file | package | file in the package | licence | sha256 of the released file |
|---|---|---|---|---|
${rows.join("\n")}
`,
);

function loadable(text) {
  return text
    .replace(/from\s*"preact"/g, 'from"./preact.js"')
    .replace(/\n?\/\/# sourceMappingURL=.*\n?/g, "\n");
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}
