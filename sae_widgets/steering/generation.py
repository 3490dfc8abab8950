"""Generation under edits: arms side by side, with the same random numbers.

The arms (unsteered, steered, controls) are the rows of one batch, and each step draws one vector
of Gumbel noise for all of them, so a difference between rows is the edit and nothing else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sae_widgets.model import (
    Model,
    Reading,
    attached,
    check_tokens,
    context_length,
    device_of,
    end_of_text,
    fingerprint,
    identity,
    inferring,
    lock,
    lowest_block,
    nameless,
    silent_hook,
)
from sae_widgets.sae import SAE
from sae_widgets.steering.arms import Arm
from sae_widgets.steering.conditions import Condition
from sae_widgets.steering.edits import AnyEdit, Span, edit_from_json
from sae_widgets.steering.hooks import Passes, compile_arms
from sae_widgets.steering.prompts import Prompts
from sae_widgets.steering.schedules import Values
from sae_widgets.steering.terms import SAEs, by_name
from sae_widgets.tokens import Spelling

Stopped = Literal["length", "end", "context", "stopped"]


@dataclass(frozen=True, repr=False)
class Run:
    """What generation under some arms produced, with everything needed to repeat it."""

    ids: tuple[int, ...]
    """The prompt."""
    arms: tuple[Arm, ...]
    tokens: tuple[tuple[int, ...], ...]
    """What each arm wrote; an end-of-text token that ended it is the last."""
    logprob: tuple[tuple[float, ...], ...]
    """Of each of these tokens in nats, under the arm's own distribution at temperature 1."""
    seed: int
    temperature: float
    max_new_tokens: int
    stopped: Stopped
    """Why it ended: as long as asked; every arm at its end, or where its condition was met; the
    context is full; stopped."""
    prefill: int
    """Times each hook ran on the prompt: 1, or 0 where no edit acts there and the arms share what
    the model made of it."""
    read_from: int
    """The first block that ran on the prompt for every arm; those below it read it once for all,
    in this run or before. 0: all of them ran for every arm; as many as there are: none did."""
    steps: int
    """Times each hook ran on generated tokens, one token at a time."""
    moved: tuple[tuple[float, ...], ...]
    """For each arm ‖change‖ / ‖activation‖ at every token that it read: the prompt, and then what
    it wrote but for the last. Of several hook points, the largest."""
    met: tuple[bool, ...]
    """For each arm whether it ended because its last token met the condition `until`."""
    prompt: str
    texts: tuple[str, ...]
    """What each arm wrote, as text."""
    model: Mapping[str, str]
    saes: tuple[Mapping[str, str], ...]
    seconds: float = field(compare=False)

    @property
    def ratio(self) -> tuple[float, ...]:
        """For each arm the mean ‖change‖ / ‖activation‖ over the positions that it changed."""
        changed = [[ratio for ratio in arm if ratio] for arm in self.moved]
        return tuple(sum(each) / max(1, len(each)) for each in changed)

    @property
    def positions(self) -> tuple[tuple[int, int], ...]:
        """For each arm at how many positions it changed an activation: of the prompt, after it."""
        prompt = len(self.ids)
        return tuple(
            (sum(map(bool, arm[:prompt])), sum(map(bool, arm[prompt:]))) for arm in self.moved
        )

    @property
    def fork(self) -> int | None:
        """The first generated position at which the first two arms differ."""
        if len(self.tokens) < 2 or self.tokens[0] == self.tokens[1]:
            return None
        one, two = self.tokens[:2]
        pairs = enumerate(zip(one, two, strict=False))
        return next((i for i, (a, b) in pairs if a != b), min(len(one), len(two)))

    @property
    def hook_calls(self) -> dict[str, int]:
        """How often each hook ran on the prompt and on generated tokens."""
        return {"prefill": self.prefill, "steps": self.steps}

    def text(self, arm: int | str) -> str:
        """What `arm`, given by place or by name, wrote."""
        if isinstance(arm, int):
            return self.texts[arm]
        names = [each.name for each in self.arms]
        if arm not in names:
            raise ValueError(f"this run has no arm {arm!r}; it has {', '.join(names)}")
        return self.texts[names.index(arm)]

    def nll(self, arm: int) -> float | None:
        """Mean negative log-likelihood of what `arm` wrote, nats a token; None if it wrote none."""
        found = self.logprob[arm]
        return -sum(found) / len(found) if found else None

    def to_json(self) -> dict[str, Any]:
        """The run as plain values; `Run.from_json` reads them back."""
        record = asdict(self)
        record["arms"] = [
            {**vars(arm), "edits": [edit.to_json() for edit in arm.edits]} for arm in self.arms
        ]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Run:
        """The run that `to_json` wrote, also after a way through JSON text."""
        arms = tuple(
            Arm(**{**arm, "edits": tuple(map(edit_from_json, arm["edits"]))})
            for arm in record["arms"]
        )
        nested = ("tokens", "logprob", "moved")
        rows = {name: tuple(map(tuple, record[name])) for name in nested}
        flat = {name: tuple(record[name]) for name in ("ids", "met", "texts", "saes")}
        return cls(**{**record, **rows, **flat, "arms": arms})

    def __repr__(self) -> str:
        """The texts, for people. The seconds are left out: they differ from time to time."""
        manner = f"temperature {self.temperature:g}" if self.temperature else "greedy"
        wide = max(len(arm.name) for arm in self.arms)
        lines = [
            f"  {arm.name:{wide}}  {text!r}"
            for arm, text in zip(self.arms, self.texts, strict=True)
        ]
        head = f"Run({self.prompt!r}, {self.max_new_tokens} tokens, {manner}, seed {self.seed})"
        return "\n".join([head, *lines])


