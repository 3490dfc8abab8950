/** Buttons, and lists to choose from. */

import type { JSX } from "preact";

interface ButtonProps extends JSX.ButtonHTMLAttributes<HTMLButtonElement> {
  /** It cannot be used now; it keeps the focus, if it has it. */
  off?: boolean;
  /** Why it cannot be used, where there is such a reason. */
  why?: string | null;
}

export function Button({ why = null, off, title, onClick, ...rest }: ButtonProps) {
  const idle = why !== null || Boolean(off);
  return (
    <button
      type="button"
      {...rest}
      title={why ?? title}
      aria-disabled={idle}
      onClick={(event) => !idle && onClick?.(event)}
    />
  );
}

interface SelectProps<T extends string> {
  value: T;
  label: string;
  title?: string;
  class?: string;
  /** What can be chosen, how it is called if not so, and what it means. */
  options: readonly (readonly [value: T, text?: string, title?: string])[];
  onChoose: (value: T) => void;
}

export function Select<T extends string>({
  value,
  label,
  options,
  onChoose,
  ...rest
}: SelectProps<T>) {
  return (
    <select
      {...rest}
      aria-label={label}
      value={value}
      onChange={(event) => {
        const chosen = options.find(([each]) => each === event.currentTarget.value);
        if (chosen) onChoose(chosen[0]);
      }}
    >
      {options.map(([each, text = each, title]) => (
        <option key={each} value={each} title={title} selected={each === value}>
          {text}
        </option>
      ))}
    </select>
  );
}
