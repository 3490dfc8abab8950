/** What the panes show: a run, or one that is being written over what stood there. */

import type { AnyModel } from "@anywidget/types";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Arm, Run, RunRequest, SteeringTraits, TokensMessage } from "../wire";

/** The first arms of a run; what is streamed does not name them. */
const STREAMED = [{ name: "base" }, { name: "steered" }];

interface Stream {
  id: number;
  arms: string[][];
}

/** What the newest run has written so far. */
export function useStream(model: AnyModel<SteeringTraits>): Stream {
  const [stream, setStream] = useState<Stream>({ id: 0, arms: [] });
  useEffect(() => {
    const heard = (message: Partial<TokensMessage>) => {
      if (message?.kind !== "tokens") return;
      const { id = 0, arms = [] } = message;
      // One with a smaller id is of a run that was replaced.
      setStream((so) => (id < so.id ? so : { id, arms }));
    };
    model.on("msg:custom", heard);
    return () => model.off("msg:custom", heard);
  }, [model]);
  return stream;
}

export interface Shown {
  prompt: string;
  /** What was asked for, where it is known. */
  request: RunRequest | null;
  arms: Arm[];
  before: Arm[];
  old: boolean;
}

/** What the panes show: the run, or the run that is being written over what stood there. */
export function useShown(
  written: Partial<Run>,
  stream: Stream,
  working: boolean,
  current: number,
  /** The request of the stream; null where Python started it. */
  request: RunRequest | null,
  present: Pick<RunRequest, "prompt" | "control">,
): Shown | null {
  const last = useRef<Shown | null>(null);
  const before = useRef<Shown | null>(null);
  const done = written.arms ? (written as Run) : null;
  const { prompt, control } = request ?? present;
  const now = useMemo((): Shown | null => {
    if (done && done.id >= stream.id && (done.id >= current || !working)) {
      const { request, arms } = done;
      const nothing = done.ended === "stopped" && arms.every(({ tokens }) => tokens.length === 0);
      if (nothing && last.current) return { ...last.current, before: [], old: true };
      // Of a run that was stopped or failed before it wrote, there is only the one before it.
      return { prompt: request.prompt, request, arms, before: [], old: done.id < current };
    }
    if (stream.id >= current && stream.id > (done?.id ?? 0)) {
      const arms = stream.arms.map((tokens, i) => ({
        ...(STREAMED[i] ?? { name: "control", control }),
        tokens,
        nll: null,
      }));
      // Old words after a new prompt would be read as its own.
      const stood = working && before.current?.prompt === prompt ? before.current.arms : [];
      return { prompt, request, arms, before: stood, old: false };
    }
    return last.current && { ...last.current, before: [], old: working };
  }, [done, stream, working, current, request, prompt, control]);
  if (now) {
    if (now.before.length === 0 && (done?.id ?? 0) >= stream.id) before.current = now;
    last.current = now;
  }
  return now;
}
