/** The score: tokens run to the right, features are the rows. Pointer, keys, and a spoken grid. */

import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { drawScore, type Palette, type Score } from "../draw/score";
import {
  columnAt,
  full,
  LONGEST_SPECIAL,
  layout,
  type Place,
  placeAt,
  ROW,
  ROWS,
  reveal,
  type Window,
} from "../layout";
import { onTokens, stroked, told } from "../paint";
import { number, percent } from "../text";
import { type Cells, type View, valueAt } from "../wire";
import { carry } from "./drop";

export interface Cell {
  /** Index into `view.features`; null over the tokens. */
  index: number | null;
  column: number | null;
}

interface Props extends Omit<Score, "hover" | "focus"> {
  old: boolean;
  /** Null until the host's colours are known. */
  palette: Palette | null;
  onHover: (cell: Cell | null) => void;
  onPick: (cell: Cell) => void;
  onSteer: (index: number) => void;
  /** Whether names can be dragged into a steering panel. */
  loose: boolean;
  /** The strength that is painted with; null while nothing is painted. */
  brush: number | null;
  onPaint: (index: number, values: number[]) => void;
}

/** A row while it is painted with a pointer. */
interface Stroke {
  index: number;
  row: number;
  column: number;
  strength: number;
  values: number[];
}

/** Device pixels per CSS pixel: more than three cost memory and show nothing. */
const SHARPEST = 3;
const TOOLTIP = 240;

