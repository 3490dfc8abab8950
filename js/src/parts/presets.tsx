/** Edits that were kept under a name, in a file beside the notebook. */

import { useState } from "preact/hooks";
import type { Edit } from "../wire";
import { Button } from "./choice";
import { useHost } from "./frame";

interface Props {
  presets: Readonly<Record<string, readonly Edit[]>>;
  /** An edit in brief. */
  named: (edit: Edit) => string;
  onTake: (edits: readonly Edit[]) => void;
  /** Keep the present edits under this name. */
  onKeep: (name: string) => void;
  onForget: (name: string) => void;
}

export function Presets({ presets, named, onTake, onKeep, onForget }: Props) {
  const { why } = useHost();
  const [name, setName] = useState("");
  const wanted = name.trim();
  const keep = () => {
    if (why !== null || wanted === "") return;
    onKeep(wanted);
    setName("");
  };
  return (
    <div class="sae-also">
      {Object.entries(presets).map(([each, edits]) => (
        <span key={each} class="sae-chip">
          <Button
            class="sae-link"
            why={why}
            title={`Steer with ${edits.map(named).join(", ")}`}
            onClick={() => onTake(edits)}
          >
            {each}
          </Button>
          <Button
            class="sae-quiet"
            aria-label={`forget ${each}`}
            why={why}
            title="Forget it"
            onClick={() => onForget(each)}
          >
            ×
          </Button>
        </span>
      ))}
      <input
        class="sae-search sae-keep"
        aria-label="name of the preset"
        placeholder="keep these edits as …"
        title="In steering-presets.json beside the notebook; Enter keeps them"
        value={name}
        readOnly={why !== null}
        onInput={(event) => setName(event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Enter" && keep()}
      />
      <Button why={why} off={wanted === ""} onClick={keep}>
        {Object.hasOwn(presets, wanted) ? "Replace" : "Keep"}
      </Button>
    </div>
  );
}
