/** A model as anywidget and Jupyter's manager give one; of a kernel, only the echo and the pulse. */

import type { AnyModel } from "@anywidget/types";

type Listener = (...args: unknown[]) => void;

/** Milliseconds from a message to its echo. */
const ECHO = 30;

export class FakeModel<T extends Record<string, unknown>> {
  /** Whether pings stay without an answer. */
  silent = false;
  sent: unknown[] = [];
  saved: Partial<T>[] = [];
  #changed: Partial<T> = {};
  #awaited: { [K in keyof T]?: number } = {};
  #listeners: [string, Listener][] = [];

  constructor(public state: T) {}

  get<K extends keyof T>(name: K): T[K] {
    return this.state[name];
  }
  set<K extends keyof T>(name: K, value: T[K]): void {
    if (this.#take(name, value)) this.#changed[name] = value;
  }
  /** Like Jupyter's: what differs by value is a change, and what is equal replaces it silently. */
  #take<K extends keyof T>(name: K, value: T[K]): boolean {
    const changed = JSON.stringify(this.state[name]) !== JSON.stringify(value);
    this.state[name] = value;
    if (changed) this.fire(`change:${String(name)}`);
    return changed;
  }
  save_changes(): void {
    const state = this.#changed;
    this.#changed = {};
    const names = Object.keys(state);
    if (names.length === 0) return;
    this.saved.push(state);
    for (const name of names) this.#awaited[name as keyof T] = this.saved.length;
    const [number, copy] = [this.saved.length, JSON.parse(JSON.stringify(state))];
    setTimeout(() => {
      // An echo that is older than the last message is ignored.
      for (const name of names) if (this.#awaited[name] === number) this.#take(name, copy[name]);
    }, ECHO);
  }
  send(content: { kind?: string }): void {
    this.sent.push(content);
    if (content.kind === "ping" && !this.silent) this.fire("msg:custom", { kind: "pong" });
  }
  on(name: string, listener: Listener): void {
    this.#listeners.push([name, listener]);
  }
  off(name: string, listener: Listener): void {
    this.#listeners = this.#listeners.filter(([n, l]) => n !== name || l !== listener);
  }
  fire(name: string, ...args: unknown[]): void {
    for (const [n, listener] of [...this.#listeners]) if (n === name) listener(...args);
  }
  get listeners(): number {
    return this.#listeners.length;
  }
  /** Seen as the type that a widget expects. */
  get model(): AnyModel<T> {
    return this as unknown as AnyModel<T>;
  }
}
