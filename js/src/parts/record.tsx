/** The button that records, and the question that comes before. */

import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { Button } from "./choice";
import { useHost } from "./frame";

interface Props {
  off: boolean;
  /** Pressed now, it records; before, it asks how much that would be. */
  asking: boolean;
  estimating: boolean;
  onPress: () => void;
  onCancel: () => void;
}

export function RecordButton({ off, asking, estimating, onPress, onCancel }: Props) {
  const { why } = useHost();
  const group = useRef<HTMLSpanElement>(null);
  return (
    <span
      ref={group}
      class="sae-record"
      role="group"
      aria-label="record"
      // The second click of a double click was not meant for the question that the first opened.
      onClickCapture={(event) => event.detail > 1 && event.stopPropagation()}
      onKeyDown={(event) => {
        // A key that is held down presses again and again.
        if (event.key === "Enter" && event.repeat) event.preventDefault();
        if (event.key !== "Escape" || !(asking || estimating)) return;
        event.stopPropagation(); // it closes the question, and no more
        onCancel();
      }}
    >
      <Button
        why={why}
        off={off}
        title="Record edits at many strengths: sliders then need no kernel"
        class={asking ? "sae-primary" : ""}
        onClick={onPress}
      >
        {asking ? "record now" : "record"}
      </Button>
      {(asking || estimating) && <Cancel group={group} onCancel={onCancel} />}
    </span>
  );
}

interface CancelProps {
  group: RefObject<HTMLElement>;
  onCancel: () => void;
}

/** Goes away, with the question: the focus, if it is here, then goes to the other button. */
function Cancel({ group, onCancel }: CancelProps) {
  useLayoutEffect(
    () => () => {
      const [record, cancel] = group.current?.querySelectorAll("button") ?? [];
      const root = group.current?.getRootNode() as Document | ShadowRoot | undefined;
      if (root?.activeElement === cancel) record?.focus();
    },
    [group],
  );
  return (
    <Button title="Record nothing (Escape)" onClick={onCancel}>
      cancel
    </Button>
  );
}
