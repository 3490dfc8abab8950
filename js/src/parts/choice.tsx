/** Buttons, and lists to choose from. */

import type { JSX } from "preact";

interface ButtonProps extends JSX.ButtonHTMLAttributes<HTMLButtonElement> {
  /** It cannot be used now; it keeps the focus, if it has it. */
  off?: boolean;
}

export function Button({ off = false, onClick, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      aria-disabled={off}
      onClick={(event) => !off && onClick?.(event)}
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
