"""From an edit to numbers: which act it is, at which hook point, and whether edits contradict."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from sae_widgets.formats import AnySAE, as_sae
from sae_widgets.sae import SAE, JumpReLU
from sae_widgets.steering.acts import Act, Aim, Move, Push, Turn, diverted
from sae_widgets.steering.arms import Arm
from sae_widgets.steering.conditions import Condition, Fires, Near, Sense
from sae_widgets.steering.edits import (
    Ablate,
    Add,
    AnyEdit,
    Ceiling,
    Floor,
    Measured,
    ProjectOut,
    Replace,
    Rotate,
    Scale,
    Set,
    Span,
    Target,
    Where,
)
from sae_widgets.steering.schedules import Schedule

SAEs = AnySAE | Mapping[str, AnySAE] | None
"""One SAE, or several by name (an edit that names none means the first), or none for vectors."""

DECIDING = (Set, Target, Floor, Ceiling, Scale, Ablate, ProjectOut)
"""Edits that say what a feature's value becomes."""


def by_name(sae: SAEs) -> dict[str, SAE]:
    """SAEs by name, the first being the one that is meant where none is named."""
    if sae is None:
        return {}
    if isinstance(sae, Mapping):
        return {name: as_sae(each) for name, each in sae.items()}
    one = as_sae(sae)
    return {one.name: one}


@dataclass(frozen=True)
class Term:
    """One edit in numbers: what it does, at which hook point and positions, and how much of it."""

    hook: str
    where: Where
    schedule: Schedule | None
    when: Condition | None
    act: Act

    @property
    def width(self) -> int:
        return len(self.act.direction)


def terms(arm: Arm, saes: Mapping[str, SAE]) -> list[Term]:
    """What an arm's edits come down to; those that are off are left out."""
    check_conflicts(arm.edits, saes)
    found = []
    for edit in arm.edits:
        if edit.on:
            term = _term(edit, saes)
            if arm.control is not None:
                other = _instead(arm, term, edit, saes)
                term = replace(term, act=diverted(term.act, other))
            found.append(term)
    return found


def _term(edit: AnyEdit, saes: Mapping[str, SAE]) -> Term:
    if edit.feature is None:
        hook = _hook_of(edit, saes)
        act = _vector_act(edit, hook, saes)
    else:
        sae = _sae_of(edit, saes)
        sae.check_feature(edit.feature)
        hook, act = sae.hook_out, _feature_act(edit, sae, edit.feature)
    if not act.direction.isfinite().all():
        raise ValueError(f"{edit!r} pushes farther than numbers go; use a smaller strength")
    return Term(hook, edit.where, edit.schedule, edit.when, act)


def _instead(arm: Arm, term: Term, edit: AnyEdit, saes: Mapping[str, SAE]) -> Tensor:
    """The direction that a control moves along, as long as the edit's own."""
    direction = term.act.direction.float()
    if arm.control == "flipped":
        return -direction
    if arm.control == "random":
        # One direction for each feature or vector, whatever other edits there are.
        key = repr((arm.seed, _scope(edit, saes), edit.target)).encode()
        seed = int.from_bytes(hashlib.sha256(key).digest()[:7], "big")
        random = torch.Generator().manual_seed(seed)
        other = torch.randn(len(direction), generator=random, dtype=torch.float32).to(direction)
    else:
        other = _most_alike(arm, term, edit, saes).to(direction)
    found: Tensor = F.normalize(other, dim=0) * direction.norm()
    return found


