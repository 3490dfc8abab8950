// Bundle each widget for the Python package, and refuse a bundle that has grown too large: it is
// stored in every saved notebook, once per widget. The page's bundle holds them all, once per page
// or notebook; `kept.js`, which finds it there, is below every widget.
import { readFile, stat, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const LIMITS = { heatmap: 70_000, steering: 70_000, training: 70_000, page: 120_000, kept: 4_000 };

const options = {
  outdir: here("../sae_widgets/static"),
  bundle: true,
  minify: true,
  // The oldest browsers that know color-mix; nested rules are written out for them.
  target: ["es2022", "chrome111", "firefox113", "safari16.4"],
  tsconfigRaw: "{}", // which has its own idea of JSX
  jsx: "transform",
  jsxFactory: "h",
  jsxFragment: "Fragment",
  inject: [here("src/h.ts")],
  mangleProps: /^__/, // Preact's own
  legalComments: "none",
  charset: "utf8",
};
const widgets = {
  heatmap: here("src/widgets/heatmap.tsx"),
  steering: here("src/widgets/steering.tsx"),
  training: here("src/widgets/training.tsx"),
};
await build({ ...options, entryPoints: widgets, format: "esm" });
await build({ ...options, entryPoints: { page: here("src/page.ts") }, format: "iife" });
// It shows nothing by itself, so it needs no Preact.
await build({ ...options, inject: [], entryPoints: { kept: here("src/kept.ts") }, format: "iife" });

for (const [name, limit] of Object.entries(LIMITS)) {
  await pressed(here(`../sae_widgets/static/${name}.js`), name in widgets);
  for (const file of name === "kept" ? ["kept.js"] : [`${name}.js`, `${name}.css`]) {
    const { size } = await stat(here(`../sae_widgets/static/${file}`));
    process.stdout.write(`${file} ${(size / 1000).toFixed(1)} kB\n`);
    if (size > limit) throw new Error(`${file} is ${size} bytes; its limit is ${limit}`);
  }
}

/** Once more through another minifier, which finds what esbuild leaves: two per cent. */
async function pressed(path, module) {
  const { code } = await minify(await readFile(path, "utf8"), {
    module,
    ecma: 2020,
    compress: { passes: 3, unsafe_arrows: true },
  });
  await writeFile(path, code);
}
