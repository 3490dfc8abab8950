"""What edits do to a model, measured on a given text: nothing is generated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_widgets.features import check_length
from sae_widgets.model import (
    Model,
    activations,
    attached,
    check_inference,
    check_tokens,
    device_of,
    inferring,
    lock,
    logits,
    lowest_block,
    nameless,
    resting,
    silent_hook,
)
from sae_widgets.sae import SAE
from sae_widgets.steering.arms import Arm
from sae_widgets.steering.edits import (
    Add,
    AnyEdit,
    Ceiling,
    Floor,
    Replace,
    Rotate,
    Scale,
    Set,
    Target,
)
from sae_widgets.steering.generation import Run, check_run, overflow
from sae_widgets.steering.hooks import Passes, compile_arms
from sae_widgets.steering.prompts import Prompts
from sae_widgets.steering.terms import SAEs, by_name
from sae_widgets.tokens import special_mask

BASE = Arm("base")
TILE = 64
"""Tokens whose values of all features are held at once."""

ROUNDS = 12
"""Halvings of an interval: a strength is found to a four-thousandth of it."""


@dataclass(frozen=True)
class Effects:
    """How edits change what is predicted after each token of a text."""

    ids: Int[Tensor, " position"]
    kl: Float[Tensor, " position"]
    """KL(base ‖ steered) of the next token's distribution, in nats."""
    gained: Int[Tensor, "position n"]
    """The tokens that become more probable, most first."""
    gained_by: Float[Tensor, "position n"]
    """By how much their probability rises."""
    lost: Int[Tensor, "position n"]
    """The tokens that become less probable, most first."""
    lost_by: Float[Tensor, "position n"]
    """By how much their probability changes; negative."""
    top: Int[Tensor, "position n"]
    """The likeliest tokens under the edits, most first."""
    top_p: Float[Tensor, "position n"]
    """How probable they are."""
    top_by: Float[Tensor, "position n"]
    """By how much the edits changed that."""

    @property
    def mean(self) -> float:
        """Mean KL over the text: the strength of the edits in nats a token."""
        return float(self.kl.mean())

    def __repr__(self) -> str:
        return f"Effects({len(self.ids)} tokens, mean KL {self.mean:.3g} nats)"


def effects(
    model: Model,
    sae: SAEs,
    ids: Sequence[int],
    edits: Sequence[AnyEdit],
    *,
    prompt: int | None = None,
    n: int = 5,
    prompts: Prompts | None = None,
) -> Effects:
    """Read `ids` once with and once without `edits` (rows of one batch) and compare.

    The first `prompt` of `ids` (None: all) are the prompt, what follows counts as generated.
    prompts: see `read`.
    """
    _check_acts(edits, ids, prompt)
    arms = [BASE, Arm("steered", tuple(edits))]
    base, steered = predictions(model, sae, ids, arms, prompt=prompt, prompts=prompts)
    kl = divergence(base, steered)
    if not kl.isfinite().all():
        raise overflow(arms[1], int((~kl.isfinite()).nonzero()[0]) + 1)
    change = steered.exp() - base.exp()
    none = nameless(model)
    n = min(n, int((~none).sum()))
    up = change.masked_fill(none, -torch.inf).topk(n, dim=-1)
    down = (-change).masked_fill(none, -torch.inf).topk(n, dim=-1)
    top = steered.topk(n, dim=-1)
    return Effects(
        ids=torch.tensor(list(ids)),
        kl=kl,
        gained=up.indices,
        gained_by=up.values,
        lost=down.indices,
        lost_by=-down.values,
        top=top.indices,
        top_p=top.values.exp(),
        top_by=change.gather(-1, top.indices),
    )


def _check_acts(edits: Sequence[AnyEdit], ids: Sequence[int], prompt: int | None) -> None:
    """Raise if an edit can do nothing to a text because all of it is the prompt."""
    if prompt is not None and prompt < len(ids):
        return
    for edit in edits:
        if edit.on and edit.where == "generated":
            raise ValueError(
                f"{edit!r} acts on generated tokens, and all {len(ids)} tokens of this text are "
                "its prompt: say with prompt= with how much of it the text begins"
            )