export function ScoreView(props: Props) {
  const { view, cells, order, largest, painted, selected, token, old, palette } = props;
  const { loose, brush, onHover, onPick, onSteer, onPaint } = props;
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [available, setAvailable] = useState(0);
  const [hover, setHover] = useState<(Place & { x: number; y: number }) | null>(null);
  const [active, setActive] = useState({ row: 0, column: 0 });
  const [keyed, setKeyed] = useState(false);
  const id = useMemo(() => `sae-${Math.random().toString(36).slice(2)}`, []);

  const lengths = useMemo(() => {
    const g = canvas.current?.getContext("2d");
    if (g && palette) g.font = `12px ${palette.mono}`;
    // Before the first drawing there is no canvas to ask.
    return view.tokens.map((text, i) => {
      const length = g ? g.measureText(text).width : 7.2 * text.length;
      return view.special.includes(i) ? Math.min(length, LONGEST_SPECIAL) : length;
    });
  }, [view, palette, available > 0]);
  const at = useMemo(
    () => layout(available, lengths, order.length, view.explained ? 9 : 3),
    [available, lengths, order.length, view],
  );

  const seen = useCallback((): Window => {
    const element = box.current;
    return {
      left: element?.scrollLeft ?? 0,
      top: element?.scrollTop ?? 0,
      width: element?.clientWidth ?? 0,
      height: element?.clientHeight ?? 0,
    };
  }, []);

  // Draw once a frame, however many things changed.
  const frame = useRef(0);
  const draw = useRef(() => {});
  draw.current = () => {
    if (!canvas.current || !palette || available === 0) return;
    const score = {
      view,
      cells,
      order,
      largest,
      painted,
      selected,
      token,
      hover,
      focus: keyed && order.length > 0 ? active : null,
    };
    const ratio = Math.min(SHARPEST, globalThis.devicePixelRatio || 1);
    drawScore(canvas.current, score, at, seen(), palette, ratio);
  };
  const later = useCallback(() => {
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => draw.current());
  }, []);
  useEffect(later);
  useEffect(() => () => cancelAnimationFrame(frame.current), []);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = () => {
      setAvailable(element.clientWidth);
      later();
    };
    const watch = new ResizeObserver(measure);
    watch.observe(element);
    measure();
    return () => watch.disconnect();
  }, [later]);

  // Another text or another order: the keyboard's cell must still exist, the pointer's may not.
  useEffect(() => {
    leave();
    setActive(({ row, column }) => ({
      row: Math.max(0, Math.min(row, order.length - 1)),
      column: Math.max(0, Math.min(column, view.tokens.length - 1)),
    }));
  }, [view, order]);

  const under = (event: MouseEvent): (Place & { x: number; y: number }) | null => {
    const element = box.current;
    if (!element) return null;
    const edge = element.getBoundingClientRect();
    const x = event.clientX - edge.left;
    const y = event.clientY - edge.top;
    if (x >= element.clientWidth || y >= element.clientHeight) return null; // the scroll bars
    const place = placeAt(at, seen(), x, y);
    return place && { ...place, x, y };
  };
  const cellAt = (place: Place): Cell => ({
    index: place.row === null ? null : (order[place.row] ?? null),
    column: place.column,
  });
  const rowOf = (index: number) => painted.get(view.features[index]?.feature ?? -1);
  const valuesOf = (index: number) =>
    onTokens(rowOf(index)?.values ?? [], view.tokens.length, view.special);

  const grabbed = useRef<Place | null>(null);
  const stroke = useRef<Stroke | null>(null);
  const grab = (event: PointerEvent) => {
    const place = under(event);
    grabbed.current = place;
    if (brush === null || place === null || event.button % 2 === 1) return;
    const { row, column } = place;
    const index = row === null ? undefined : order[row];
    if (row === null || column === null || index === undefined) return;
    box.current?.setPointerCapture(event.pointerId);
    const strength = event.button === 2 || event.altKey ? 0 : brush;
    stroke.current = { index, row, column, strength, values: valuesOf(index) };
    leave();
    extend(stroke.current, column);
  };
  const extend = (so: Stroke, to: number) => {
    const values = stroked(so.values, so.column, to, so.strength, view.special);
    stroke.current = { ...so, column: to, values };
    lay(so.index, so.values, values);
  };
  const lay = (index: number, before: number[], after: number[]) => {
    if (after.some((value, i) => value !== before[i])) onPaint(index, after);
  };
  /** Paint along the row in which the stroke began, and on beyond the edge of the window. */
  const paint = (event: PointerEvent, so: Stroke) => {
    const element = box.current;
    if (!element) return;
    const x = event.clientX - element.getBoundingClientRect().left;
    const column = Math.max(0, Math.min(view.tokens.length - 1, columnAt(at, seen(), x)));
    extend(so, column);
    const [left] = reveal(at, seen(), so.row, column);
    element.scrollTo({ left });
  };
  const point = (event: PointerEvent) => {
    if (stroke.current) return paint(event, stroke.current);
    const place = under(event);
    setHover(place);
    onHover(place && cellAt(place));
  };
  const leave = () => {
    setHover(null);
    onHover(null);
  };
  // The first click may sort the rows anew: a double click means the row that it began on.
  const aimed = useRef<Cell | null>(null);
  const pick = (event: MouseEvent) => {
    if (event.detail > 1) return;
    const place = under(event);
    const painting = brush !== null && place?.row != null && place.column !== null;
    aimed.current = painting ? null : place && cellAt(place);
    if (!place) return;
    if (place.row !== null) setActive({ row: place.row, column: place.column ?? active.column });
    setKeyed(false);
    if (painting) return;
    onPick(cellAt(place));
  };
  const twice = () => {
    const index = aimed.current?.index ?? null;
    if (index !== null) onSteer(index);
  };

  // Only names can be dragged away; a drag that begins on a cell is not one.
  const ghost = useRef<HTMLDivElement>(null);
  const drag = (event: DragEvent) => {
    event.stopPropagation();
    const { row, column } = grabbed.current ?? { row: null, column: null };
    const feature = row === null ? undefined : view.features[order[row] ?? -1];
    if (column !== null || !feature || !ghost.current) return event.preventDefault();
    leave();
    ghost.current.textContent = `${feature.feature} ${feature.label}`;
    carry(event, view.sae, feature.feature, ghost.current);
    // The browser takes its picture when this event has ended.
    setTimeout(() => ghost.current?.replaceChildren());
  };

  const press = (event: KeyboardEvent) => {
    const last = { row: order.length - 1, column: view.tokens.length - 1 };
    if (event.metaKey || event.altKey || last.row < 0) return;
    const page = Math.max(1, Math.floor((seen().height - at.header - at.strip) / ROW) - 1);
    let { row, column } = active;
    switch (event.key) {
      case "ArrowRight":
        column += 1;
        break;
      case "ArrowLeft":
        column -= 1;
        break;
      case "ArrowDown":
        row += 1;
        break;
      case "ArrowUp":
        row -= 1;
        break;
      case "PageDown":
        row += page;
        break;
      case "PageUp":
        row -= page;
        break;
      case "Home":
        column = 0;
        if (event.ctrlKey) row = 0;
        break;
      case "End":
        column = last.column;
        if (event.ctrlKey) row = last.row;
        break;
      case "Enter": {
        if (event.ctrlKey) return;
        const index = order[row];
        if (index === undefined) return;
        if (event.shiftKey) onSteer(index);
        else onPick({ index, column });
        break;
      }
      case " ":
      case "Backspace":
      case "Delete": {
        const index = order[row];
        if (brush === null || index === undefined) return;
        const strength = event.key === " " ? brush : 0;
        const before = valuesOf(index);
        lay(index, before, stroked(before, column, column, strength, view.special));
        break;
      }
      default:
        return;
    }
    event.preventDefault();
    row = Math.max(0, Math.min(last.row, row));
    column = Math.max(0, Math.min(last.column, column));
    setKeyed(true);
    setHover(null);
    setActive({ row, column });
    const [left, top] = reveal(at, seen(), row, column);
    box.current?.scrollTo({ left, top });
  };

  const index = order[active.row];
  const feature = index === undefined ? undefined : view.features[index];
  const value = index === undefined ? 0 : valueAt(cells, index, active.column);
  const said = index === undefined ? "" : told(rowOf(index), active.column);
  // A horizontal bar takes its height from the last row, unless it is given its own.
  const bar = at.width > available ? 14 : 0;

  return (
    <div class={`sae-stage ${old ? "sae-old" : ""}`}>
      <div
        ref={box}
        class="sae-score"
        data-over={
          hover && (hover.column === null ? "name" : hover.row === null ? "token" : "cell")
        }
        data-painting={brush !== null}
        style={{ height: `${at.header + at.strip + ROW * Math.min(at.rows, ROWS) + 6 + bar}px` }}
        role="grid"
        tabIndex={0}
        aria-rowcount={order.length + 1}
        aria-colcount={view.tokens.length + 1}
        aria-activedescendant={feature ? id : undefined}
        aria-label={`Features on tokens: ${order.length} features by ${view.tokens.length} tokens. Arrow keys move, Home and End jump, Enter selects, Shift+Enter steers.${brush === null ? "" : " Space paints, Backspace erases, Escape ends painting."}`}
        draggable={loose}
        onDragStart={drag}
        onPointerDown={grab}
        onLostPointerCapture={() => {
          stroke.current = null;
        }}
        onContextMenu={(event) => {
          // On some systems it comes when the stroke has ended.
          if (brush === null || grabbed.current?.row == null) return;
          if (grabbed.current.column === null) return;
          event.preventDefault();
          event.stopPropagation();
        }}
        onScroll={() => {
          setHover(null);
          later();
        }}
        onPointerMove={point}
        onPointerLeave={leave}
        onClick={pick}
        onDblClick={twice}
        onKeyDown={press}
        onFocus={(event) => {
          if (!event.currentTarget.matches(":focus-visible")) return;
          setKeyed(true);
          const [left, top] = reveal(at, seen(), active.row, active.column);
          box.current?.scrollTo({ left, top });
        }}
        onBlur={() => setKeyed(false)}
      >
        <div class="sae-sheet" style={{ width: `${at.width}px`, height: `${at.height}px` }}>
          <canvas ref={canvas} aria-hidden="true" />
          {feature && (
            // The only cell that exists as an element is the active one; ARIA allows it
            // where counts and indexes are given.
            <div class="sae-hidden" role="row" aria-rowindex={active.row + 2}>
              <div role="rowheader" aria-colindex={1}>
                feature {feature.feature} {feature.label}
              </div>
              <div
                role="gridcell"
                id={id}
                aria-colindex={active.column + 2}
                aria-selected={feature.feature === selected && active.column === token}
              >
                {`token ${active.column} “${view.tokens[active.column] ?? ""}”, feature ${feature.feature} ${feature.label}, ${number(value)}${said && `, ${said}`}`}
              </div>
            </div>
          )}
        </div>
      </div>
      <div ref={ghost} class="sae-ghost" aria-hidden="true" />
      {hover && (
        <div
          class="sae-tip"
          style={{
            left: `${hover.x + TOOLTIP + 16 > available ? Math.max(4, hover.x - TOOLTIP - 8) : hover.x + 14}px`,
            ...(hover.y + 110 > (box.current?.clientHeight ?? 0)
              ? { bottom: `calc(100% - ${hover.y - 10}px)` }
              : { top: `${hover.y + 16}px` }),
            width: `${TOOLTIP}px`,
          }}
        >
          <Tip view={view} cells={cells} painted={painted} cell={cellAt(hover)} />
        </div>
      )}
    </div>
  );
}

