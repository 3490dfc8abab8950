/**
 * A box for a number: what is typed in it stays, whatever is redrawn, until it is taken. What cannot
 * be taken stays too, with what would be right beside it; Escape gives it up.
 */

import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";

interface Props extends JSX.InputHTMLAttributes<HTMLInputElement> {
  /** What stands in it while nobody types. */
  text: string;
  /** The number that was typed; null if it is none that can be taken. */
  read: (text: string) => number | null;
  /** What can be taken, in words. */
  wanted: string;
  onTake: (value: number) => void;
}

export function Box({ text, read, wanted, onTake, ...rest }: Props) {
  const [bad, setBad] = useState(false);
  const [, redraw] = useState(0);
  const draft = useRef<string | null>(null);
  const type = (typed: string | null) => {
    draft.current = typed;
    setBad(false);
    redraw((n) => n + 1);
  };
  const take = () => {
    if (draft.current === null) return;
    const value = read(draft.current);
    if (value === null) {
      setBad(true);
      return;
    }
    type(null);
    onTake(value);
  };
  return (
    <>
      <input
        {...rest}
        class="sae-box sae-mono"
        value={draft.current ?? text}
        aria-invalid={bad}
        onInput={(event) => type(event.currentTarget.value)}
        onChange={take}
        onBlur={take}
        onKeyDown={(event) => {
          if (event.key === "Enter") take();
          else if (event.key === "Escape" && draft.current !== null) {
            event.stopPropagation(); // it gives up what was typed, and no more
            type(null);
          }
        }}
      />
      {bad && (
        <span class="sae-bad sae-tiny" role="alert">
          {wanted}
        </span>
      )}
    </>
  );
}
