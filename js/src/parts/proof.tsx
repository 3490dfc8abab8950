/** What else the edits did: to other features, and to each other. */

import { change, number } from "../text";
import type { Effects, Moved } from "../wire";
import { Button } from "./choice";
import { useHost } from "./frame";

interface AlsoProps {
  also: readonly Moved[];
  onSelect: (feature: Moved) => void;
}

/** The features that nobody edited and that rose or fell most. */
export function Also({ also, onSelect }: AlsoProps) {
  const { why } = useHost();
  if (also.length === 0) return null;
  return (
    <div class="sae-also sae-tiny">
      <span
        class="sae-soft"
        title="Features that nobody edited, by how much the edits raise or lower their mean over the steered text"
      >
        also moved
      </span>
      {also.map((one) => (
        <Button
          key={`${one.sae} ${one.feature}`}
          title={`${number(one.before)} → ${number(one.after)}: ${why ?? "select it"}`}
          off={why !== null}
          onClick={() => onSelect(one)}
        >
          <span class="sae-mono sae-soft">{one.feature}</span>
          {one.label && <span class="sae-cut">{one.label}</span>}
          <span class={`sae-number ${one.after < one.before ? "sae-fell" : "sae-rose"}`}>
            {change(one.after - one.before)}
          </span>
        </Button>
      ))}
    </div>
  );
}

interface OverlapsProps {
  overlaps: NonNullable<Effects["overlaps"]>;
}

/** Two edits along much the same direction do more, or less, than each says by itself. */
export function Overlaps({ overlaps }: OverlapsProps) {
  const listed = [...overlaps].sort((a, b) => Math.abs(b[2]) - Math.abs(a[2])).slice(0, MOST);
  return (
    <>
      {listed.map(([one, two, cosine]) => (
        <p key={`${one} ${two}`} class="sae-overlap sae-tiny">
          {one} and {two} point{" "}
          {cosine > 0 ? "alike: together they push further than each says" : "against each other"}{" "}
          <span class="sae-number sae-soft">(cosine {number(cosine)})</span>
        </p>
      ))}
    </>
  );
}

/** More are not listed: the strongest say enough. */
const MOST = 3;
