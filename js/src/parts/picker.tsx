/** Find a feature by its number or name, and add it. */

import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { search } from "../edits";
import { percent } from "../text";
import type { Sae, SteeringFeature } from "../wire";
import { PlaceboBadge } from "./sae";

interface Props {
  features: readonly SteeringFeature[];
  saes: readonly Sae[];
  /** The SAE of which a number is a feature. */
  chosen: string;
  input: RefObject<HTMLInputElement>;
  onAdd: (feature: SteeringFeature) => void;
}

const SHOWN = 40;

export function FeaturePicker({ features, saes, chosen, input, onAdd }: Props) {
  const [query, setQuery] = useState("");
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(0);
  const id = useMemo(() => `sae-${Math.random().toString(36).slice(2)}`, []);
  const found = useMemo(
    () => (open ? search(query, features, saes, chosen, SHOWN) : []),
    [query, open, features, saes, chosen],
  );
  const list = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (open && list.current && input.current) return float(list.current, input.current);
  }, [open]);
  useEffect(() => {
    list.current?.children[at]?.scrollIntoView({ block: "nearest" });
  }, [open, at, query]);
  const close = () => {
    setOpen(false);
    setQuery("");
    setAt(0);
  };
  const add = (feature: SteeringFeature | undefined) => {
    if (!feature) return;
    onAdd(feature);
    close();
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "Enter") add(found[at]);
    else if (event.key === "Escape" && open) {
      event.stopPropagation(); // it closes the list, and no more
      close();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      setOpen(true);
      setAt((i) =>
        Math.max(0, Math.min(found.length - 1, i + (event.key === "ArrowDown" ? 1 : -1))),
      );
    } else return;
    event.preventDefault();
  };
  return (
    <div class="sae-picker">
      <input
        ref={input}
        class="sae-search"
        role="combobox"
        aria-expanded={open}
        aria-controls={id}
        aria-activedescendant={found[at] ? `${id}-${at}` : undefined}
        aria-label="add a feature"
        placeholder="+ add a feature: its number or name"
        title="Find a feature ( / ); Enter adds it"
        value={query}
        spellcheck={false}
        onClick={() => setOpen(true)}
        onBlur={close}
        onInput={(event) => {
          setQuery(event.currentTarget.value);
          setOpen(true);
          setAt(0);
        }}
        onKeyDown={press}
      />
      {open && (
        // A pointer pressed on the list must not take the focus, or the list closes under it.
        <div
          ref={list}
          class="sae-list"
          popover="manual"
          id={id}
          role="listbox"
          aria-label="features"
          onPointerDown={(e) => e.preventDefault()}
        >
          {found.map((feature, i) => {
            const sae = saes.find((each) => each.name === feature.sae);
            return (
              // biome-ignore lint/a11y/useKeyWithClickEvents: the combobox has the keys
              <div
                key={`${feature.sae} ${feature.feature}`}
                id={`${id}-${i}`}
                role="option"
                aria-selected={i === at}
                class="sae-option"
                onPointerMove={() => setAt(i)}
                onClick={() => add(feature)}
              >
                <span class="sae-mono sae-soft">{feature.feature}</span>
                <span class="sae-cut sae-grow">{feature.label || "no name yet"}</span>
                {sae?.placebo && <PlaceboBadge reason={sae.placebo} />}
                <span class="sae-soft sae-tiny">
                  {saes.length > 1 && sae ? sae.title : percent(feature.density)}
                </span>
              </div>
            );
          })}
          {found.length === 0 && <div class="sae-option sae-soft">no feature of that name</div>}
        </div>
      )}
    </div>
  );
}

/** Pixels that a list may be high, and the room it leaves to the edge of the window. */
const HIGHEST = 260;
const ROOM = 6;

/**
 * Let `list` float over the page, under `box` or, where there is more room, over it. A notebook cuts
 * off what hangs out of a cell's output, so it is put into the browser's top layer.
 */
function float(list: HTMLElement, box: HTMLElement): () => void {
  const view = list.ownerDocument.defaultView;
  const place = () => {
    const edge = box.getBoundingClientRect();
    const below = (view?.innerHeight ?? 0) - edge.bottom - ROOM;
    const above = edge.top - ROOM;
    const under = below >= Math.min(HIGHEST, above);
    list.style.left = `${edge.left}px`;
    list.style.width = `${Math.min(420, edge.width)}px`;
    list.style.maxHeight = `${Math.min(HIGHEST, under ? below : above)}px`;
    list.style.top = under ? `${edge.bottom + 2}px` : "auto";
    list.style.bottom = under ? "auto" : `${(view?.innerHeight ?? 0) - edge.top + 2}px`;
  };
  list.showPopover?.();
  place();
  const options = { capture: true, passive: true };
  view?.addEventListener("scroll", place, options);
  view?.addEventListener("resize", place);
  return () => {
    view?.removeEventListener("scroll", place, options);
    view?.removeEventListener("resize", place);
  };
}