def _most_alike(arm: Arm, term: Term, edit: AnyEdit, saes: Mapping[str, SAE]) -> Tensor:
    """Of the SAE to compare with, the direction nearest to the edit's, but not that itself."""
    hook = term.hook
    here = [sae for sae in saes.values() if sae.hook_out == hook]
    own = None if edit.feature is None else _sae_of(edit, saes)
    true = (
        torch.tensor(edit.vector, dtype=torch.float32)
        if own is None
        else own.W_dec[edit.feature].detach().float()
    )
    if arm.control == "neighbour":
        among = own or next(iter(here), None)
    else:
        among = next((sae for sae in here if sae.placebo is not None and sae is not own), None)
    if among is None:
        raise ValueError(
            f"arm {arm.name!r} is a control of the kind {arm.control!r}, but there is no "
            f"{'placebo ' if arm.control == 'placebo' else ''}SAE at {hook!r} to take one from"
        )
    directions = among.W_dec.detach().float()
    alike = F.cosine_similarity(directions, true.to(directions), dim=-1)
    if among is own and edit.feature is not None:
        alike[edit.feature] = -torch.inf
    # An edit with a negative strength pushes away from its direction, and so does its control.
    away = float(term.act.direction.float().cpu() @ true.cpu()) < 0
    return directions[int(alike.argmax())] * (-1 if away else 1)


@dataclass(frozen=True)
class Gauge:
    """How to read, off the activations at a hook point, the value that an edit is about."""

    hook: str
    read: Callable[[Tensor], Tensor]
    peak: float | None
    """The feature's peak; None where it is not known, or 0."""


def gauge(edit: AnyEdit, saes: Mapping[str, SAE]) -> Gauge:
    """For the value of an edit's feature, or for the length along its vector."""
    if edit.feature is None:
        unit = F.normalize(torch.tensor(edit.vector, dtype=torch.float32), dim=0)
        return Gauge(_hook_of(edit, saes), lambda x: x @ unit.to(x), None)
    sae = _sae_of(edit, saes)
    sae.check_feature(edit.feature)
    encode = sae.encoder([edit.feature])
    peak = 0.0 if sae.stats is None else float(sae.stats.peak[edit.feature])
    return Gauge(sae.hook, lambda x: encode(x.to(sae.W_enc))[..., 0].float(), peak or None)


def proof(edit: AnyEdit, saes: Mapping[str, SAE]) -> Gauge:
    """As `gauge`, but read where the edit acts: of a transcoder's feature, how far along it."""
    sae = None if edit.feature is None else _sae_of(edit, saes)
    if sae is None or not sae.is_transcoder:
        return gauge(edit, saes)
    direction = F.normalize(sae.W_dec[edit.feature].detach(), dim=0)
    return Gauge(sae.hook_out, lambda x: x @ direction.to(x), None)


@dataclass(frozen=True)
class Sensor:
    """How to read, off the activations of `width` entries at a hook point, what a condition asks.

    `read` gives what is to be above the condition's bound.
    """

    hook: str
    width: int
    read: Callable[[Tensor], Tensor]


def sensor(sense: Sense, saes: Mapping[str, SAE]) -> Sensor:
    """Where and how a condition is read."""
    if isinstance(sense, Fires):
        sae = _sae_named(sense.sae, saes, sense)
        sae.check_feature(sense.feature)
        encode = sae.encoder([sense.feature])
        return Sensor(sae.hook, sae.d_in, lambda x: encode(x)[..., 0])
    assert isinstance(sense, Near)
    if sense.hook is None and not saes:
        raise ValueError(f"{sense!r} does not say where to look; pass hook=, or an SAE")
    hook = sense.hook or next(iter(saes.values())).hook
    return Sensor(hook, len(sense.vector), sense.cosine)


def _feature_act(edit: AnyEdit, sae: SAE, feature: int) -> Act:
    direction = sae.W_dec[feature].detach()
    if isinstance(edit, Rotate):
        return Turn(F.normalize(direction, dim=0), math.radians(edit.strength))
    if isinstance(edit, ProjectOut):
        return Move(F.normalize(direction, dim=0))
    _check_readable(edit, sae)
    value = _in_values(edit, sae, feature) if isinstance(edit, Measured) else 0.0
    if isinstance(edit, Add | Replace):
        own = sae if sae.rescales and edit.unit != "norm" else None
        return Push(direction * value, instead=isinstance(edit, Replace), sae=own)
    if isinstance(edit, Target):
        _check_reachable(edit, value, sae, feature)
        return Aim(direction, value, sae, feature)
    return replace(_move(edit, direction, value), sae=sae, feature=feature)


