// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { keepKeys, throttle } from "../src/parts/host";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("of many calls the first goes at once and the last always goes", () => {
  const seen: number[] = [];
  const { call } = throttle((n: number) => seen.push(n), 80);
  for (let i = 0; i <= 20; i++) {
    call(i);
    vi.advanceTimersByTime(10);
  }
  expect(seen[0]).toBe(0);
  vi.advanceTimersByTime(1000);
  expect(seen.at(-1)).toBe(20);
  expect(seen.length).toBeLessThanOrEqual(4);
});

test("a call after a quiet time goes at once", () => {
  const seen: number[] = [];
  const { call } = throttle((n: number) => seen.push(n), 80);
  call(1);
  vi.advanceTimersByTime(500);
  call(2);
  expect(seen).toEqual([1, 2]);
});

test("a cancelled call never goes", () => {
  const seen: number[] = [];
  const { call, cancel } = throttle((n: number) => seen.push(n), 80);
  call(1);
  call(2);
  cancel();
  vi.advanceTimersByTime(500);
  expect(seen).toEqual([1]);
});

test.each([
  [{ key: "a" }, true],
  [{ key: "Enter", shiftKey: true }, true],
  [{ key: "Escape" }, false],
  [{ key: "s", ctrlKey: true }, false],
  [{ key: "s", metaKey: true }, false],
])("the key %j is kept from the notebook: %s", (init, kept) => {
  const outer = document.createElement("div");
  const inner = outer.appendChild(document.createElement("div"));
  const heard = vi.fn();
  inner.addEventListener("keydown", keepKeys);
  outer.addEventListener("keydown", heard);
  inner.dispatchEvent(new KeyboardEvent("keydown", { ...init, bubbles: true }));
  expect(heard).toHaveBeenCalledTimes(kept ? 0 : 1);
});
