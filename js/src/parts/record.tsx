/** The button that records, and the question that comes before. */

import { useRef } from "preact/hooks";
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
  const cancel = () => {
    group.current?.querySelector("button")?.focus(); // what had the focus goes away
    onCancel();
  };
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
        cancel();
      }}
    >
      <Button
        why={why}
        off={off}
        title="Record each edit by itself at many strengths: its slider then needs no kernel"
        class={asking ? "sae-primary" : ""}
        onClick={onPress}
      >
        {asking ? "record now" : "record"}
      </Button>
      {(asking || estimating) && (
        <Button title="Record nothing (Escape)" onClick={cancel}>
          cancel
        </Button>
      )}
    </span>
  );
}
