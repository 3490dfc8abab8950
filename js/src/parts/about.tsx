/** What a widget was made with, for whoever is handed it. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { About } from "../wire";

/** Words in a drawer; null where there are none. */
export const sheet = (text: string | undefined) =>
  text === undefined ? null : <pre class="sae-drawer sae-mono">{text}</pre>;

/** The drawer that says so, for the SAE of this name; null where nobody said. */
export function aboutThis({ model, saes, versions }: About, sae: string, seed?: number) {
  const facts = { model, [`SAE ${sae}`]: saes?.[sae], seed, versions };
  return model ? sheet(plain(facts)) : null;
}

interface Props {
  class: string;
  /** What is shown of which SAE; what is empty is left out. */
  facts: readonly string[];
  about: ReturnType<typeof aboutThis>;
  children?: ComponentChildren;
}

/** The end of a widget: what it has to say there, what it is of, and the drawer. */
export function Ending({ class: name, facts, about, children }: Props) {
  const [telling, setTelling] = useState(false);
  return (
    <>
      <div class={name}>
        {children}
        <span class="sae-grow" />
        <span class="sae-cut">{facts.filter(Boolean).join(" · ")}</span>
        {about && (
          <button
            type="button"
            class="sae-link"
            aria-expanded={telling}
            onClick={() => setTelling(!telling)}
          >
            about this
          </button>
        )}
      </div>
      {telling && about}
    </>
  );
}

/** JSON without its signs: each fact on a line, and those that belong to another below it. */
const plain = (facts: object) =>
  JSON.stringify(facts, null, 2)
    .replace(/[{}"]|,$/gm, "")
    .trim();