type TipProps = Pick<Props, "view" | "cells" | "painted"> & { cell: Cell };

function Tip({ view, cells, painted, cell }: TipProps) {
  const feature = cell.index === null ? undefined : view.features[cell.index];
  const { column } = cell;
  const special = column !== null && view.special.includes(column);
  const heading = column !== null && (
    <div class="sae-between">
      <b class="sae-mono">{view.tokens[column]}</b>
      <span class="sae-soft sae-tiny">token {column}</span>
    </div>
  );
  if (!feature) return <TokenTip {...{ view, cells, column, heading, special }} />;
  const value = column === null || cell.index === null ? 0 : valueAt(cells, cell.index, column);
  return (
    <>
      {heading}
      <div>
        <span class="sae-soft sae-mono">{feature.feature}</span> {feature.label || "no name yet"}
      </div>
      {column === null ? (
        <div class="sae-soft sae-tiny">
          here: strongest {number(feature.max)}, mean {number(feature.mean)}, on{" "}
          {percent(feature.share)} of tokens
        </div>
      ) : special ? (
        <div class="sae-soft sae-tiny">a special token: off the scale</div>
      ) : (
        <div class="sae-between sae-number">
          <span>{value === 0 ? "does not fire" : number(value)}</span>
          {value !== 0 && feature.peak ? (
            <span class="sae-soft">{number(value / full(feature, null))} × peak</span>
          ) : null}
        </div>
      )}
      {column !== null && !special && (
        <div class="sae-painted sae-number">{told(painted.get(feature.feature), column)}</div>
      )}
    </>
  );
}

