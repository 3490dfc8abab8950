/** A box for a number: what is typed in it stays, whatever is redrawn, until it is taken. */

import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";

interface Props extends JSX.InputHTMLAttributes<HTMLInputElement> {
  /** What stands in it while nobody types. */
  text: string;
  /** The number that was typed; null if it is none. */
  read: (text: string) => number | null;
  onTake: (value: number) => void;
}

export function Box({ text, read, onTake, ...rest }: Props) {
  const [, redraw] = useState(0);
  const draft = useRef<string | null>(null);
  const type = (typed: string | null) => {
    draft.current = typed;
    redraw((n) => n + 1);
  };
  const take = () => {
    if (draft.current === null) return;
    const value = read(draft.current);
    type(null);
    if (value !== null) onTake(value);
  };
  return (
    <input
      {...rest}
      class="sae-box sae-mono"
      value={draft.current ?? text}
      onInput={(event) => type(event.currentTarget.value)}
      onChange={take}
      onBlur={take}
      onKeyDown={(event) => event.key === "Enter" && take()}
    />
  );
}
