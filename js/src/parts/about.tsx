/** What a widget was made with, for whoever is handed it. */

import type { About } from "../wire";

/** Words in a drawer; null where there are none. */
export const sheet = (text: string | undefined) =>
  text === undefined ? null : <pre class="sae-drawer sae-mono">{text}</pre>;

/** The drawer that says so, for the SAE of this name; null where nobody said. */
export function aboutThis({ model, saes, versions }: About, sae: string, seed?: number) {
  const facts = { model, [`SAE ${sae}`]: saes?.[sae], seed, versions };
  return model ? sheet(plain(facts)) : null;
}

/** JSON without its signs: each fact on a line, and those that belong to another below it. */
const plain = (facts: object) =>
  JSON.stringify(facts, null, 2)
    .replace(/[{}"]|,$/gm, "")
    .trim();