class Stop(Exception):
    """Raised by `check` to end a run and keep what it has written so far."""


def generate(
    model: Model,
    sae: SAEs,
    ids: Sequence[int],
    arms: Sequence[Arm],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    until: Condition | None = None,
    check: Callable[[], None] = lambda: None,
    on_step: Callable[[list[int | None]], None] = lambda _: None,
    cache: bool = True,
    prompts: Prompts | None = None,
) -> Run:
    """Let the model continue `ids` under each of `arms` at once.

    temperature 0 is greedy. An arm ends with the first token it writes on which `until` holds, as
    the model reads it, before anything is edited there. `check` is called before every step: `Stop`
    from it ends the run, any other exception passes through. `on_step` is told each arm's new
    token, None for one that has ended. The model is locked for one forward pass at a time and left
    without hooks between them. The blocks below the lowest edit (all, if nothing in the prompt is
    edited) read the prompt once for all arms, and not at all if it is among `prompts`. Where a
    model does not allow that (see `sae_widgets.model.read_below`), and without a `cache`, all
    blocks read it for every arm: `Run.read_from` tells.
    """
    started = time.perf_counter()
    ids = list(ids)
    _check(model, ids, arms, max_new_tokens, temperature)
    _check_until(until)
    changes = compile_arms(model, sae, arms, until=until)
    ends = end_of_text(model)
    choose = _Chooser(temperature, seed)
    room = context_length(model) - len(ids)
    tokens: list[list[int]] = [[] for _ in arms]
    logprob: list[list[float]] = [[] for _ in arms]
    open_rows = set(range(len(arms)))
    met: set[int] = set()
    stopped: Stopped = "length" if max_new_tokens <= room else "context"
    passes = Passes(model)
    passes.open = torch.ones(len(arms), dtype=torch.bool, device=device_of(model))
    barred = nameless(model).to(device_of(model))
    functions = {hook: change.during(passes, measure=True) for hook, change in changes.items()}
    untouched = cache and all(change.spares(len(ids)) for change in changes.values())
    prompts = prompts or Prompts()
    prefill = read_from = 0
    with inferring(model):
        reading = Reading(model, cache=cache)
        text = new = torch.tensor([ids] * len(arms), device=device_of(model))
        for step in range(min(max_new_tokens, room)):
            try:
                check()
            except Stop:
                stopped = "stopped"
                break
            begun = prompts.begin(model, ids, len(arms)) if untouched and step == 0 else None
            if begun is not None:
                logits, reading = begun
                read_from = model.cfg.n_layers
                for change in changes.values():
                    change.skip(len(ids))
            else:
                prefill += step == 0
                text = new if step == 0 or not reading.rereads else torch.cat([text, new], dim=1)
                past = len(ids) + step - text.shape[1] if step else 0
                passes.begin(text, past=past, prompt=len(ids), fresh=new.shape[1])
                below = None
                if cache and step == 0:
                    # Below the first block that some arm edits or senses, all arms are alike.
                    below = prompts.below(model, ids, lowest_block(model, changes))
                read_from = read_from if below is None else below.layer
                with lock(model), attached(model, functions):
                    logits = reading.advance(new, below=below).float()
                for hook, change in changes.items():
                    if change.calls != passes.count:
                        raise RuntimeError(silent_hook(hook))
            if until is not None and step:
                now = {row for row in open_rows if passes.holds(until)[row, -1]}
                met |= now
                open_rows -= now
                passes.open[sorted(now)] = False
                if not open_rows:
                    stopped = "end"
                    break
            logits[:, barred] = -torch.inf
            chosen, found = choose(logits)
            new = chosen[:, None]
            row_tokens, row_logprob = chosen.tolist(), found.tolist()
            lost = {row for row, nats in enumerate(row_logprob) if math.isnan(nats)}
            lost = lost.union(*(change.overflowed for change in changes.values())) & open_rows
            if lost:
                raise overflow(arms[min(lost)], len(ids) + step)
            told: list[int | None] = [None] * len(arms)
            for row in sorted(open_rows):
                told[row] = row_tokens[row]
                tokens[row].append(row_tokens[row])
                logprob[row].append(row_logprob[row])
                if row_tokens[row] in ends:
                    open_rows.discard(row)
                    passes.open[row] = False
            on_step(told)
            if not open_rows:
                stopped = "end"
                break
    return Run(
        ids=tuple(ids),
        arms=tuple(arms),
        tokens=tuple(map(tuple, tokens)),
        logprob=tuple(map(tuple, logprob)),
        seed=seed,
        temperature=float(temperature),
        max_new_tokens=max_new_tokens,
        stopped=stopped,
        prefill=prefill,
        read_from=read_from,
        steps=passes.count - prefill,
        moved=_moved([change.moved for change in changes.values()], len(ids), tokens),
        met=tuple(row in met for row in range(len(arms))),
        prompt=_text(model, ids),
        texts=tuple(_text(model, written, ids) for written in tokens),
        model=identity(model),
        saes=tuple(identity_of_sae(each) for each in by_name(sae).values()),
        seconds=time.perf_counter() - started,
    )


