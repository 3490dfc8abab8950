// Bundle each widget for the Python package, and refuse a bundle that has grown too large:
// it is stored in every saved notebook, once per widget.
import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const LIMIT = 60_000;

await build({
  entryPoints: {
    heatmap: here("src/widgets/heatmap.tsx"),
    steering: here("src/widgets/steering.tsx"),
  },
  outdir: here("../sae_widgets/static"),
  bundle: true,
  minify: true,
  format: "esm",
  // The oldest browsers that know color-mix; nested rules are written out for them.
  target: ["es2022", "chrome111", "firefox113", "safari16.4"],
  tsconfigRaw: "{}", // which has its own idea of JSX
  jsx: "transform",
  jsxFactory: "h",
  jsxFragment: "Fragment",
  inject: [here("src/h.ts")],
  legalComments: "none",
  charset: "utf8",
});

for (const name of ["heatmap.js", "steering.js", "heatmap.css", "steering.css"]) {
  const { size } = await stat(here(`../sae_widgets/static/${name}`));
  process.stdout.write(`${name} ${(size / 1000).toFixed(1)} kB\n`);
  if (size > LIMIT) throw new Error(`${name} is ${size} bytes; a bundle stays under ${LIMIT}`);
}