def predictions(
    model: Model,
    sae: SAEs,
    ids: Sequence[int],
    arms: Sequence[Arm],
    *,
    prompt: int | None = None,
    prompts: Prompts | None = None,
) -> Float[Tensor, "arm position d_vocab"]:
    """Log-probabilities of the next token after each of `ids`, under each arm.

    The first `prompt` of `ids` (None: all) are the prompt, what follows counts as generated.
    prompts: see `read`.
    """
    return read(model, sae, ids, arms, prompt=prompt, prompts=prompts).logprob


@dataclass(frozen=True)
class Read:
    """What a text looks like under some arms."""

    logprob: Float[Tensor, "arm position d_vocab"]
    """Of the next token; -inf where an id is no token."""
    before: Mapping[str, Float[Tensor, "arm position d"]]
    """The activations at some hook points, ahead of the edits that act there."""
    after: Mapping[str, Float[Tensor, "arm position d"]]
    """The same, edited."""


def read(
    model: Model,
    sae: SAEs,
    ids: Sequence[int],
    arms: Sequence[Arm],
    *,
    prompt: int | None = None,
    hooks: Iterable[str] = (),
    prompts: Prompts | None = None,
) -> Read:
    """Read `ids` under every arm in one pass; keep the activations at `hooks`.

    prompts: where to look up what the blocks below all edits and `hooks` make of `ids`, or to keep
    it for the next time; None: they run for every arm.
    """
    check_inference(model)
    ids = _readable(model, ids)
    changes = compile_arms(model, sae, arms)
    passes = Passes(model)
    batch = torch.tensor([ids] * len(arms), device=device_of(model))
    passes.begin(batch, past=0, prompt=len(ids) if prompt is None else prompt)
    functions = {hook: change.during(passes) for hook, change in changes.items()}
    before: dict[str, Tensor] = {}
    after: dict[str, Tensor] = {}

    def kept(hook: str) -> Callable[[Tensor], Tensor | None]:
        change = functions.get(hook)

        def keep(activation: Tensor) -> Tensor | None:
            edited = None if change is None else change(activation)
            before[hook] = activation.flatten(2).float().cpu()
            after[hook] = (activation if edited is None else edited).flatten(2).float().cpu()
            return edited

        return keep

    watching = {**functions, **{hook: kept(hook) for hook in hooks}}
    with inferring(model), lock(model):
        below = None
        if prompts is not None:
            below = prompts.below(model, ids, lowest_block(model, watching))
        with attached(model, watching), resting(model, below, len(arms)):
            found: Tensor = model(batch).float().cpu()
    found = found.masked_fill(nameless(model), -torch.inf)
    for hook in watching:
        if not (hook in after or (hook in changes and changes[hook].calls)):
            raise RuntimeError(silent_hook(hook))
    return Read(found.log_softmax(-1).clone(), before, after)


def _readable(model: Model, ids: Sequence[int]) -> list[int]:
    """The ids of a text; raises if the model cannot read it."""
    if not ids:
        raise ValueError("an empty text has no effects to measure; give at least one token")
    check_tokens(model, ids)
    check_length(model, len(ids))
    return list(ids)


def divergence(
    base: Float[Tensor, "*batch d_vocab"], steered: Float[Tensor, "*batch d_vocab"]
) -> Float[Tensor, "*batch"]:
    """KL(base ‖ steered) of log-probabilities, in nats. Rounding takes none below zero."""
    apart = (base - steered).masked_fill(base.isneginf(), 0.0)  # what is no token adds nothing
    return (base.exp() * apart).sum(-1).clamp(min=0)


Strong = Add | Set | Target | Floor | Ceiling | Replace | Rotate | Scale
"""Edits that have a strength."""


def scaled(edit: AnyEdit, factor: float) -> Strong:
    """The edit with `factor` times its strength; a `Scale` goes that share of its way from 1."""
    if not isinstance(edit, Strong):
        raise ValueError(f"{edit!r} has no strength to scale")
    return replace(edit, strength=edit.strength - (1 - factor) * distance(edit))


def together(edits: Sequence[AnyEdit], factor: float) -> tuple[AnyEdit, ...]:
    """The edits with `factor` times their strengths; those that have none stay as they are."""
    if not any(isinstance(edit, Strong) for edit in edits):
        raise ValueError(f"none of {list(edits)} has a strength to scale")
    return tuple(scaled(edit, factor) if isinstance(edit, Strong) else edit for edit in edits)


def distance(edit: AnyEdit) -> float:
    """How far the edit's strength is from none at all: from 1 for a `Scale`, else from 0."""
    if not isinstance(edit, Strong):
        raise ValueError(f"{edit!r} has no strength to scale")
    return edit.strength - (1 if isinstance(edit, Scale) else 0)