def _check_readable(edit: AnyEdit, sae: SAE) -> None:
    """Raise if the edit needs a feature's value where, or as, it cannot be known."""
    if isinstance(edit, Add | Replace):
        return
    if sae.is_transcoder:
        raise ValueError(
            f"{edit!r} moves the value of a feature of {sae.name!r}, a transcoder, which reads it "
            f"at {sae.hook!r} and writes it at {sae.hook_out!r}: where it can be moved it is not "
            "known. Add, Replace, Rotate and ProjectOut work; they act where it is written"
        )
    in_norm = isinstance(edit, Measured) and edit.unit == "norm" and sae.rescales
    if in_norm or (isinstance(edit, Target) and sae.normalization is not None):
        raise ValueError(
            f"{edit!r} cannot be worked out: SAE {sae.name!r} normalises every activation, so a "
            "value of its features is another length, and what is written changes others, at each "
            "token. Set in unit='peak' or 'raw' works"
        )


def _check_reachable(edit: AnyEdit, value: float, sae: SAE, feature: int) -> None:
    if isinstance(sae.activation, JumpReLU):
        least = float(sae.activation.threshold[feature])
        if 0 < value <= least:
            raise ValueError(
                f"{edit!r} asks for a value of {value:.3g}, but feature {feature} of SAE "
                f"{sae.name!r} fires only above {least:.3g}; ask for more, or for 0"
            )


def _vector_act(edit: AnyEdit, hook: str, saes: Mapping[str, SAE]) -> Act:
    vector = torch.tensor(edit.vector, dtype=torch.float32)
    unit = F.normalize(vector, dim=0)
    if isinstance(edit, Rotate):
        return Turn(unit, math.radians(edit.strength))
    size = 0.0
    if isinstance(edit, Measured):
        size = edit.strength * (_norm_at(hook, edit, saes) if edit.unit == "norm" else 1.0)
    if isinstance(edit, Add | Replace):
        direction = unit if edit.unit == "norm" else vector
        return Push(direction * size, instead=isinstance(edit, Replace))
    return _move(edit, unit, size)


def _move(edit: AnyEdit, direction: Tensor, value: float) -> Move:
    """What becomes of the value along `direction`."""
    if isinstance(edit, Set):
        return Move(direction, target=value)
    if isinstance(edit, Floor):
        return Move(direction, keep=1.0, low=value)
    if isinstance(edit, Ceiling):
        return Move(direction, keep=1.0, high=value)
    if isinstance(edit, Scale):
        return Move(direction, keep=edit.strength)
    return Move(direction)  # Ablate, ProjectOut


def _scope(edit: AnyEdit, saes: Mapping[str, SAE]) -> str:
    """What gives the edit's target its meaning: a feature's SAE, a vector's hook point."""
    return _hook_of(edit, saes) if edit.feature is None else _sae_of(edit, saes).name


def _hook_of(edit: AnyEdit, saes: Mapping[str, SAE]) -> str:
    """Where a vector acts."""
    if edit.hook is None and not saes:
        raise ValueError(f"{edit!r} does not say where to act; pass hook=, or an SAE")
    return _sae_of(edit, saes).hook_out if edit.hook is None else edit.hook


def _in_values(edit: Measured, sae: SAE, feature: int) -> float:
    """The edit's strength as a value of the feature."""
    if edit.unit == "raw":
        return edit.strength
    if sae.stats is None:
        raise ValueError(
            f"{edit!r} counts in {edit.unit!r}, but SAE {sae.name!r} came without statistics; "
            "give the strength in unit='raw'"
        )
    if edit.unit == "peak":
        peak = float(sae.stats.peak[feature])
        if peak == 0:
            raise ValueError(
                f"feature {feature} of SAE {sae.name!r} never fired on the corpus, so it has no "
                "peak; give the strength in unit='norm' or 'raw'"
            )
        return edit.strength * peak
    length = float(sae.W_dec[feature].norm())
    return edit.strength * sae.stats.norm / length if length else 0.0


def _norm_at(hook: str, edit: Measured, saes: Mapping[str, SAE]) -> float:
    for sae in saes.values():
        if sae.hook_out == hook and sae.stats is not None:
            return sae.stats.norm
    raise ValueError(
        f"{edit!r} counts in 'norm', but no SAE with statistics reads {hook!r}; "
        "give the strength in unit='raw'"
    )