class _Chooser:
    """Picks each row's next token: the likeliest, or a sample by the Gumbel trick.

    Adding Gumbel noise to the logits and taking the largest samples from their softmax. The noise
    is one vector a step for all rows, so a further arm never changes what the others write.
    """

    def __init__(self, temperature: float, seed: int) -> None:
        self._temperature = temperature
        self._random = torch.Generator().manual_seed(seed)

    def __call__(
        self, logits: Float[Tensor, "row d_vocab"]
    ) -> tuple[Tensor, Float[Tensor, " row"]]:
        score = logits
        if self._temperature > 0:
            noise = torch.empty(logits.shape[-1], dtype=torch.float32)
            exponential = noise.exponential_(generator=self._random)
            score = logits / self._temperature - exponential.log().to(logits.device)
        chosen = score.argmax(-1)
        logprob = logits.gather(-1, chosen[:, None])[:, 0] - logits.logsumexp(-1)
        return chosen, logprob


def _check(
    model: Model, ids: list[int], arms: Sequence[Arm], max_new_tokens: int, temperature: float
) -> None:
    if not ids:
        raise ValueError(
            "the prompt is empty and this model's tokenizer has no beginning-of-text token to "
            "start from; type at least one character"
        )
    if not arms:
        raise ValueError("a run needs at least one arm; Arm('base') is the model as it is")
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        raise ValueError(f"the arms of a run need names of their own; got {names}")
    if max_new_tokens < 1:
        raise ValueError(f"a run writes at least one token; got max_new_tokens={max_new_tokens}")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"a temperature is 0 (greedy) or more, and finite; got {temperature}")
    check_tokens(model, ids)
    limit = context_length(model)
    if len(ids) >= limit:
        raise ValueError(
            f"the prompt has {len(ids)} tokens and this model reads at most {limit} at once, so "
            f"there is no room to write; {limit - 1} tokens of prompt fit, {len(ids) - limit + 1} "
            "too many were given"
        )
    new = min(max_new_tokens, limit - len(ids))
    for edit in (edit for arm in arms for edit in arm.edits if edit.on):
        _check_place(edit, len(ids), new)


