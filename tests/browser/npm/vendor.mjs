// Copies the released files that the page loads from node_modules (as package-lock.json pins them) to dashboard/page/vendor,
// and writes README.md there. `npm run vendor -- DIR` puts them elsewhere, for a comparison.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2] ?? join(here, "../../../dashboard/page/vendor");

/** [file here, package, file there] */
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

Released files from npm, made again by \`npm ci && npm run vendor\` in tests/browser/npm. Two things are changed, because
a browser without an import map and without source maps is to load them: \`from"preact"\` names the file beside it, and
the line that names a source map is left out. The checksums are those of the released files.

| file | package | file there | licence | sha256 of the released file |
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
