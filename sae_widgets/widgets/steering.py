"""The steering panel: turn features up and down, and watch what the model then writes."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import traitlets

from sae_widgets.steering.arms import CONTROLS
from sae_widgets.steering.code import to_code
from sae_widgets.steering.edits import Edit, edit_from_json
from sae_widgets.widgets.history import History
from sae_widgets.widgets.panel import Panel, bundle, field, plain
from sae_widgets.widgets.recording import Recording
from sae_widgets.widgets.worker import (
    Check,
    Executor,
    Report,
    Status,
    default_executor,
    sentence,
)

LONGEST = 2_000
"""Tokens a person can ask for at once: a slip of the finger must not book the kernel for hours."""

PAUSE = 0.1
"""Seconds between two words on how far a recording is."""

SETTINGS = ("prompt", "length", "temperature", "seed", "edits", "control")
"""What a run depends on."""

OnTokens = Callable[[Sequence[Sequence[str]]], None]
"""Told, while a run goes on, the tokens that each arm has added since it was last told."""

RunRequest = Callable[[Mapping[str, Any], Check, OnTokens], Mapping[str, Any]]
Measure = Callable[[Mapping[str, Any], Check, bool], Iterable[Mapping[str, Any]]]
Keep = Callable[[str, Sequence[Mapping[str, Any]] | None], None]
SweepRequest = Callable[[Mapping[str, Any], Check], Mapping[str, Any]]

Estimate = Callable[[Mapping[str, Any], Recording | None, Check], str]
Tell = Callable[[float], None]
"""Told, while something is recorded, which share of it is done."""

RecordRequest = Callable[[Mapping[str, Any], Recording | None, Check, Tell], Iterable[Recording]]


class Steering(Panel):
    """Turn features up and down, and watch the unsteered and the steered text side by side.

    `run(request, check, on_tokens)` makes the texts. `measure(request, check, written)` says what
    the edits do to texts that are there, bit by bit: it is asked when a run begins, while they are
    the old ones, and when it is `written`. `sweep(request, check)` makes texts at many strengths.
    `record(request, before, check, tell)` records many edits, strengths and seeds, bit by bit, for
    a view without a kernel, and `estimate(request, before, check)` says in words how much that is:
    both beside what was recorded `before`, and both raise where it is too much.
    `keep(name, edits)` keeps edits as a preset, or forgets the name where they are None.
    `features` are those a person can add, each {"sae", "feature", "label", "peak", "density",
    "push"}, `push` being the edit that is known to steer best with it, or None. `edits` are edits,
    and this is one, in their JSON form.
    """

    _esm = bundle("steering.js")
    _css = bundle("steering.css")

    # The kernel's.
    features = traitlets.List(traitlets.Dict()).tag(sync=True)
    run = traitlets.Dict().tag(sync=True)
    effects = traitlets.Dict().tag(sync=True)
    swept = traitlets.Dict().tag(sync=True)
    recorded = traitlets.Dict().tag(sync=True)  # these two are a `Recording`
    numbers = traitlets.Bytes().tag(sync=True)
    recorder = traitlets.Dict().tag(sync=True)  # a status, or "asks"; the `share` that is done
    history = traitlets.List(traitlets.Dict()).tag(sync=True)  # see `History`
    presets = traitlets.Dict().tag(sync=True)  # lists of edits by name
    here = traitlets.Int(0).tag(sync=True)  # of the states in `history`, the newest
    # The user's.
    prompt = traitlets.Unicode("").tag(sync=True)
    length = traitlets.Int(40, min=1, max=LONGEST).tag(sync=True)
    temperature = traitlets.Float(0.0, min=0.0, max=10.0).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=2**53 - 1).tag(sync=True)  # what JavaScript counts exactly
    edits: Any = traitlets.List().tag(sync=True)  # in their JSON form
    control = traitlets.Enum(("", *CONTROLS), "").tag(sync=True)  # beside the edits; "": none
    live = traitlets.Bool(True).tag(sync=True)
    stop = traitlets.Int(0).tag(sync=True)
    sweep = traitlets.Dict().tag(sync=True)  # a request, as for a run; {}: end the sweep
    record = traitlets.Dict().tag(sync=True)  # a request: see `check_record`; {}: end recording
    # {"id", "name", "edits"}: keep these edits under this name; without edits, forget the name.
    preset = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        run: RunRequest,
        measure: Measure = lambda request, check, written: (),  # noqa: ARG005
        sweep: SweepRequest = lambda request, check: {},  # noqa: ARG005
        keep: Keep | None = None,
        estimate: Estimate = lambda request, before, check: "",  # noqa: ARG005
        record: RecordRequest = lambda request, before, check, tell: (),  # noqa: ARG005
        *,
        saes: Sequence[Mapping[str, Any]],
        sae: str | None = None,
        features: Sequence[Mapping[str, Any]] = (),
        prompt: str = "",
        edits: Sequence[Mapping[str, Any]] = (),
        worker: Callable[[Report], Executor] = default_executor,
        **traits: Any,
    ) -> None:
        super().__init__(
            saes, sae, worker, features=plain(features), prompt=prompt, edits=edits, **traits
        )
        self._run = run
        self._measure = measure
        self._sweep = sweep
        self._keep = keep
        self._estimate = estimate
        self._record = record
        self._asks: tuple[int, str] | None = None  # a request to record, and how much it is
        self._keeping = threading.RLock()  # what was recorded
        self._history = History()
        self._sweeps, self._measures = worker(self._show_sweep), worker(self._show_measuring)
        self._records = worker(self._show_recorder)
        self._measuring = Status()
        self.on_close(self._sweeps.close)
        self.on_close(self._records.close)
        self.on_close(self._measures.close)
        self.observe(self._on_request, "request")
        self.observe(self._on_change, list(SETTINGS))
        self.observe(self._on_stop, "stop")
        self.observe(self._on_sweep, "sweep")
        self.observe(self._on_record, "record")
        self.observe(self._on_preset, "preset")
        if prompt:
            self.start()

    def start(self) -> None:
        """Run with the present prompt, edits and settings."""
        self._submit({"id": self._next_id(), **self._settings()})

    def to_code(self) -> str:
        """Python that makes the edits and writes both texts again, given the `session`."""
        return code_of(self._settings())

    def restore(self, states: Sequence[Any], here: int) -> None:
        """Go on from the `history` of another panel, `here` being the state that it shows."""
        self._history.restore([check_state(state) for state in states], here)
        self._tell_history()

    @property
    def recording(self) -> Recording | None:
        """What was recorded, and works without a kernel."""
        with self._keeping:
            return Recording.unpack(self.recorded, self.numbers) if self.recorded else None

    @recording.setter
    def recording(self, recording: Recording | None) -> None:
        described, numbers = ({}, b"") if recording is None else recording.pack()
        with self._keeping, self.hold_sync():
            self.recorded, self.numbers = described, numbers

    def also(self, recording: Recording) -> None:
        """Have a recording beside what was recorded before, by whomever."""
        with self._keeping:
            now = self.recording
            self.recording = recording if now is None else now.and_then(recording)

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SETTINGS}

    def __repr__(self) -> str:
        count = len(self.edits)
        return f"Steering({self.prompt!r}, {count} edit{'' if count == 1 else 's'})"

    @traitlets.validate("edits")
    def _valid_edits(self, proposal: Mapping[str, Any]) -> list[dict[str, Any]]:
        try:
            edits = [check_edit(edit) for edit in proposal["value"]]
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from error
        for edit in edits:
            edit["sae"] = edit.get("sae") or self.sae  # a number alone is one of the chosen SAE's
            if "feature" in edit:
                self._check_feature(edit["feature"], edit["sae"])
        return edits

    def _on_request(self, change: Mapping[str, Any]) -> None:
        try:
            request = check_request(change["new"])
        except ValueError as error:
            self._fail(error, int(self.status.get("id") or 0))
            return
        self._submit(request)

    def _on_change(self, _change: object) -> None:
        """Run again when Python changed something; the browser sends a newer request beside it."""
        if self.request.get("id", 0) <= self._newest:
            self.when_seen(self.refresh)

    def refresh(self) -> None:
        """Run, if changes are to be run at once and there is something to continue."""
        super().refresh()
        if self.live and self.prompt:
            self.start()

    def _on_stop(self, change: Mapping[str, Any]) -> None:
        self._executor.stop(change["new"])

    def settled(self) -> bool:
        return super().settled() and self._measuring.state != "working"

    def _show_measuring(self, status: Status) -> None:
        """Of measuring, only a failure is worth a word: why there are no measurements."""
        self._measuring = status
        if status.state == "error" and status.id == self._newest:
            self.effects = {"id": status.id, "trouble": status.text}

    def _on_sweep(self, change: Mapping[str, Any]) -> None:
        """Sweep beside whatever runs: a run does not wait for a sweep, nor end it."""
        if not change["new"]:  # no sweep is wanted any more
            self._sweeps.stop(int(self.swept.get("id") or 0))
            return
        try:
            request = check_request(change["new"])
        except ValueError as error:
            self._show_sweep(Status(int(self.swept.get("id") or 0), "error", sentence(error)))
            return
        id = request["id"]

        def job(check: Check) -> None:
            found = self._sweep(request, check)
            check()
            self.swept = plain({**found, "id": id, "state": "done", "request": request})

        self._sweeps.submit(id, job)

    def _on_record(self, change: Mapping[str, Any]) -> None:
        """Record beside whatever runs, as for a sweep; ask first, unless somebody is sure."""
        request = change["new"]
        if not request:
            self._records.stop(int(self.recorder.get("id") or 0))
            if self.recorder.get("state") == "asks":
                self.recorder = {**self.recorder, "state": "done"}
            return
        try:
            request = check_record(request)
        except ValueError as error:
            self._show_recorder(Status(0, "error", sentence(error)))
            return
        id, text = request["id"], self._asks[1] if self._asks else ""

        def job(check: Check) -> None:
            if not request["sure"]:
                self._asks = id, self._estimate(request, self.recording, check)
                return
            last = -math.inf

            def tell(share: float) -> None:
                nonlocal last
                now = time.perf_counter()
                if now - last >= PAUSE:
                    last = now
                    self.recorder = {"id": id, "state": "working", "text": text, "share": share}

            self._asks = None
            tell(0.0)
            found: Recording | None = None
            try:
                for more in self._record(request, self.recording, check, tell):
                    found = more if found is None else found.and_then(more)
            finally:  # what is finished is kept
                if found is not None:
                    self.also(found)

        self._records.submit(id, job)

    def _show_recorder(self, status: Status) -> None:
        told = {"id": status.id, "state": status.state, "text": status.text}
        if status.state == "done" and self._asks and self._asks[0] == status.id:
            told |= {"state": "asks", "text": self._asks[1]}
        self.recorder = {**told, "detail": status.detail, "share": 0.0}

    def _on_preset(self, change: Mapping[str, Any]) -> None:
        if self._keep is None or not change["new"]:
            return
        name, edits = field(change["new"], "name", str), change["new"].get("edits")
        self._keep(name, None if edits is None else [check_edit(edit) for edit in edits])

    def _show_sweep(self, status: Status) -> None:
        if status.state != "done":  # a sweep that is done is itself what is shown
            told = {"id": status.id, "state": status.state, "text": status.text}
            self.swept = {**self.swept, **told, "detail": status.detail}  # the old curve stays

    def _submit(self, request: Mapping[str, Any]) -> None:
        id = self._newest = int(request["id"])
        gesture = self._history.begin(request)

        def measure(written: bool) -> None:
            """Beside the run: no token waits for it, and no run fails because it fails."""

            def job(check: Check) -> None:
                found = {"id": id, **({"code": code_of(request)} if written else {})}
                # Once at least: the code is there though nothing be measured.
                for more in chain(self._measure(request, check, written), [{}]):
                    check()
                    found |= more
                    if id == self._newest:
                        self.effects = plain(found)

            self._measuring = Status(id, "working")
            self._measures.submit(id, job)

        def job(check: Check) -> None:
            result = self._run(request, check, TokenFeed(id, self.send))
            if id == self._newest:  # a run that was stopped is shown; one that was replaced is not
                self.run = plain({**result, "id": id, "request": dict(request)})
                self._remember(gesture)
                measure(written=True)

        measure(written=False)
        self._executor.submit(id, job)

    def _remember(self, gesture: int) -> None:
        """Keep the newest run as a state, if it wrote anything."""
        if not any(arm["tokens"] for arm in self.run["arms"]):
            return
        self._history.add(self.run["request"], self.run, gesture)
        self._tell_history()

    def _tell_history(self) -> None:
        with self.hold_sync():
            self.history = plain(self._history.states)
            self.here = self._history.here


class TokenFeed:
    """Sends what the arms have written so far, at most `RATE` times a second.

    Jupyter drops messages above its rate limit without a word, and a view that is opened late has
    missed the first: so each message holds all. The last tokens may stay here unsent: a run ends
    with the `run` trait, which has them.
    """

    RATE = 20

    def __init__(self, id: int, send: Callable[[dict[str, Any]], None]) -> None:
        self._id = id
        self._send = send
        self._arms: list[list[str]] = []
        self._sent = -math.inf

    def __call__(self, arms: Sequence[Sequence[str]]) -> None:
        while len(self._arms) < len(arms):
            self._arms.append([])
        for gathered, new in zip(self._arms, arms, strict=True):
            gathered.extend(new)
        now = time.perf_counter()
        if now - self._sent < 1 / self.RATE:
            return
        arms = [list(tokens) for tokens in self._arms]
        self._send({"kind": "tokens", "id": self._id, "arms": arms})
        self._sent = now


def code_of(request: Mapping[str, Any]) -> str:
    """Python that makes the edits of a request and writes its texts, given the `session`."""
    settings = (
        f"{request['prompt']!r}, edits, max_new_tokens={request['length']}, "
        f"temperature={request['temperature']!r}, seed={request['seed']}"
        + (f", compare=[{request['control']!r}]" if request["control"] else "")
    )
    edits = to_code([edit_from_json(edit) for edit in request["edits"]])
    return f"{edits}run = session.generate({settings})\n"


def check_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """A run's request as the browser sent it, or a ValueError that says what is wrong with it."""
    length, temperature = field(request, "length", int), field(request, "temperature", (int, float))
    seed = field(request, "seed", int)
    if not 1 <= length <= LONGEST:
        raise ValueError(f"a run writes 1 to {LONGEST} tokens; got length {length}")
    if not 0 <= temperature <= 10:
        raise ValueError(f"a temperature is 0 (greedy) to 10; got {temperature}")
    if seed < 0:
        raise ValueError(f"a seed is a whole number from 0; got {seed}")
    control = field(request, "control", str)
    if control and control not in CONTROLS:
        raise ValueError(f"a control is one of {', '.join(CONTROLS)}; got {control!r}")
    return {
        "id": field(request, "id", int),
        "prompt": field(request, "prompt", str),
        "length": length,
        "temperature": float(temperature),
        "seed": seed,
        "edits": [check_edit(edit) for edit in field(request, "edits", (list, tuple))],
        "control": control,
    }


