/** How often a feature fires how strongly: bars, and a mark where a value lies. */

import { number } from "../text";

const WIDTH = 208;
const HEIGHT = 44;

interface Props {
  counts: readonly number[];
  peak: number;
  /** The value to mark, in the feature's own units. */
  mark: number | null;
}

export function Histogram({ counts, peak, mark }: Props) {
  // Square roots: a feature fires weakly a hundred times as often as strongly, and both matter.
  const heights = counts.map((n) => Math.sqrt(Math.max(0, n)));
  const tallest = Math.max(...heights) || 1;
  const step = WIDTH / Math.max(1, counts.length);
  const at = mark === null ? null : Math.min(1, Math.max(0, mark / (peak || 1))) * (WIDTH - 2);
  const title = `how often it fires at each strength, from 0 to its peak of ${number(peak)} (heights are square roots of counts)`;
  return (
    <svg
      class="sae-histogram"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={title}
    >
      <title>{title}</title>
      {heights.map((height, i) => {
        const bar = height === 0 ? 0 : Math.max(1.5, (HEIGHT - 2) * (height / tallest));
        return <rect key={i} x={i * step} y={HEIGHT - 1 - bar} width={step - 1} height={bar} />;
      })}
      {at !== null && <rect class="sae-mark" x={at} y={0} width={2} height={HEIGHT - 1} />}
    </svg>
  );
}
