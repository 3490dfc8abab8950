"""What every widget has around it, and what the widgets of a session have besides."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anywidget
import traitlets
from IPython.display import display

from sae_widgets.widgets.worker import Executor, Report, Status, default_executor, sentence

SIGHT = 5.0
"""Seconds: a widget that is on screen, with somebody there, pings twice a second."""

STATIC = Path(__file__).parent.parent / "static"


def bundle(name: str) -> Path | str:
    """What is in the built front-end file `name`.

    As a path while anywidget reloads what changes: from then on it holds every widget for ever.
    """
    path = STATIC / name
    if not path.is_file():
        raise FileNotFoundError(
            f"the widget's front end {name!r} has not been built: {path} is missing. "
            "An installed package contains it; in a checkout run `npm ci && npm run build` in js/."
        )
    # The line break tells anywidget that it is no name of a file.
    reloads = os.environ.get("ANYWIDGET_HMR") == "1"
    return path if reloads else path.read_text(encoding="utf-8") + "\n"


Has = Callable[[int, str], None]
"""Raises if there is no such feature of the SAE of this name."""


class Frame(anywidget.AnyWidget):
    """What is around every widget: its status line, the kernel's pulse, what stays without it.

    `twin(widget)` is called when a notebook has shown the widget, to put below it what stays there
    when it no longer lives. `about` says what it was made with.
    """

    _at_close: Any = ()  # a widget that is refused while it is made is closed, too

    status = traitlets.Dict(Status().to_json()).tag(sync=True)  # the kernel's
    # The kernel's: {"model", "saes", "versions"}, for whoever is handed the saved notebook.
    about = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        worker: Callable[[Report], Executor] = default_executor,
        *,
        about: Mapping[str, Any] = MappingProxyType({}),
        twin: Callable[[Frame], None] | None = None,
        **traits: Any,
    ) -> None:
        self._at_close = []
        self._at_gone: list[Callable[[], None]] = []
        self.gone = False  # whether the last that was heard of a view is that it has gone
        self._twin = twin
        super().__init__(about=plain(dict(about)), **traits)
        self._executor = worker(self._show_status)
        self.on_close(self._executor.close)
        self._pinged: float | None = None
        self._put_off: dict[Callable[[], None], None] = {}  # in order
        self.on_msg(self._answer)

    def _ipython_display_(self) -> None:
        data, metadata = self._repr_mimebundle_()  # type: ignore[misc]
        display(data, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]
        if self._twin is not None:
            self._twin(self)

    def on_close(self, act: Callable[[], None]) -> None:
        """Do `act` when the widget is closed."""
        self._at_close.append(act)

    def on_gone(self, act: Callable[[], None]) -> None:
        """Do `act` whenever a view of the widget has gone: its cell was run again or deleted."""
        self._at_gone.append(act)

    def close(self) -> None:
        """Part from the session and from the browser, and end the widget's threads."""
        while self._at_close:
            self._at_close.pop()()
        super().close()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the browser sends; what cannot be taken is said on the screen."""
        try:
            super().set_state(sync_data)
        except Exception as error:  # a refused value, or a callback: Jupyter would tell nobody
            request = sync_data.get("request")
            id = request.get("id") if isinstance(request, dict) else None
            self._fail(error, id if isinstance(id, int) else int(self.status.get("id") or 0))

    def _show_status(self, status: Status) -> None:
        self.status = status.to_json()

    def _fail(self, error: BaseException, id: int = 0) -> None:
        """Show `error` in the widget: Jupyter shows an exception in a callback to nobody."""
        self._show_status(Status(id, "error", sentence(error)))

    def _answer(self, _widget: object, content: Any, _buffers: object) -> None:
        """Answer a ping, so that the browser knows that the kernel lives, and hear of its views."""
        kind = content.get("kind") if isinstance(content, dict) else None
        if kind == "gone":
            self.gone = True
            for act in self._at_gone:
                act()
        if kind == "ping":
            self.gone = False
            self._pinged = time.monotonic()
            self.send({"kind": "pong", "id": content.get("id")})
            put_off, self._put_off = self._put_off, {}
            for act in put_off:
                act()

    def when_seen(self, act: Callable[[], None]) -> None:
        """Do `act` now, or, if a view was there and is out of sight, when it is seen again.

        Running a cell again leaves the widget of the run before behind, linked to its session:
        without this, every one of them would compute at every change.
        """
        if self._seen():
            act()
        else:
            self._put_off[act] = None

    def settled(self) -> bool:
        """Whether the widget shows what it will show until somebody does something."""
        return True

    def _seen(self) -> bool:
        """Whether a view is in sight, or none has been opened yet."""
        return self._pinged is None or time.monotonic() - self._pinged < SIGHT


class Panel(Frame):
    """The traits that the widgets of a session share.

    `saes` lists the SAEs a person can choose from, each {"name", "title", "placebo", "hook",
    "width"}; `placebo` says why one is a placebo and is None for a real one. A feature that
    `has(feature, sae)` raises at is refused.
    """

    saes = traitlets.List(traitlets.Dict()).tag(sync=True)  # the kernel's
    sae = traitlets.Unicode("").tag(sync=True)  # the user's: the name of the chosen one
    selected = traitlets.Int(None, allow_none=True).tag(sync=True)  # the user's: a feature
    # The user's: {"id", "sae", "feature"}, both chosen at once; a number alone would mean another
    # feature as soon as the SAE changes.
    pick = traitlets.Dict().tag(sync=True)
    request = traitlets.Dict().tag(sync=True)  # the user's: what the model is asked for

    def __init__(
        self,
        saes: Sequence[Mapping[str, Any]],
        sae: str | None = None,
        worker: Callable[[Report], Executor] = default_executor,
        *,
        has: Has = lambda feature, sae: None,  # noqa: ARG005
        **traits: Any,
    ) -> None:
        choices = [plain(choice) for choice in saes]
        if not choices:
            raise ValueError("a widget needs at least one SAE; got an empty list of `saes`")
        self._has = has
        self._newest = 0  # the id of the last request that was given to the worker
        super().__init__(worker, saes=choices, sae=sae or choices[0]["name"], **traits)

    @traitlets.validate("sae")
    def _known_sae(self, proposal: Mapping[str, Any]) -> str:
        names = [choice["name"] for choice in self.saes]
        if proposal["value"] not in names:
            raise traitlets.TraitError(
                f"there is no SAE named {proposal['value']!r} here; the names are {names}"
            )
        return str(proposal["value"])

    @traitlets.validate("selected")
    def _known_feature(self, proposal: Mapping[str, Any]) -> int | None:
        feature: int | None = proposal["value"]
        if feature is not None:
            self._check_feature(feature, self.sae)
        return feature

    def _check_feature(self, feature: int, sae: str) -> None:
        """A trait refuses a value by a TraitError, whatever found it wrong."""
        try:
            self._has(feature, sae)
        except (ValueError, IndexError) as error:
            raise traitlets.TraitError(str(error)) from error

    @traitlets.observe("pick")
    def _on_pick(self, change: Mapping[str, Any]) -> None:
        sae, feature = field(change["new"], "sae", str), field(change["new"], "feature", int)
        self.sae = sae
        self.selected = feature

    def refresh(self) -> None:
        """Work out anew what is shown, from the present traits."""
        self._put_off.pop(self.refresh, None)

    def settled(self) -> bool:
        state = self.status["state"]
        return state == "error" or (state != "working" and int(self.status["id"]) >= self._newest)

    def _next_id(self) -> int:
        """An id above every one that has been used, for a request that Python makes itself."""
        shown, asked = self.status.get("id") or 0, self.request.get("id") or 0
        return 1 + max(int(shown), int(asked), self._newest)


def plain(value: Any) -> Any:
    """`value` as the browser will get it: JSON, and no NaN or infinity, which JSON cannot say."""
    try:
        return json.loads(json.dumps(value, allow_nan=False, default=_scalar))
    except ValueError as error:
        raise ValueError(
            f"a widget shows finite numbers only; got NaN or infinity in {str(value)[:200]}"
        ) from error


def _scalar(value: Any) -> Any:
    """NumPy and torch scalars as the numbers they are."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a widget cannot show a {type(value).__name__}; use numbers, text and lists")


def field(request: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """Field `name` of what the browser sent, which is data and not to be trusted."""
    value = request.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = kind.__name__ if isinstance(kind, type) else "number"
        raise ValueError(f"a request needs {name!r} of type {wanted}; got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a request's {name!r} must be finite; got {value!r}")
    return value