def _check_place(edit: AnyEdit, prompt: int, new: int) -> None:
    """Raise if an edit is about tokens that a run of `prompt` and `new` tokens never comes to."""
    if isinstance(edit.where, Span) and edit.where.start >= (read := prompt + new - 1):
        raise ValueError(
            f"{edit!r} begins at token {edit.where.start}, but the run reads only {read}: "
            f"{prompt} of prompt and {new - 1} of what it writes"
        )
    if not isinstance(edit.schedule, Values):
        return
    painted, most = len(edit.schedule.values), prompt + new
    if isinstance(edit.where, Span):
        most = min(most, edit.where.stop or most) - edit.where.start
    elif edit.where != "all":
        most = {"prompt": prompt, "generated": new, "last": new + 1}[edit.where]
    if painted > most:
        raise ValueError(
            f"{edit!r} has values for {painted} tokens, but comes to at most {most}: the run has "
            f"{prompt} of prompt and {new} to write"
        )


def overflow(arm: Arm, position: int) -> FloatingPointError:
    """What to raise where there are no numbers to go on with: for the token at `position`."""
    cause = "the model's own output is no number there"
    if any(edit.on for edit in arm.edits):
        cause = (
            "its edits drive the activations beyond what the model can compute with; use a smaller "
            "strength"
        )
    return FloatingPointError(
        f"arm {arm.name!r} has no next token at position {position} of the text, counted from 0: "
        f"{cause}"
    )


def check_run(model: Model, sae: SAEs, run: Run) -> None:
    """Raise if a run was not made by this model and these SAEs."""
    now = [identity(model), *map(identity_of_sae, by_name(sae).values())]
    known = {one["weights"] for one in now}
    for one in (run.model, *run.saes):
        if one["weights"] not in known:
            raise ValueError(
                f"this run was made with {one['name']!r} of other weights ({one['weights']}), so "
                "nothing can be said of it here; load what it was made with"
            )


def identity_of_sae(sae: SAE) -> dict[str, str]:
    """Which SAE this is; `weights` is a fingerprint of them, thresholds included."""
    return {
        "name": sae.name,
        "hook": sae.hook,
        "width": str(sae.d_sae),
        "activation": repr(sae.activation),
        "weights": fingerprint(sae.state_dict()),
    }


def _check_until(until: Any) -> None:
    if until is not None and not isinstance(until, Condition):
        raise TypeError(f"until is a condition, such as Fires(7); got {until!r}")
    if until is not None and any(sense.over == "prompt" for sense in until.senses()):
        raise ValueError(
            f"a run can be ended by what it writes, but {until!r} asks about the prompt; leave "
            "over='prompt' out"
        )


def _moved(
    hooks: list[Float[Tensor, "arm position"]], prompt: int, tokens: Sequence[Sequence[int]]
) -> tuple[tuple[float, ...], ...]:
    """At each token that an arm read, the largest over the hook points."""
    read = [prompt + max(0, len(written) - 1) for written in tokens]
    if not hooks:
        return tuple((0.0,) * length for length in read)
    largest = torch.stack(hooks).amax(0).tolist()
    return tuple(tuple(row[:length]) for row, length in zip(largest, read, strict=True))


def _text(model: Model, ids: Sequence[int], before: Sequence[int] = ()) -> str:
    """`ids` as text, where they stand: after `before`."""
    if model.tokenizer is None:
        return ""
    spelling = Spelling(model.tokenizer, before)
    return "".join(spelling.add(token).text for token in ids) + spelling.rest()
