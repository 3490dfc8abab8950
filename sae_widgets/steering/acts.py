"""What edits come down to: acts, and how those of all arms are carried out together.

An act changes an activation; a part carries out all acts of one kind, for every row of a batch, in
a few operations on tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sae_widgets.sae import SAE, JumpReLU


@dataclass(frozen=True)
class Push:
    """Adds a direction; `instead`: and takes the activation away.

    `sae`: the direction counts in units of what this SAE sees, which normalises activations.
    """

    direction: Float[Tensor, " d"]
    instead: bool = False
    sae: SAE | None = None


@dataclass(frozen=True)
class Move:
    """Makes a value clamp(target + keep · value, low, high), along a direction.

    `sae` and `feature` say whose value; without them it is the length along `along`.
    """

    direction: Float[Tensor, " d"]
    target: float = 0.0
    keep: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    sae: SAE | None = None
    feature: int = 0
    along: Float[Tensor, " d"] | None = None


@dataclass(frozen=True)
class Aim:
    """Makes the value that the SAE finds in what comes out `target`, together with other aims."""

    direction: Float[Tensor, " d"]
    target: float
    sae: SAE
    feature: int


@dataclass(frozen=True)
class Turn:
    """Turns the activation by `angle`, in radians, towards a direction of length one."""

    direction: Float[Tensor, " d"]
    angle: float


Act = Push | Move | Aim | Turn


def diverted(act: Act, direction: Float[Tensor, " d"]) -> Act:
    """The same act along another direction: measured as before, moved elsewhere."""
    if isinstance(act, Move) and act.sae is None and act.along is None:
        act = replace(act, along=act.direction)
    return replace(act, direction=direction)


# What the acts of all rows add to activations [row, position, d]; what is the same at every
# position comes as [row, 1, d].

Part = Callable[[Tensor], Tensor]
Rows = Sequence[tuple[int, Act]]
"""Acts, each with the row of the batch that it belongs to."""


def parts(acts: Rows, rows: int, device: torch.device) -> list[Part]:
    """All acts, laid out so that a pass takes few operations; their parts are to be summed."""
    found: list[Part] = []
    pushed = [(row, act) for row, act in acts if isinstance(act, Push)]
    for sae in {id(act.sae): act.sae for _, act in pushed}.values():
        found.append(pushes([(r, act) for r, act in pushed if act.sae is sae], rows, device))
    moved = [(row, act) for row, act in acts if isinstance(act, Move)]
    for sae in {id(act.sae): act.sae for _, act in moved}.values():
        found.append(moves([(r, act) for r, act in moved if act.sae is sae], rows, device))
    aimed = [(row, act) for row, act in acts if isinstance(act, Aim)]
    for sae in {id(act.sae): act.sae for _, act in aimed}.values():
        found.append(aims([(r, act) for r, act in aimed if act.sae is sae], sae, rows, device))
    turned = [(row, act) for row, act in acts if isinstance(act, Turn)]
    while turned:  # one of each row at a time
        now = dict(reversed(turned))
        found.append(turns(list(now.items()), rows, device))
        turned = [(row, turn) for row, turn in turned if now[row] is not turn]
    return found


def pushes(acts: Sequence[tuple[int, Push]], rows: int, device: torch.device) -> Part:
    """The sum of each row's pushes."""
    total = torch.zeros(rows, 1, len(acts[0][1].direction), device=device)
    instead = torch.zeros(rows, 1, 1, device=device)
    for row, push in acts:
        total[row, 0] += push.direction.to(total)
        instead[row] = max(float(instead[row]), float(push.instead))
    pushed = _in_units_of(acts[0][1].sae, lambda x: total)  # noqa: ARG005
    if not instead.any():
        return pushed
    return lambda x: pushed(x) - instead * x


def _in_units_of(sae: SAE | None, part: Part) -> Part:
    """`part`, where it counts in units of what `sae` sees; those differ if that is normalised."""
    if sae is None or sae.normalization is None or not sae.rescales:
        return part
    size = sae.normalization.size
    return lambda x: part(x) * size(x)


