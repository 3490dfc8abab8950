"""The real Python widget and the real front end in Chromium, without Jupyter between them.

ipywidgets talks through a comm. Here the comm is a queue, and a small host page gives the bundle
what anywidget gives it: a model with get, set, on, off, send and save_changes.
"""

from __future__ import annotations

import base64
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import anywidget
from comm.base_comm import BaseComm
from playwright.sync_api import Locator, Page

Message = tuple[str, str, dict[str, Any], list[bytes]]

HOST = r"""
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer, 0);
// Bytes arrive somewhere inside a larger buffer, at an odd place too.
const shifted = (view) => {
  const room = new Uint8Array(view.byteLength + 3);
  room.set(new Uint8Array(view.buffer), 3);
  return new DataView(room.buffer, 3);
};
class Model {
  constructor(id, state) {
    this.id = id; this.state = state; this.changed = {}; this.listeners = []; this.awaited = {};
  }
  get(name) { return this.state[name]; }
  set(name, value) { if (this.take(name, value)) this.changed[name] = value; }
  // Like Jupyter's: what differs by value is a change, and what is equal replaces it silently.
  take(name, value) {
    const changed = this.differs(name, value);
    this.state[name] = value;
    if (changed) this.fire(`change:${name}`);
    return changed;
  }
  differs(name, value) {
    const bytes = value instanceof DataView;
    return bytes || JSON.stringify(this.state[name]) !== JSON.stringify(value);
  }
  save_changes() {
    const state = this.changed; this.changed = {};
    if (Object.keys(state).length === 0) return;
    for (const name of Object.keys(state)) this.awaited[name] = (this.awaited[name] ?? 0) + 1;
    outbox.push([this.id, { method: "update", state, buffer_paths: [] }]);
  }
  send(content) {
    outbox.push([this.id, { method: "custom", content }]);
    if (!host.quick || content.kind !== "ping") return;
    this.fire("msg:custom", { ...content, kind: "pong" });
  }
  on(name, listener) { this.listeners.push([name, listener]); }
  off(name, listener) {
    this.listeners = this.listeners.filter(([n, l]) => n !== name || l !== listener);
  }
  fire(name, ...args) { for (const [n, l] of [...this.listeners]) if (n === name) l(...args); }
  receive(state) {
    const changed = Object.keys(state).filter((name) => this.differs(name, state[name]));
    Object.assign(this.state, state);
    for (const name of changed) this.fire(`change:${name}`);
  }
  // The kernel's echo of a message; one that is older than the last message is ignored.
  echo(state) {
    for (const [name, value] of Object.entries(state)) {
      this.awaited[name] -= 1;
      if (this.awaited[name] === 0) this.take(name, value);
    }
  }
}
let outbox = [];
const models = {};
const views = {};
const unpack = (state, buffers) => {
  for (const [name, text] of buffers) state[name] = shifted(bytes(text));
  return state;
};
window.host = {
  // A loaded machine may carry messages more slowly than a widget waits for its kernel.
  quick: true,
  take() { const out = outbox; outbox = []; return out; },
  open(id, state, buffers) { models[id] = new Model(id, unpack(state, buffers)); },
  update(id, state, buffers) { models[id]?.receive(unpack(state, buffers)); },
  echo(id, state) { models[id]?.echo(state); },
  message(id, content) { models[id]?.fire("msg:custom", content, []); },
  listeners(id) { return models[id].listeners.length; },
  async show(id, shadow) {
    const model = models[id];
    const url = URL.createObjectURL(new Blob([model.get("_esm")], { type: "text/javascript" }));
    const module = await import(url);
    const el = document.createElement("div");
    const outer = document.createElement("div");
    document.body.append(outer);
    const root = shadow ? outer.attachShadow({ mode: "open" }) : outer;
    const style = document.createElement("style");
    style.textContent = model.get("_css");
    root.append(style, el);
    const stop = new AbortController();
    const close = await module.default.render({ model, el, signal: stop.signal });
    views[id] = { close: () => { close?.(); stop.abort(); }, el };
  },
  close(id) { views[id].close(); return views[id].el.childNodes.length; },
};
"""

THEMES = {
    # JupyterLab's own values.
    "light": {
        "--jp-layout-color0": "#ffffff",
        "--jp-layout-color1": "#ffffff",
        "--jp-ui-font-color1": "rgba(0, 0, 0, 0.87)",
        "--jp-ui-font-family": "system-ui, 'DejaVu Sans', sans-serif",
    },
    "dark": {
        "--jp-layout-color0": "#111111",
        "--jp-layout-color1": "#212121",
        "--jp-ui-font-color1": "rgba(255, 255, 255, 0.87)",
        "--jp-ui-font-family": "system-ui, 'DejaVu Sans', sans-serif",
    },
}


