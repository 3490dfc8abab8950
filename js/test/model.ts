/** A model as anywidget gives one, without a kernel behind it. */

import type { AnyModel } from "@anywidget/types";

type Listener = (...args: unknown[]) => void;

export class FakeModel<T extends Record<string, unknown>> {
  sent: unknown[] = [];
  saved: Partial<T>[] = [];
  #changed: Partial<T> = {};
  #listeners: [string, Listener][] = [];

  constructor(public state: T) {}

  get<K extends keyof T>(name: K): T[K] {
    return this.state[name];
  }
  set<K extends keyof T>(name: K, value: T[K]): void {
    this.state[name] = value;
    this.#changed[name] = value;
    this.fire(`change:${String(name)}`);
  }
  save_changes(): void {
    this.saved.push(this.#changed);
    this.#changed = {};
  }
  send(content: unknown): void {
    this.sent.push(content);
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