def moves(acts: Sequence[tuple[int, Move]], rows: int, device: torch.device) -> Part:
    """The moves of values that are encoded together: those of one SAE, or lengths along vectors."""
    rest = {"target": 0.0, "keep": 1.0, "low": -math.inf, "high": math.inf}  # changes nothing
    table = {
        name: torch.full((rows, 1, len(acts)), value, device=device) for name, value in rest.items()
    }
    for column, (row, move) in enumerate(acts):
        for name, values in table.items():
            values[row, 0, column] = getattr(move, name)
    directions = torch.stack([move.direction for _, move in acts]).float().to(device)
    sae = acts[0][1].sae
    encode = None if sae is None else sae.encoder([move.feature for _, move in acts])
    measured = [move.direction if move.along is None else move.along for _, move in acts]
    axes = torch.stack(measured).float().to(device)

    def part(x: Tensor) -> Tensor:
        value: Tensor = x @ axes.T if encode is None else encode(x)
        new: Tensor = (table["target"] + table["keep"] * value).clamp(table["low"], table["high"])
        moved: Tensor = (new - value) @ directions
        return moved

    return _in_units_of(sae, part)


def aims(acts: Sequence[tuple[int, Aim]], sae: SAE, rows: int, device: torch.device) -> Part:
    """What makes all aims of a row come true at once, as far as the encoder is linear.

    Adding Σ aᵢ·dᵢ changes what the encoder finds by a·G, with G = W_dec·W_enc over the features
    concerned; a is solved for. Each feature is one column; a row has its own features among them.
    """
    target = torch.zeros(rows, 1, len(acts), device=device)
    solved = torch.zeros(rows, len(acts), sae.d_model, device=device)
    for row in {row for row, _ in acts}:
        columns = [column for column, (of, _) in enumerate(acts) if of == row]
        features = [acts[column][1].feature for column in columns]
        for column in columns:
            target[row, 0, column] = acts[column][1].target
        found = _solve(sae, features, torch.stack([acts[c][1].direction for c in columns]))
        solved[row, columns] = found.to(solved)
    features = [aim.feature for _, aim in acts]
    before = sae.before_activation(features)
    silent = torch.zeros(len(acts), device=device)
    if isinstance(sae.activation, JumpReLU):
        silent = sae.activation.threshold[features].to(silent)

    def part(x: Tensor) -> Tensor:
        value = before(x).to(x)
        # What is to be silent and is silent is left alone.
        still = torch.where(value > silent, value.clamp(max=0), value)
        wanted = torch.where(target > 0, target, still)
        moved: Tensor = (wanted - value) @ solved
        return moved

    return part


FARTHEST = 100.0
"""How much longer than the directions a push may be that raises a value by one."""


def _solve(sae: SAE, features: list[int], directions: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """What raises each feature's value by one and leaves those of the others."""
    decoder, encoder = sae.W_dec[features].detach(), sae.W_enc[:, features].detach()
    gram = decoder.cpu().double() @ encoder.cpu().double()
    directions = directions.detach().cpu().double()
    solved: Tensor
    solved, failed = torch.linalg.solve_ex(gram, directions)
    longest = solved.norm(dim=-1).max() / directions.norm(dim=-1).max()
    if failed or not longest <= FARTHEST:
        raise ValueError(
            f"the features {features} of SAE {sae.name!r} cannot be given these values together: "
            "some of their directions are almost the same, or hardly move what the encoder reads. "
            "Give a target to fewer of them, or use Set"
        )
    return solved


def turns(acts: Sequence[tuple[int, Turn]], rows: int, device: torch.device) -> Part:
    """One turn of each row that has one (spherical interpolation, as far as the direction)."""
    direction = torch.zeros(rows, 1, len(acts[0][1].direction), device=device)
    angle = torch.zeros(rows, 1, 1, device=device)
    for row, turn in acts:
        # Away from a direction is towards its opposite.
        direction[row, 0] = turn.direction.to(direction) * (1 if turn.angle >= 0 else -1)
        angle[row] = abs(turn.angle)

    def part(x: Tensor) -> Tensor:
        length = x.norm(dim=-1, keepdim=True)
        along = (x * direction).sum(-1, keepdim=True)
        across = F.normalize(direction - along * x / length.square().clamp(min=1e-12), dim=-1)
        between = torch.arccos((along / length.clamp(min=1e-12)).clamp(-1, 1))
        by = torch.minimum(angle, between)
        turned: Tensor = (by.cos() - 1) * x + by.sin() * length * across
        return turned

    return part
