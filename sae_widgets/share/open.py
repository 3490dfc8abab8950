"""Open a shared notebook or page: its widgets, live again on what they were made with.

The file is data. It says which model and SAEs to look for and what was asked of them, all of which
is checked as if a browser had sent it; what the widgets showed is made anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from traitlets import TraitError

from sae_widgets.model import load_model
from sae_widgets.sae import SAE
from sae_widgets.session import Labels, Session
from sae_widgets.share.source import (
    Source,
    Traits,
    check_about,
    find_source,
    refuse_differences,
)
from sae_widgets.share.stored import Stored, stored_widgets
from sae_widgets.widgets import Heatmap, Steering
from sae_widgets.widgets.panel import field
from sae_widgets.widgets.recording import Recording
from sae_widgets.widgets.steering import SETTINGS, check_edit, check_request
from sae_widgets.widgets.worker import sentence

AGREED = ("about", "sae", "selected", "edits")
"""The traits in which the widgets of one session are the same."""

CHARACTERS, STATES, EDITS = 100_000, 10_000, 10_000
"""What a widget of a shared file may hold: a text or prompt, a history, the edits of all states."""

REFUSALS = (ValueError, TypeError, LookupError, OverflowError, RecursionError, TraitError)
"""By which a value that makes no sense may be refused."""


class Shared(NamedTuple):
    """Widgets that were opened, in the order of their file, and the session of each."""

    widgets: tuple[Heatmap | Steering, ...]
    sessions: tuple[Session, ...]


def open_shared(
    path: str | Path, model: Any = None, sae: SAE | Sequence[SAE] | None = None
) -> Shared:
    """Make the widgets of a shared notebook, or of a page that save_html wrote, live again.

    model: as `load_model` takes it; None: the demo's if it is that one, else one in a local folder
    of the name that the file gives. sae: the SAE, or all of them; None: the demo's. They must have
    the weights that the file says; a ValueError lists all that is missing or different.

    The texts are read and written anew, under the edits and settings that the widgets had. The
    history and what was recorded come along; what is painted on a heatmap comes with a panel that
    has the edit.
    """
    path = Path(path)
    # A training is not begun again by looking at it.
    stored = [each for each in stored_widgets(path) if each.kind != "training"]
    if not stored:
        raise ValueError(f"{path.name!r} shows a training alone, which is not opened again")
    for number, each in enumerate(stored, start=1):
        with _in_words(path, number, each):
            _check_size(each.traits)
    given = [sae] if isinstance(sae, SAE) else list(sae or ())
    model = None if model is None else load_model(model)
    sources: list[Source] = []
    for number, each in enumerate(stored, start=1):
        with _in_words(path, number, each):
            about = check_about(each.traits)
        if about not in [source.about for source in sources]:
            sources.append(find_source(about, model, given))
    refuse_differences(path, sources)
    sessions = _Sessions(stored, sources)
    made: list[tuple[Heatmap | Steering, Session]] = []
    with ExitStack() as opened:
        for number, each in enumerate(stored, start=1):
            with _in_words(path, number, each):
                session = sessions.of(each.traits)
                open_one = _open_heatmap if each.kind == "heatmap" else _open_panel
                made.append((open_one(session, each.traits, opened), session))
        opened.pop_all()
    return Shared(tuple(widget for widget, _ in made), tuple(session for _, session in made))


@contextmanager
def _in_words(path: Path, number: int, stored: Stored) -> Iterator[None]:
    """Say of which widget of the file something is refused."""
    try:
        yield
    except REFUSALS as error:
        said = sentence(error)
        said = said if len(said) <= 400 else f"{said[:400]}…"
        raise ValueError(f"{path.name!r}, widget {number} ({stored.kind}): {said}") from error


def _check_size(traits: Traits) -> None:
    """Refuse what nobody has written by hand, and what would take minutes and gigabytes."""
    for name in ("text", "prompt"):
        if isinstance(text := traits.get(name), str) and len(text) > CHARACTERS:
            raise ValueError(
                f"its {name} has {len(text):,} characters; at most {CHARACTERS:,} are opened"
            )
    history = traits.get("history")
    states = history if isinstance(history, list) else []
    lists = [traits, *(state for state in states if isinstance(state, Mapping))]
    edits = sum(len(found) for each in lists if isinstance(found := each.get("edits"), list))
    for what, count, most in (("states", len(states), STATES), ("edits", edits, EDITS)):
        if count > most:
            raise ValueError(f"it holds {count:,} {what}; at most {most:,} are opened")


class _Sessions:
    """The sessions of a file: widgets that agree in what a session shares are of the same one."""

    def __init__(self, stored: Sequence[Stored], sources: Sequence[Source]) -> None:
        self._stored = stored
        self._sources = sources
        self._made: list[tuple[dict[str, Any], Session]] = []

    def of(self, traits: Traits) -> Session:
        """The session of a widget, as it was when the widget was saved."""
        session = self._agreeing({name: traits[name] for name in AGREED if name in traits})
        session.chosen = field(traits, "sae", str)
        if traits.get("selected") is not None:
            session.selected = field(traits, "selected", int)
        if "edits" in traits:
            session.edits = [check_edit(edit) for edit in field(traits, "edits", list)]
        return session

    def _agreeing(self, agreed: dict[str, Any]) -> Session:
        for known, session in self._made:
            if all(known.get(name, value) == value for name, value in agreed.items()):
                known.update(agreed)
                return session
        self._made.append((agreed, self._new(agreed["about"])))
        return self._made[-1][1]

    def _new(self, about: Traits) -> Session:
        (source,) = [each for each in self._sources if each.about == check_about({"about": about})]
        alike = [each.traits for each in self._stored if each.traits["about"] == about]
        return source.session(_labels(alike))


def _labels(widgets: Sequence[Traits]) -> Labels:
    """What the features were called in widgets of one session, and how best to steer with them."""
    found: dict[str, dict[int, dict[str, Any]]] = {}

    def add(sae: Any, row: Any) -> None:
        if not isinstance(row, Mapping):
            raise ValueError(f"what is known of a feature is a dict; got {row!r}")
        sae = field({"sae": sae, **row}, "sae", str)
        feature, label = field(row, "feature", int), field(row, "label", str)
        push = row.get("push") or {}
        said = {name: push[name] for name in ("strength", "where", "schedule") if name in push}
        if label or said:
            found.setdefault(sae, {}).setdefault(feature, {"label": label, **said})

    for traits in widgets:
        for row in field({"features": [], **traits}, "features", list):
            add(None, row)
        view = field({"view": {}, **traits}, "view", dict)
        for row in field({"features": [], **view}, "features", list):
            add(view.get("sae"), row)
    return found


def _open_heatmap(session: Session, traits: Traits, opened: ExitStack) -> Heatmap:
    widget = opened.enter_context(closing(session.heatmap(field(traits, "text", str))))
    for name, kind in (("sort", str), ("scale", str), ("dense", (int, float))):
        setattr(widget, name, field(traits, name, kind))
    if traits.get("token") is not None:
        token, tokens = field(traits, "token", int), len(widget.view.get("tokens", ()))
        if not 0 <= token < tokens:
            raise ValueError(f"there is no token {token}: the text has {tokens}")
        widget.token = token
    return widget


def _open_panel(session: Session, traits: Traits, opened: ExitStack) -> Steering:
    asked = check_request({"id": 0, **{name: traits.get(name) for name in SETTINGS}})
    settings = {name: asked[name] for name in ("length", "temperature", "seed")}
    panel = session.steer(control=asked["control"] or None, **settings)
    widget = opened.enter_context(closing(panel))
    widget.restore(field(traits, "history", list), field(traits, "here", int))
    if traits.get("recorded"):
        recorded, numbers = field(traits, "recorded", dict), field(traits, "numbers", bytes)
        widget.recording = Recording.unpack(recorded, numbers)
    widget.prompt = asked["prompt"]  # which it runs, while it is live
    widget.set_trait("live", traits.get("live"))
    return widget