def check_record(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request to record, or a ValueError that says what is wrong with it.

    {"id", "prompt", "length", "temperature", "seeds", "edits"} and, once a person has seen how much
    it is, "sure"; at which strengths, the session chooses.
    """
    settings = {**request, "seed": 0, "control": ""}
    checked = check_request(settings)
    seeds = [
        check_request({**settings, "seed": seed})["seed"] for seed in field(request, "seeds", list)
    ]
    kept = ("id", "prompt", "length", "temperature", "edits")
    if not isinstance(sure := request.get("sure", False), bool):
        raise ValueError(f"who asks to record is sure or not; got {sure!r}")
    return {**{name: checked[name] for name in kept}, "seeds": seeds, "sure": sure}


def check_edit(edit: Any) -> dict[str, Any]:
    """An edit in its JSON form, or a ValueError that says what is wrong with it."""
    if isinstance(edit, Edit):
        return edit.to_json()
    if not isinstance(edit, Mapping):
        raise ValueError(f"an edit is a dict; got {edit!r}")
    try:
        edit_from_json(edit)
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return dict(edit)


def check_state(state: Any) -> dict[str, Any]:
    """A state of the history as a file has it, or a ValueError that says what is wrong with it."""
    if not isinstance(state, Mapping):
        raise ValueError(f"a state of the history is a dict; got {state!r}")
    request = check_request({**field(state, "request", Mapping), "id": 0})
    del request["id"]
    return {
        "id": field(state, "id", int),
        "parent": field(state, "parent", int),
        "request": request,
        "arms": [check_arm(arm) for arm in field(state, "arms", list)],
    }


def check_arm(arm: Any) -> dict[str, Any]:
    """What the history keeps of an arm, or a ValueError that says what is wrong with it."""
    if not isinstance(arm, Mapping):
        raise ValueError(f"an arm is a dict; got {arm!r}")
    return {
        "name": field(arm, "name", str),
        "control": field({"control": "", **arm}, "control", str),
        "tokens": [field({"token": token}, "token", str) for token in field(arm, "tokens", list)],
        "nll": None if arm.get("nll") is None else field(arm, "nll", (int, float)),
    }