class QueueComm(BaseComm):
    """A comm whose far end is a queue."""

    queue: deque[Message]

    def publish_msg(
        self,
        msg_type: str,
        data: dict[str, Any] | None = None,
        metadata: object = None,  # noqa: ARG002
        buffers: list[Any] | None = None,
        **_keys: object,
    ) -> None:
        # Copied at once: the kernel goes on changing what it has sent.
        held = [bytes(buffer) for buffer in buffers or []]
        self.queue.append((self.comm_id, msg_type, dict(data or {}), held))


class Bridge:
    """One page, and the widgets shown on it."""

    def __init__(self, page: Page, queue: deque[Message]) -> None:
        self.page = page
        self.widgets: dict[str, anywidget.AnyWidget] = {}
        self.dead = False
        self._queue = queue
        page.route(
            "http://host.test/",
            lambda route: route.fulfill(
                content_type="text/html", body="<!doctype html><html lang='en'><body></body></html>"
            ),
        )
        page.goto("http://host.test/")
        page.add_script_tag(content=HOST)
        self.theme("light")

    def die(self) -> None:
        """Be a kernel that does not answer, until `dead` is False again."""
        self.dead = True
        self.page.evaluate("() => { host.quick = false; }")

    def theme(self, name: str) -> None:
        self.page.evaluate(
            """([name, variables]) => {
              const page = document.documentElement;
              for (const [k, v] of Object.entries(variables)) page.style.setProperty(k, v);
              document.body.style.background = variables["--jp-layout-color0"];
              document.body.dataset.jpThemeLight = String(name === "light");
            }""",
            [name, THEMES[name]],
        )

    def show(self, widget: anywidget.AnyWidget, *, shadow: bool = False) -> Locator:
        """Show `widget` on the page, as a notebook shows the value of a cell."""
        id = widget.model_id
        self.widgets[id] = widget
        state = widget.get_state()
        self.page.evaluate("([id, s, b]) => host.open(id, s, b)", [id, *_packed(state)])
        self.page.evaluate("([id, shadow]) => host.show(id, shadow)", [id, shadow])
        self.pump()
        root = self.page.locator(".sae-root").last
        if root.locator("canvas").count():  # the first drawing gives the canvas its size
            root.locator("canvas[style*=width]").wait_for()
        return root

    def pump(self) -> None:
        """Carry messages both ways until there are none."""
        while True:
            sent = [] if self.dead else self.page.evaluate("() => host.take()")
            for id, data in sent:
                message = {"content": {"data": data}, "buffers": []}
                self.widgets[id].comm.handle_msg(message)
            received = 0
            while self._queue:
                id, kind, data, buffers = self._queue.popleft()
                received += 1
                if kind != "comm_msg" or id not in self.widgets or self.dead:
                    continue
                if data["method"] == "update":
                    state = dict(data["state"])
                    paths = [path for (path,) in data.get("buffer_paths", [])]
                    packed = [[k, _text(b)] for k, b in zip(paths, buffers, strict=True)]
                    self.page.evaluate("([id, s, b]) => host.update(id, s, b)", [id, state, packed])
                elif data["method"] == "echo_update":
                    self.page.evaluate("([id, s]) => host.echo(id, s)", [id, data["state"]])
                elif data["method"] == "custom":
                    content = data["content"]
                    self.page.evaluate("([id, c]) => host.message(id, c)", [id, content])
            if not sent and not received:
                return

    def until(self, true: Callable[[], object], what: str, seconds: float = 20) -> None:
        """Carry messages until something is so."""
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                raise AssertionError(f"after {seconds} s it was still not so that {what}")
            self.pump()
            time.sleep(0.01)

    def sees(self, text: str, seconds: float = 20) -> None:
        """Carry messages until `text` is on the page."""
        found = self.page.get_by_text(text)
        self.until(lambda: found.count() and found.first.is_visible(), f"{text!r} shows", seconds)


def _packed(state: dict[str, Any]) -> tuple[dict[str, Any], list[list[str]]]:
    """Plain values, and bytes as base64."""
    raw = {k: bytes(v) for k, v in state.items() if isinstance(v, (bytes, memoryview))}
    flat = {k: v for k, v in state.items() if k not in raw and not k.startswith("_view")}
    flat = {k: v for k, v in flat.items() if k not in ("layout", "tooltip", "tabbable")}
    return flat, [[k, _text(v)] for k, v in raw.items()]


def _text(data: bytes | memoryview) -> str:
    return base64.b64encode(bytes(data)).decode()