class OverBudget(ValueError):
    """No factor keeps edits within a budget."""


def check_budget(kl: float, most: float) -> None:
    """Raise if these are no budget in nats a token and no largest factor."""
    if not (math.isfinite(kl) and kl > 0):
        raise ValueError(f"a budget is a number of nats above 0; got {kl}")
    if not (math.isfinite(most) and most > 0):
        raise ValueError(f"the largest factor to try is above 0; got {most}")


def within_budget(
    model: Model,
    sae: SAEs,
    ids: Sequence[int],
    edits: Sequence[AnyEdit],
    *,
    kl: float,
    most: float = 4.0,
    prompt: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> float:
    """The largest factor, up to `most`, at which the mean KL of scaled `edits` stays within `kl`.

    Found by bisection on `ids`, of which the first `prompt` (None: all) are the prompt, as if the
    KL rose with the factor; strengths in nats a token can be
    compared between features, layers and operators (Paulo et al. 2024, on interventions).
    """
    check_budget(kl, most)
    prompts = Prompts()

    def fits(factor: float) -> bool:
        check()
        both = [BASE, Arm("scaled", together(edits, factor))]
        base, steered = predictions(model, sae, ids, both, prompt=prompt, prompts=prompts)
        return float(divergence(base, steered).mean()) <= kl

    if fits(most):
        return most
    if not fits(0.0):
        raise OverBudget(
            f"even at factor 0 these edits cost more than {kl} nats a token: a Set, Target, Floor, "
            "Ceiling or Replace of 0 still acts, and so does what has no strength. Measure them "
            "with `effects`, or give a larger budget"
        )
    low, high = 0.0, most
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def likelihoods(model: Model, sae: SAEs, run: Run) -> Float[Tensor, "text arm"]:
    """Log-probability of what each arm of a run wrote under every arm: nats a token.

    On the diagonal stands how likely an arm finds its own text; beside it, how likely the others
    do. NaN where an arm wrote nothing.
    """
    check_run(model, sae, run)
    found = torch.full((len(run.arms), len(run.arms)), torch.nan)
    for row, written in enumerate(run.tokens):
        if written:
            under = predictions(model, sae, [*run.ids, *written], run.arms, prompt=len(run.ids))
            found[row] = _of_written(under, run.ids, written).mean(-1)
    return found


def _of_written(
    logprob: Float[Tensor, "arm position d_vocab"], ids: Sequence[int], written: Sequence[int]
) -> Float[Tensor, "arm token"]:
    """The log-probabilities of the tokens after the prompt."""
    return logprob[:, len(ids) - 1 : -1].gather(-1, _rows(written, len(logprob)))[..., 0]


def _rows(written: Sequence[int], arms: int) -> Int[Tensor, "arm token 1"]:
    return torch.tensor(list(written)).repeat(arms, 1)[..., None]


@dataclass(frozen=True)
class SideEffects:
    """How edits change the features that nobody edited, in the mean over a text's tokens."""

    sae: str
    feature: Int[Tensor, " n"]
    """The most changed first."""
    before: Float[Tensor, " n"]
    after: Float[Tensor, " n"]

    def __repr__(self) -> str:
        rows = zip(self.feature.tolist(), self.before.tolist(), self.after.tolist(), strict=True)
        told = ", ".join(f"{feature} {old:.3g} → {new:.3g}" for feature, old, new in rows)
        return f"SideEffects({told or 'none'})"


def side_effects(
    model: Model,
    sae: SAEs,
    ids: Sequence[int],
    edits: Sequence[AnyEdit],
    *,
    reader: SAE | None = None,
    prompt: int | None = None,
    n: int = 10,
) -> SideEffects:
    """Which other features rise or fall most while `ids` is read under `edits`.

    `reader` is the SAE that looks, at its own hook (None: the first of `sae`); one at a later hook
    shows what the model makes of the edits. The first `prompt` of `ids` (None: all) are the prompt,
    what follows counts as generated. Special tokens do not count.
    """
    _check_acts(edits, ids, prompt)
    saes = by_name(sae)
    looking = reader or next(iter(saes.values()), None)
    if looking is None:
        raise ValueError("side effects are read with an SAE; pass reader=")
    arms = [BASE, Arm("steered", tuple(edits))]
    found = read(model, saes, ids, arms, prompt=prompt, hooks=[looking.hook])
    seen = found.after[looking.hook]
    ordinary = ~torch.tensor(special_mask(model.tokenizer, ids))
    kept = seen[:, ordinary].to(looking.W_enc)
    values = torch.zeros(2, looking.d_sae)
    with torch.no_grad():
        # In tiles: all values of a long text would fill the memory.
        for tile in torch.split(kept, TILE, dim=1):
            values += looking.encode(tile).float().sum(1).cpu()
    values /= max(1, kept.shape[1])
    change = (values[1] - values[0]).abs()
    first = next(iter(saes), None)
    for edit in edits:
        if edit.on and edit.feature is not None and (edit.sae or first) == looking.name:
            change[edit.feature] = 0
    most = change.topk(min(n, int((change > 0).sum()))).indices
    return SideEffects(looking.name, most, values[0, most], values[1, most])


AT_ONCE = 16
"""How many features are tried in one batch: each takes the logits of a whole text."""

PROMOTED = 20
"""How many tokens a direction is taken to stand for (Arad et al. 2025)."""

NEUTRAL = "From my experience,"
"""What Arad et al. 2025 let a model continue to see what a feature does to it."""

STRONGEST = 100
"""In how many texts they look at what a feature fires on."""


def output_score(
    model: Model, sae: SAE, features: Sequence[int], ids: Sequence[int]
) -> Float[Tensor, " feature"]:
    """How much a feature does what its direction says, from 0 to 1 (Arad et al. 2025).

    At the last of `ids` (the authors use `NEUTRAL`) the feature is raised by ten times the largest
    value there. Of the twenty tokens that its direction promotes, the score is (1 - least rank /
    vocabulary) times the largest probability. Features with a high one steer well.
    """
    last = read(model, sae, ids, [BASE], hooks=[sae.hook]).after[sae.hook][0, -1:]
    with torch.no_grad():
        push = 10 * float(sae.encode(last.to(sae.W_enc)).max())
    promoted = _promoted(model, sae, features)
    found = []
    for start in range(0, len(features), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        arms = [Arm(str(f), (Add(f, push, unit="raw", where="last"),)) for f in features[some]]
        logprob = predictions(model, sae, ids, arms)[:, -1]
        best = logprob.gather(-1, promoted[some]).amax(-1)
        rank = (logprob > best[:, None]).sum(-1)
        found.append((1 - rank / int((~nameless(model)).sum())) * best.exp())
    return torch.cat(found) if found else torch.zeros(0)


def input_score(
    model: Model, sae: SAE, features: Sequence[int], texts: Sequence[Sequence[int]]
) -> Float[Tensor, " feature"]:
    """How much a feature fires on what its direction says, from 0 to 1 (Arad et al. 2025).

    Of the texts in which it fires (the hundred where it does most), the share in which the token it
    fires on most is one of the twenty that its direction promotes; NaN if it fires in none. Special
    tokens do not count. It says little of steering: features with a high one tell what is there.
    """
    for feature in features:
        sae.check_feature(feature)
    encode = sae.encoder(features)
    value = torch.zeros(len(texts), len(features))
    token = torch.zeros(len(texts), len(features), dtype=torch.long)
    for row, text in enumerate(texts):
        ids = torch.tensor(_readable(model, text))
        ordinary = ~torch.tensor(special_mask(model.tokenizer, text))
        x = activations(model, ids[None].to(device_of(model)), sae.hook)[0]
        with inferring():
            values = encode(sae.flatten(x)).float().cpu() * ordinary[:, None]
        value[row], place = values.max(0)
        token[row] = ids[place]
    order = value.argsort(0, descending=True)[:STRONGEST]
    fires = value.gather(0, order) > 0
    alike = (token[..., None] == _promoted(model, sae, features)).any(-1).gather(0, order)
    return (alike & fires).sum(0) / fires.sum(0)


def _promoted(model: Model, sae: SAE, features: Sequence[int]) -> Int[Tensor, "feature n"]:
    """The tokens that the direction of each feature promotes most."""
    found = []
    for some in torch.split(sae.W_dec[list(features)].detach(), AT_ONCE):
        moved = logits(model, some, sae.hook_out).cpu().masked_fill(nameless(model), -torch.inf)
        found.append(moved.topk(PROMOTED).indices)
    return torch.cat(found)
