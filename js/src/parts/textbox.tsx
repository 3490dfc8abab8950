/** A box for a text: one line that grows, and keeps every line break that it is given. */

interface Props {
  value: string;
  label: string;
  placeholder: string;
  title: string;
  readOnly?: boolean;
  onInput: (text: string) => void;
  onEnter: (text: string) => void;
}

export function TextBox({ value, label, placeholder, title, readOnly, onInput, onEnter }: Props) {
  return (
    <textarea
      class="sae-text sae-mono"
      rows={1}
      value={value}
      spellcheck={false}
      aria-label={label}
      placeholder={placeholder}
      title={title}
      readOnly={readOnly}
      onInput={(event) => onInput(event.currentTarget.value)}
      onKeyDown={(event) => {
        // Shift+Enter is a line break, and the Enter that ends an IME's word is not ours.
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        if (event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        onEnter(event.currentTarget.value);
      }}
    />
  );
}