def _sae_of(edit: AnyEdit, saes: Mapping[str, SAE]) -> SAE:
    return _sae_named(edit.sae, saes, edit)


def _sae_named(name: str | None, saes: Mapping[str, SAE], wants: object) -> SAE:
    if not saes:
        raise ValueError(f"{wants!r} names a feature, so it needs an SAE")
    if name is None:
        return next(iter(saes.values()))
    if name not in saes:
        raise ValueError(f"there is no SAE {name!r}; there are {', '.join(map(repr, saes))}")
    return saes[name]


def overlaps(edits: Sequence[AnyEdit], sae: SAEs) -> list[tuple[int, int, float]]:
    """For each two pushes (Add, Replace) that may act at one place, the cosine of their directions.

    Edits are named by their places. What pushes away points away.
    """
    places = [place for place, edit in enumerate(edits) if edit.on]
    pushes = [
        (place, term.hook, term.act.direction.float().cpu())
        for place, term in zip(places, terms(Arm("edits", tuple(edits)), by_name(sae)), strict=True)
        if isinstance(term.act, Push)
    ]
    return [
        (one, two, float(F.cosine_similarity(a, b, dim=0)))
        for (one, here, a), (two, there, b) in combinations(pushes, 2)
        if here == there and a.shape == b.shape and not _apart(edits[one], edits[two])
    ]


def check_conflicts(edits: Sequence[AnyEdit], saes: Mapping[str, SAE]) -> None:
    """Two edits that each say what becomes of the same thing cannot both be obeyed."""
    for one, two in combinations([edit for edit in edits if edit.on], 2):
        if _apart(one, two):
            continue
        if isinstance(one, Target) and isinstance(two, Target):
            keys = [(edit.where, edit.schedule, edit.when) for edit in (one, two)]
            if _scope(one, saes) == _scope(two, saes) and keys[0] != keys[1]:
                raise ValueError(
                    f"{one!r} and {two!r} are to be solved for together, but act at different "
                    "tokens: give them the same where, schedule and when"
                )
        if isinstance(one, Replace) and isinstance(two, Replace):
            against = _place(one, saes) == _place(two, saes)
        else:
            same = one.target == two.target and _scope(one, saes) == _scope(two, saes)
            against = same and isinstance(one, DECIDING) and isinstance(two, DECIDING)
            if against and {type(one), type(two)} == {Floor, Ceiling}:
                floor, ceiling = (one, two) if isinstance(one, Floor) else (two, one)
                against = asked(floor, saes) > asked(ceiling, saes)
        if against:
            raise ValueError(
                f"{one!r} and {two!r} contradict each other; keep one, or let them act at "
                "different places (where='prompt' and where='generated', or two spans)"
            )


def _apart(one: AnyEdit, two: AnyEdit) -> bool:
    """Whether two edits plainly never act on the same token."""
    if {one.where, two.where} == {"prompt", "generated"}:
        return True
    if one.when is not None and two.when is not None and ~one.when == two.when:
        return True
    if isinstance(one.where, Span) and isinstance(two.where, Span):
        first, second = sorted((one.where, two.where), key=lambda span: span.start)
        over = first.stop is not None and first.stop <= second.start
        return over or (second.start - first.start) % math.gcd(first.step, second.step) != 0
    return False


def _place(edit: AnyEdit, saes: Mapping[str, SAE]) -> str:
    """The hook point where an edit acts."""
    return _hook_of(edit, saes) if edit.feature is None else _sae_of(edit, saes).hook_out


def asked(edit: AnyEdit, saes: Mapping[str, SAE]) -> float:
    """The value that an edit asks for, in the activation's own units."""
    assert isinstance(edit, Measured)
    if edit.feature is not None:
        return _in_values(edit, _sae_of(edit, saes), edit.feature)
    size = _norm_at(_hook_of(edit, saes), edit, saes) if edit.unit == "norm" else 1.0
    return edit.strength * size
