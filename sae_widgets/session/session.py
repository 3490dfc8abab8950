"""A session: a model, its SAEs and their labels bound together. Here models meet widgets."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from operator import index
from pathlib import Path
from typing import Any, NoReturn

import traitlets
from jaxtyping import Float
from torch import Tensor

from sae_widgets.features import Features, capture
from sae_widgets.fit import check_fit
from sae_widgets.formats import AnySAE, as_sae
from sae_widgets.model import (
    Model,
    begins,
    check_hook,
    check_inference,
    check_vocabulary,
    device_of,
)
from sae_widgets.sae import SAE
from sae_widgets.session.catalogue import Catalogue
from sae_widgets.session.labels import Labels, read_labels
from sae_widgets.session.measuring import Measurements
from sae_widgets.session.reading import describe, read
from sae_widgets.session.recorder import Recorder, around, nature, nearest
from sae_widgets.share.progress import Progress
from sae_widgets.share.twin import leave_twin
from sae_widgets.steering import Add, Arm, Edit, Run, controls, edit_from_json, generate
from sae_widgets.steering.arms import Control
from sae_widgets.steering.code import to_hook_code
from sae_widgets.steering.conditions import Condition, Fires
from sae_widgets.steering.edits import AnyEdit, Span, Unit
from sae_widgets.steering.effects import (
    NEUTRAL,
    Effects,
    SideEffects,
    effects,
    input_score,
    likelihoods,
    output_score,
    side_effects,
)
from sae_widgets.steering.export import export
from sae_widgets.steering.generation import Stop
from sae_widgets.steering.neuronpedia import Imported, neuronpedia
from sae_widgets.steering.painting import painted, repainted
from sae_widgets.steering.presets import Presets
from sae_widgets.steering.prompts import Prompts
from sae_widgets.steering.receipt import Receipt, receipt
from sae_widgets.steering.record import Plan
from sae_widgets.steering.sweep import FACTORS, Sweep, sweep
from sae_widgets.tokens import (
    Chat,
    Encoded,
    Spelling,
    encode,
    encode_chat,
)
from sae_widgets.widgets import Cancelled, Heatmap, HeatmapView, Replaced, Steering
from sae_widgets.widgets.recording import Recording
from sae_widgets.wire import told_about, told_painted, told_run, told_sweep

FIRST_STRENGTH = 0.5
"""What a feature is steered with, × its peak, where none is recommended."""

SAMPLE = (
    "The museum opened its doors at nine in the morning. Most of the visitors had come to see the "
    "old maps, and a few of them stayed until the evening to talk about what they had found."
)
"""Ordinary text to try an SAE on."""


class Session(traitlets.HasTraits):
    """A model and an SAE, with everything a person does with the two.

    `saes` are further SAEs of the same model (other widths, placebos) that the widgets offer by
    name. SAEs of SAELens are taken as they are. All widgets of a session share the chosen `sae`,
    the `selected` feature and the `edits`.

    `presets` are named lists of edits, kept in a file beside the notebook: a dictionary to read
    and to write, which the steering panel shows.

    When it is made, each SAE is tried on `sample` (None: on nothing): one that does not belong to
    this model and hook is refused with the likely reason.
    """

    selected = traitlets.Int(None, allow_none=True)  # a feature of the chosen SAE
    chosen = traitlets.Unicode()  # an SAE, by name
    _edits = traitlets.List(traitlets.Dict())

    def __init__(
        self,
        model: Model,
        sae: AnySAE,
        *,
        labels: Labels | None = None,
        saes: Sequence[AnySAE] = (),
        sample: str | None = SAMPLE,
    ) -> None:
        super().__init__()
        self._steerings: list[Steering] = []
        self._prompts = Prompts()
        if getattr(model, "tokenizer", None) is None:
            raise ValueError(
                "this model has no tokenizer, so it cannot read text; give it one: "
                "load_model(model, tokenizer)"
            )
        check_inference(model)
        check_vocabulary(model)
        self.model = model
        self.saes = _named([as_sae(each) for each in (sae, *saes)])
        self.chosen = next(iter(self.saes))
        self._labels = read_labels(labels or {}, self.saes)
        self._catalogue = Catalogue(self.saes, self._labels)
        self.presets = Presets(changed=self._show_presets)
        self._measurements = Measurements(model, self.saes, self._catalogue.about, self._prompts)
        self._recorder = Recorder(model, self.saes, self._prompts)
        for each in self.saes.values():
            check_hook(model, each.hook)
            check_hook(model, each.hook_out)
            each.to(device_of(model))
            check_fit(model, each, sample)

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        """A session is not copied or pickled: its widgets are on screen, and there only once."""
        raise TypeError(
            "a session, with its widgets, is not copied or pickled. Make another: "
            "Session(session.model, session.sae), with copies of the two if they are to change: "
            "copy.deepcopy(session.model); edits and runs have to_json(), save_sae keeps an SAE"
        )

    @property
    def sae(self) -> SAE:
        """The chosen SAE."""
        return self.saes[self.chosen]

    @property
    def labels(self) -> dict[str, dict[int, str]]:
        """The label of each labelled feature, by the name of its SAE."""
        return {
            name: {feature: label.label for feature, label in known.items()}
            for name, known in self._labels.items()
        }

    def label(self, feature: int, sae: str | None = None) -> str:
        """What `feature` is called; empty where nobody has named it."""
        chosen = self._sae(sae)
        chosen.check_feature(feature)
        known = self._labels[chosen.name].get(feature)
        return "" if known is None else known.label

    def find(self, label: str, sae: str | None = None) -> int:
        """The feature that is called `label`; of several, the first by number."""
        names = self.labels[self._sae(sae).name]
        for feature, name in sorted(names.items()):
            if name == label:
                return feature
        nearest = difflib.get_close_matches(label, names.values(), n=3, cutoff=0.4)
        raise ValueError(
            f"no feature of this SAE is called {label!r}. Nearest names: "
            f"{', '.join(map(repr, nearest)) or 'none'}. All are in `session.labels`."
        )

    @property
    def edits(self) -> tuple[AnyEdit, ...]:
        """The edits that the session's widgets share."""
        return tuple(edit_from_json(edit) for edit in self._edits)

    @edits.setter
    def edits(self, edits: Iterable[AnyEdit | Mapping[str, Any]]) -> None:
        self._edits = self._checked(
            edit if isinstance(edit, Edit) else edit_from_json(edit) for edit in edits
        )

    def _checked(self, edits: Iterable[AnyEdit]) -> list[dict[str, Any]]:
        """Edits in their JSON form; raises if one names what this session does not have."""
        checked = []
        for edit in map(self._bound, edits):
            if edit.feature is not None:
                self._sae(edit.sae).check_feature(edit.feature)
            for sense in () if edit.when is None else edit.when.senses():
                if isinstance(sense, Fires):
                    self._sae(sense.sae).check_feature(sense.feature)
            checked.append(edit.to_json())
        return checked

    def _bound(self, edit: AnyEdit) -> AnyEdit:
        """The edit with the SAE it means: a number alone is a feature of the chosen one."""
        when = None if edit.when is None else edit.when.bound(self.chosen, self.sae.hook)
        return replace(edit, sae=edit.sae or self.chosen, when=when)

    @traitlets.validate("_edits")
    def _known_edits(self, proposal: Mapping[str, Any]) -> list[dict[str, Any]]:
        with _refused():
            return self._checked(map(edit_from_json, proposal["value"]))

    @traitlets.validate("chosen")
    def _known_sae(self, proposal: Mapping[str, Any]) -> str:
        with _refused():
            return self._sae(proposal["value"]).name

    @traitlets.validate("selected")
    def _known_feature(self, proposal: Mapping[str, Any]) -> int | None:
        if proposal["value"] is not None:
            with _refused():
                self.sae.check_feature(proposal["value"])
        return proposal["value"]  # type: ignore[no-any-return]

    @traitlets.observe("chosen")
    def _select_nothing(self, _change: object) -> None:
        """A number means another feature in another SAE. Who chooses both sets `chosen` first."""
        self.selected = None

    def features(self, text: str | Chat, sae: str | None = None) -> Features:
        """Which features fire on each token of `text`; raises if it is over the model's context."""
        return capture(self.model, self._sae(sae), self._encode(text).ids)

    def generate(
        self,
        prompt: str | Chat,
        edits: Sequence[AnyEdit] | Mapping[str, Sequence[AnyEdit]] = (),
        *,
        max_new_tokens: int = 40,
        temperature: float = 0.0,
        seed: int = 0,
        compare: Sequence[Control] = (),
        until: Condition | None = None,
    ) -> Run:
        """Continue `prompt` without edits and, beside it, under `edits`.

        A prompt, here as wherever a text is read, may be a chat, [{"role": "user", "content": …}],
        which the tokenizer's own template writes (see `sae_widgets.tokens.encode_chat`).

        Several arms may be given by name: {"sea": [...], "forest": [...]}. A feature without the
        name of an SAE is one of the chosen SAE, here and in `edits`. compare: controls of each arm
        to run beside it ("random", "flipped", "neighbour", "placebo"). until: an arm ends with the
        token on which this holds.
        """
        named = edits if isinstance(edits, Mapping) else {"steered": edits} if edits else {}
        arms = [Arm("base")]
        for name, each in named.items():
            arm = Arm(name, tuple(map(self._bound, each)))
            arms += [arm, *controls(arm, *compare)]
        return generate(
            self.model,
            self.saes,
            self._encode(prompt).ids,
            arms,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            prompts=self._prompts,
            until=until.bound(self.chosen, self.sae.hook)
            if isinstance(until, Condition)
            else until,
        )

    def effects(
        self,
        text: str | Chat,
        edits: Iterable[AnyEdit] | None = None,
        *,
        prompt: str | Chat | None = None,
    ) -> Effects:
        """How `edits` (None: those of the session) change what is predicted in `text`.

        prompt: what `text` begins with and was not generated; None: all of it.
        """
        chosen = self.edits if edits is None else tuple(map(self._bound, edits))
        ids, given = self._split(text, prompt)
        return effects(self.model, self.saes, ids, chosen, prompt=given)

    def side_effects(
        self,
        text: str | Chat,
        edits: Iterable[AnyEdit] | None = None,
        *,
        reader: SAE | str | None = None,
        prompt: str | Chat | None = None,
        n: int = 10,
    ) -> SideEffects:
        """Which other features rise or fall most in `text` under `edits` (None: the session's).

        prompt: what `text` begins with and was not generated; None: all of it. reader: the SAE
        that looks, by name or itself; one at a later hook shows what the model makes of the edits.
        None: the chosen one.
        """
        chosen = self.edits if edits is None else tuple(map(self._bound, edits))
        looking = reader if isinstance(reader, SAE) else self._sae(reader)
        ids, given = self._split(text, prompt)
        return side_effects(self.model, self.saes, ids, chosen, reader=looking, prompt=given, n=n)

    def sweep(
        self,
        prompt: str | Chat,
        edits: Iterable[AnyEdit] | None = None,
        factors: Sequence[float] = FACTORS,
        *,
        max_new_tokens: int = 40,
        temperature: float = 0.0,
        seed: int = 0,
        control: Control | None = "random",
        budget: float = 1.0,
        concept: Callable[[str], float] | None = None,
    ) -> Sweep:
        """Continue `prompt` under `edits` (None: the session's) times each of `factors`, at once.

        See `sae_widgets.steering.sweep.sweep` for what is measured.
        """
        chosen = self.edits if edits is None else tuple(map(self._bound, edits))
        return sweep(
            self.model,
            self.saes,
            self._encode(prompt).ids,
            chosen,
            factors,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            control=control,
            budget=budget,
            concept=concept,
            prompts=self._prompts,
        )

    def receipt(self, run: Run) -> Receipt:
        """What the edits of a run of this session asked for, and what is found."""
        return receipt(self.model, self.saes, run)

    def likelihoods(self, run: Run) -> Float[Tensor, "text arm"]:
        """How likely every arm finds what each arm of a run wrote: nats a token."""
        return likelihoods(self.model, self.saes, run)

    def export(self, path: str | Path, edits: Iterable[AnyEdit] | None = None) -> Path:
        """Write `edits` (None: the session's) for another program; the ending says which.

        .gguf: llama.cpp; .steering_vectors.pt: that library; .pt: lm-evaluation-harness's model
        `steered`; .py: code. All but code can only add a vector to every token: other edits are
        refused. See `sae_widgets.steering.export.export`.
        """
        chosen = self.edits if edits is None else tuple(map(self._bound, edits))
        return export(path, self.model, self.saes, chosen)

    def neuronpedia(self, source: str | Path | Mapping[str, Any]) -> Imported:
        """The label and the push that Neuronpedia has at `source`; see `sw.neuronpedia`.

        Of one of this session's SAEs it is the feature, else the vector in the record.
        """
        return neuronpedia(source, self.saes)

    def to_hook_code(self, edits: Iterable[AnyEdit] | None = None) -> str:
        """Python that does what `edits` do (None: the session's), with TransformerLens alone."""
        chosen = self.edits if edits is None else tuple(map(self._bound, edits))
        return to_hook_code(self.model, self.saes, chosen)

    def output_scores(
        self, features: Sequence[int], sae: str | None = None, prompt: str | Chat = NEUTRAL
    ) -> Float[Tensor, " feature"]:
        """How much features do what their directions say, from 0 to 1 (Arad et al. 2025)."""
        ids = self._encode(prompt).ids
        return output_score(self.model, self._sae(sae), features, ids)

    def input_scores(
        self, features: Sequence[int], texts: Sequence[str | Chat], sae: str | None = None
    ) -> Float[Tensor, " feature"]:
        """How much features fire on what their directions say, from 0 to 1 (Arad et al. 2025).

        NaN for one that fires in none of `texts`; ten of them in which it does are few.
        """
        ids = [self._encode(text).ids for text in texts]
        return input_score(self.model, self._sae(sae), features, ids)

    def heatmap(self, text: str = "") -> Heatmap:
        """A widget: which features fire on which tokens of `text`."""
        widget = Heatmap(
            self._read,
            self._describe,
            self.steer_feature,
            self.paint,
            saes=self._catalogue.saes(),
            sae=self.chosen,
            text=text,
            has=self._has,
            about=told_about(self.model, self.saes),
            twin=leave_twin,
        )
        self._share(widget)
        return widget

    def steer(
        self,
        prompt: str = "",
        edits: Iterable[AnyEdit | Mapping[str, Any]] | None = None,
        *,
        length: int = 40,
        temperature: float = 0.0,
        seed: int = 0,
        control: Control | None = None,
    ) -> Steering:
        """A widget: what the model writes after `prompt`, without and with `edits`.

        Edits given here become those of the session; None takes those it has. `length` is in
        tokens; `temperature` 0 is greedy. `control` adds a third text: the same push in another
        direction. The panel continues text; chats are for `generate`.
        """
        if edits is not None:
            self.edits = edits
        widget = Steering(
            self._run,
            self._measured,
            self._swept,
            self._keep,
            self._estimated,
            self._recorded,
            saes=self._catalogue.saes(),
            sae=self.chosen,
            has=self._has,
            about=told_about(self.model, self.saes),
            twin=leave_twin,
            features=self._catalogue.listed(self.chosen, self.edits),
            prompt=prompt,
            edits=self._edits,
            length=length,
            temperature=temperature,
            seed=seed,
            control=control or "",
            presets=self._told_presets(),
        )
        self._share(widget)
        return widget

    def record(
        self,
        features: Iterable[int | AnyEdit],
        strengths: Iterable[float] | None = None,
        seeds: Iterable[int] = (0,),
        *,
        prompt: str | None = None,
        length: int | None = None,
        temperature: float | None = None,
        panel: Steering | None = None,
    ) -> Steering:
        """A steering panel that goes on working without a kernel, at what is recorded here.

        Each of `features` acts by itself, at every one of `strengths` and with every one of
        `seeds`. A number stands for the recommended edit of that feature; strengths None: some
        around the edit's own, which does not count else. panel: the one that is to have the
        recording, beside what it has of the same prompt, length and temperature, which are its own
        where none are given; None: a new one, of 40 tokens, greedy. What would be too much in all
        is refused before anything is written; recording that is interrupted keeps what is finished.
        """
        chosen = None if strengths is None else list(map(float, strengths))
        edits = [
            self._bound(edit if isinstance(edit, Edit) else self.recommended(index(edit)))
            for edit in features
        ]
        self._checked(edits)
        if panel is not None:
            prompt = panel.prompt if prompt is None else prompt
            length = panel.length if length is None else length
            temperature = panel.temperature if temperature is None else temperature
        if not prompt:
            raise ValueError("a recording continues a prompt; give one in prompt=")
        length = 40 if length is None else length
        temperature = 0.0 if temperature is None else temperature
        ids = self._encode(prompt).ids
        each = [around(edit) if chosen is None else chosen for edit in edits]
        plan = Plan(ids, edits, each, list(seeds), length, temperature)
        planned = self._recorder.planned(prompt, plan)
        self._recorder.check(planned, plan, None if panel is None else panel.recording)
        found: Recording | None = None
        progress, ended = Progress(), plan.told
        progress(plan.told, 0.0)
        try:
            told = f"{plan.told}, about {self._recorder.lasting(plan)}"
            for more in self._recorder.takes(planned, plan, partial(progress, told)):
                found = more if found is None else found.and_then(more)
        except KeyboardInterrupt:
            if found is None:
                raise
            ended = f"{plan.told}; stopped, and what is finished is kept"
        except Exception:
            if found is not None and panel is not None:
                panel.also(found)
            raise
        assert found is not None  # a plan has takes
        rows = [nearest(*each) for each in zip(plan.strong, plan.strengths, strict=True)]
        if panel is None:
            shown = [replace(rows[0], on=True), *rows[1:]]
            panel = self.steer(
                prompt, shown, length=length, temperature=temperature, seed=plan.seeds[0]
            )
        else:
            panel.prompt, panel.length, panel.temperature = prompt, length, temperature
            here = [nature(edit) for edit in self.edits]
            self.edits = [*self.edits, *(row for row in rows if nature(row) not in here)]
        panel.also(found)
        progress.end(ended)
        return panel

    def steer_feature(self, feature: int, sae: str | None = None) -> None:
        """Select `feature` of `sae` (or the chosen one); add an edit for it unless there is one."""
        chosen = self._sae(sae)
        chosen.check_feature(feature)
        self.chosen = chosen.name
        self.selected = feature
        if any(edit.feature == feature and edit.sae == chosen.name for edit in self.edits):
            return
        self.edits = [*self.edits, self.recommended(feature, chosen.name)]

    def recommended(self, feature: int, sae: str | None = None) -> Add:
        """The push that is known to steer best with a feature of `sae` (or the chosen one).

        Where its label knows none: half its peak, everywhere (without a peak, half the mean
        activation norm; without statistics, half its direction).
        """
        chosen = self._sae(sae)
        chosen.check_feature(feature)
        label = self._labels[chosen.name].get(feature)
        if label is not None and label.push is not None:
            return label.push
        return Add(feature, FIRST_STRENGTH, unit=_unit(chosen, feature), sae=chosen.name)

    def paint(self, feature: int, strengths: Sequence[float], sae: str | None = None) -> None:
        """Push `feature` of `sae` (or the chosen one) by `strengths[i]` at token i of a text.

        They count the feature's peak (without a peak, the mean activation norm; without statistics,
        its direction). Its edit that is painted already is changed in place, and zeros alone take
        it away. Places are counted, words are not: any text is pushed at the same places, given or
        written. Special tokens count, and are never edited.
        """
        chosen = self._sae(sae)
        chosen.check_feature(feature)
        edits = list(self.edits)
        of_it = [
            place
            for place, edit in enumerate(edits)
            if (edit.sae, edit.feature) == (chosen.name, feature) and painted(edit) is not None
        ]
        place = of_it[0] if of_it else len(edits)
        first = Add(feature, 1.0, unit=_unit(chosen, feature), where=Span(), sae=chosen.name)
        new = repainted(edits[place] if of_it else first, strengths)
        edits[place : place + 1] = [] if new is None else [new]
        self.edits = edits

    def __repr__(self) -> str:
        return f"Session({str(self.model.cfg.model_name)!r}, saes={list(self.saes)})"

    # What the widgets call

    def _read(self, text: str, sae: str, check: Callable[[], None]) -> HeatmapView:
        return read(self.model, self._sae(sae), text, self._catalogue, check)

    def _describe(self, features: Sequence[int], sae: str) -> list[dict[str, Any]]:
        return describe(self.model, self._sae(sae), features, self._catalogue)

    def _run(
        self,
        request: Mapping[str, Any],
        check: Callable[[], None],
        on_tokens: Callable[[Sequence[Sequence[str]]], None],
    ) -> dict[str, Any]:
        def keep_what_is_written() -> None:
            try:
                check()
            except Replaced:
                raise
            except Cancelled:
                raise Stop from None

        tokenizer = self.model.tokenizer
        ids = self._encode(request["prompt"]).ids
        edits = tuple(edit_from_json(edit) for edit in request["edits"])
        arms = [Arm("base"), Arm("steered", edits)]
        if request["control"]:
            arms += controls(arms[1], request["control"])
        streams = [Spelling(tokenizer, ids) for _ in arms]

        def tell(step: Sequence[int | None]) -> None:
            on_tokens(
                [
                    [] if token is None else [stream.add(token).text]
                    for stream, token in zip(streams, step, strict=True)
                ]
            )

        run = generate(
            self.model,
            self.saes,
            ids,
            arms,
            max_new_tokens=request["length"],
            temperature=request["temperature"],
            seed=request["seed"],
            check=keep_what_is_written,
            on_step=tell,
            prompts=self._prompts,
        )
        self._measurements.keep(request, run)
        return told_run(self.model, run)

    def _measured(
        self, request: Mapping[str, Any], check: Callable[[], None], written: bool
    ) -> Iterator[dict[str, Any]]:
        """What the edits of a request do to the newest texts of its settings, bit by bit."""
        return self._measurements.of(request, self.sae, check, written)

    def _swept(self, request: Mapping[str, Any], check: Callable[[], None]) -> dict[str, Any]:
        """What the edits of a request write and do at many strengths, a control beside them."""
        found = sweep(
            self.model,
            self.saes,
            self._encode(request["prompt"]).ids,
            [edit_from_json(edit) for edit in request["edits"]],
            max_new_tokens=request["length"],
            temperature=request["temperature"],
            seed=request["seed"],
            control=request["control"] or "random",
            check=check,
            prompts=self._prompts,
        )
        return told_sweep(self.model, found)

    def _estimated(
        self, request: Mapping[str, Any], before: Recording | None, check: Callable[[], None]
    ) -> str:
        """How much it is that a request asks to record, in words."""
        return self._recorder.estimated(*self._plan(request), before, check)

    def _recorded(
        self,
        request: Mapping[str, Any],
        before: Recording | None,
        check: Callable[[], None],
        tell: Callable[[float], None],
    ) -> Iterator[Recording]:
        """What a request asks to record, take by take."""
        planned, plan = self._plan(request)
        self._recorder.check(planned, plan, before)
        return self._recorder.takes(planned, plan, tell, check)

    def _plan(self, request: Mapping[str, Any]) -> tuple[Recording, Plan]:
        edits = [self._bound(edit_from_json(edit)) for edit in request["edits"]]
        plan = Plan(
            ids=self._encode(request["prompt"]).ids,
            edits=edits,
            strengths=[around(edit) for edit in edits],
            seeds=request["seeds"],
            length=request["length"],
            temperature=request["temperature"],
        )
        return self._recorder.planned(request["prompt"], plan), plan

    def _keep(self, name: str, edits: Sequence[Mapping[str, Any]] | None) -> None:
        """Keep edits as a preset, or forget it."""
        if edits is None:
            self.presets.pop(name, None)
        else:
            self.presets[name] = tuple(self._bound(edit_from_json(edit)) for edit in edits)

    def _show_presets(self) -> None:
        for widget in self._steerings:
            widget.presets = self._told_presets()

    def _told_presets(self) -> dict[str, list[dict[str, Any]]]:
        """The presets that this session has the SAEs for."""
        return {
            name: [edit.to_json() for edit in edits]
            for name, edits in self.presets.items()
            if all(edit.sae in (None, *self.saes) for edit in edits)
        }

    # Helpers

    def _share(self, widget: Heatmap | Steering) -> None:
        """Let the widget follow the session and the session follow the widget, until it closes."""
        links: list[traitlets.link | traitlets.directional_link] = [
            traitlets.link((self, "chosen"), (widget, "sae")),
            traitlets.link((self, "selected"), (widget, "selected")),
        ]
        if isinstance(widget, Steering):
            links.append(traitlets.link((self, "_edits"), (widget, "edits")))
            self._steerings.append(widget)
        else:
            links.append(traitlets.dlink((self, "_edits"), (widget, "painted"), _painted))

        def part() -> None:
            for link in links:
                link.unlink()
            if widget in self._steerings:
                self._steerings.remove(widget)

        widget.on_close(part)

    def _has(self, feature: int, sae: str) -> None:
        """Raise if this session has no such feature."""
        self._sae(sae).check_feature(feature)

    def _sae(self, name: str | None) -> SAE:
        if name is None:
            return self.sae
        if name not in self.saes:
            raise ValueError(
                f"this session has no SAE {name!r}; it has {', '.join(map(repr, self.saes))}"
            )
        return self.saes[name]

    def _encode(self, text: str | Chat) -> Encoded:
        """The tokens of a text, however many."""
        if isinstance(text, str):
            begin = begins(self.model)
            return encode(self.model.tokenizer, text, limit=2**31, begin=begin)
        return encode_chat(self.model.tokenizer, text, limit=2**31)

    def _split(self, text: str | Chat, prompt: str | Chat | None) -> tuple[list[int], int | None]:
        """The tokens of a text, and how many of them are the prompt that it begins with."""
        ids = list(self._encode(text).ids)
        if prompt is None:
            return ids, None
        given = list(self._encode(prompt).ids)
        if ids[: len(given)] != given:
            raise ValueError(
                f"the tokens of {text!r} do not begin with those of the prompt, {prompt!r}; give "
                "the text whole, with a prompt that ends where a token does"
            )
        return ids, len(given)

    @traitlets.observe("_edits", "chosen")
    def _list_again(self, _change: object) -> None:
        listed = self._catalogue.listed(self.chosen, self.edits) if self._steerings else []
        for widget in self._steerings:
            if listed != widget.features:
                widget.features = listed


def _painted(edits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return told_painted(map(edit_from_json, edits))


def _unit(sae: SAE, feature: int) -> Unit:
    """What the strength of a first push counts."""
    if sae.stats is None:
        return "raw"
    return "peak" if sae.stats.peak[feature] > 0 else "norm"


@contextmanager
def _refused() -> Iterator[None]:
    """A trait refuses a value by a TraitError, whatever found it wrong."""
    try:
        yield
    except (ValueError, TypeError, IndexError) as error:
        raise traitlets.TraitError(str(error)) from error


def _named(saes: Sequence[SAE]) -> dict[str, SAE]:
    named = {sae.name: sae for sae in saes}
    if len(named) != len(saes):
        raise ValueError(
            f"the SAEs of a session need names of their own; got {[sae.name for sae in saes]}"
        )
    return named