interface TokenTipProps {
  view: View;
  cells: Cells;
  column: number | null;
  heading: preact.ComponentChild;
  special: boolean;
}

/** Over a token: its strongest features. */
function TokenTip({ view, cells, column, heading, special }: TokenTipProps) {
  if (column === null) return null;
  const strongest = view.features
    .map((feature, i) => ({ feature, share: valueAt(cells, i, column) / full(feature, null) }))
    .filter(({ share }) => share > 0)
    .sort((a, b) => b.share - a.share)
    .slice(0, 4);
  const explained = view.explained?.[column];
  return (
    <>
      {heading}
      {special ? (
        <div class="sae-soft sae-tiny">a special token: off the scale</div>
      ) : (
        strongest.map(({ feature, share }) => (
          <div class="sae-between sae-tiny" key={feature.feature}>
            <span class="sae-cut">
              <span class="sae-soft sae-mono">{feature.feature}</span> {feature.label}
            </span>
            <span class="sae-soft sae-number">{number(share)} ×</span>
          </div>
        ))
      )}
      {view.part.includes(column) && (
        <div class="sae-soft sae-tiny">bytes of a character that is split over several tokens</div>
      )}
      {explained !== undefined && !special && (
        <div class="sae-soft sae-tiny">{percent(explained)} of its activation explained</div>
      )}
    </>
  );
}
