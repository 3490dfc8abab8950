"""Edits: frozen records that say how to change a model's activations, and where.

With h the activation, d the feature's direction and f its value on the unedited h:

    Add(7, s)      h + s·d              push along the direction
    Set(7, v)      h + (v − f)·d        make the value v; what the SAE does not explain stays
    Target(7, v)   h + Σ aᵢ·dᵢ          make the value v as found again, along with other Targets
    Floor(7, v)    Set, where f < v     at least v
    Ceiling(7, v)  Set, where f > v     at most v
    Scale(7, s)    h + (s − 1)f·d       stronger or weaker, only where it fires
    Ablate(7)      h − f·d              as if it did not fire
    ProjectOut(7)  h − (h·d̂)d̂           nothing is left along the direction, fired or not
    Rotate(7, a)   h turned a° towards d̂, at the same length
    Replace(7, s)  s·d                  nothing but the direction

d̂ is the direction at length one. A vector may stand in a feature's place. `Add` and `Replace` then
take that very vector for d; the others take f as h's length along it, and d̂ for d.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal, no_type_check

from torch import Tensor

from sae_widgets.steering.conditions import Condition, condition_from_json
from sae_widgets.steering.schedules import SCHEDULES, Schedule

Unit = Literal["peak", "norm", "raw"]
"""What a strength counts: the feature's peak, the mean activation norm at the hook, or itself."""


@dataclass(frozen=True)
class Span:
    """Positions of a text, counted from 0: `start` up to, not including, `stop`, every `step`-th.

    Span(6) is everything from position 6 on, Span(3, 9) a stretch, Span(step=2) every other one.
    """

    start: int = 0
    stop: int | None = None
    step: int = 1

    def __post_init__(self) -> None:
        if self.start < 0 or self.step < 1 or (self.stop is not None and self.stop <= self.start):
            raise ValueError(
                "a span starts at 0 or later, stops after it starts and takes steps of 1 or more; "
                f"got {self}"
            )


Place = Literal["all", "prompt", "generated", "last"]
Where = Place | Span
"""At which positions an edit acts. "last": at the newest position of each forward pass, the end of
the prompt and then each token that is written. Special tokens are never edited."""

# Edits are `no_type_check`: they check what they are given themselves, with messages for people,
# which the shape checker of the tests would otherwise be quicker than.

UNITS = ("peak", "norm", "raw")
PLACES: tuple[Place, ...] = ("all", "prompt", "generated", "last")


@no_type_check
@dataclass(frozen=True, repr=False)
class Edit:
    """What all edits have in common. `target` is a feature's number or a vector of `d_model`.

    hook: where a vector acts; None for the SAE's hook. sae: the name of the SAE whose feature is
    meant; None for the first. on: an edit that is off does nothing and keeps its place in a list.
    schedule: how much of the edit is done at each token (see `Ramp`, `Decay`, `Pulse`, `Values`);
    None: all of it. when: at which of these tokens (see `Fires`, `Near`); None: at all.
    """

    target: int | Sequence[float] | Tensor  # once made, an int or a tuple of floats
    where: Where = field(default="all", kw_only=True)
    schedule: Schedule | None = field(default=None, kw_only=True)
    when: Condition | None = field(default=None, kw_only=True)
    hook: str | None = field(default=None, kw_only=True)
    sae: str | None = field(default=None, kw_only=True)
    on: bool = field(default=True, kw_only=True)

    op: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", _target(self.target))
        if self.feature is not None and self.hook is not None:
            raise ValueError(
                f"feature {self.feature} belongs to its SAE's hook; only a vector takes hook=, "
                f"got {self.hook!r}"
            )
        for name in ("hook", "sae"):
            if not isinstance(getattr(self, name), str | None):
                raise TypeError(f"{name} is a name; got {getattr(self, name)!r}")
        if not isinstance(self.where, Span):
            _check_choice("where", self.where, PLACES, " or a Span")
        if self.when is not None and not isinstance(self.when, Condition):
            raise TypeError(f"when is a condition, such as Fires(7); got {self.when!r}")
        if self.schedule is not None and not isinstance(self.schedule, SCHEDULES):
            raise TypeError(f"a schedule is a Ramp, Decay, Pulse or Values; got {self.schedule!r}")

    @property
    def feature(self) -> int | None:
        """The feature's number; None for a vector."""
        return self.target if isinstance(self.target, int) else None

    @property
    def vector(self) -> tuple[float, ...] | None:
        """The vector's entries; None for a feature."""
        return self.target if isinstance(self.target, tuple) else None

    def to_json(self) -> dict[str, Any]:
        """The edit as plain values; `edit_from_json` reads them back."""
        rest = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        del rest["target"]
        if isinstance(self.where, Span):
            rest["where"] = asdict(self.where)
        if self.schedule is not None:
            rest["schedule"] = {"kind": self.schedule.kind, **asdict(self.schedule)}
        if self.when is not None:
            rest["when"] = self.when.to_json()
        for name in ("hook", "schedule", "when"):
            if rest[name] is None:
                del rest[name]
        named: dict[str, Any] = {"feature": self.feature}
        if self.vector is not None:
            named = {"vector": list(self.vector)}
        return {"op": self.op, **named, **rest}

    def __repr__(self) -> str:
        return self._told(_short(self.vector or self.feature))

    def to_code(self) -> str:
        """The edit as Python, whole; what is printed cuts a long vector."""
        return self._told(repr(self.feature if self.vector is None else list(self.vector)))

    def _told(self, target: str) -> str:
        parts = [target]
        for entry in sorted(fields(self)[1:], key=lambda entry: bool(entry.kw_only)):
            value = getattr(self, entry.name)
            if not entry.kw_only:
                parts.append(repr(value))
            elif value != entry.default:
                parts.append(f"{entry.name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


@no_type_check
@dataclass(frozen=True, repr=False)
class Measured(Edit):
    """An edit whose strength counts units."""

    strength: float
    unit: Unit = field(default="peak", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_strength(self)
        _check_choice("unit", self.unit, UNITS)
        if self.feature is None and self.unit == "peak":
            raise ValueError(
                "a vector has no peak; give its strength in unit='norm' (× the mean activation "
                "norm) or unit='raw'"
            )


class Add(Measured):
    """Push along the direction by `strength`; a negative one pushes away."""

    op: ClassVar[str] = "add"


class Set(Measured):
    """Make the feature's value `strength`, whatever it is."""

    op: ClassVar[str] = "set"


class Target(Measured):
    """Make the value `strength` as the SAE finds it again in the edited activation.

    `Set` moves the activation by the difference along the feature's own direction, and where
    directions overlap, values change that nobody asked to change. The Targets of one SAE are solved
    for together, so that each is met; they act at the same tokens. (Under TopK a feature may be
    found silent all the same, if others are stronger.)
    """

    op: ClassVar[str] = "target"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.feature is None:
            raise ValueError("only a feature has a value that is found again; give a vector to Set")
        if self.strength < 0:
            raise ValueError(f"a feature's value is 0 or more; got a target of {self.strength}")


class Floor(Measured):
    """Raise the feature's value to `strength` wherever it is lower."""

    op: ClassVar[str] = "floor"


class Ceiling(Measured):
    """Lower the feature's value to `strength` wherever it is higher."""

    op: ClassVar[str] = "ceiling"


class Replace(Measured):
    """Put `strength` times the direction in the activation's place, all else forgotten."""

    op: ClassVar[str] = "replace"


@no_type_check
@dataclass(frozen=True, repr=False)
class _Bare(Edit):
    """An edit whose strength is a bare number."""

    strength: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_strength(self)


class Scale(_Bare):
    """Multiply the feature's value by `strength`: 2 doubles it, 0 ablates it."""

    op: ClassVar[str] = "scale"


class Rotate(_Bare):
    """Turn the activation `strength` degrees towards the direction, or away; its length stays.

    It never turns beyond the direction itself, or beyond its opposite.
    """

    op: ClassVar[str] = "rotate"


@no_type_check
@dataclass(frozen=True, repr=False)
class Ablate(Edit):
    """Take the feature's own contribution away."""

    op: ClassVar[str] = "ablate"


@no_type_check
@dataclass(frozen=True, repr=False)
class ProjectOut(Edit):
    """Leave nothing along the direction, whether the feature fires or not."""

    op: ClassVar[str] = "project"


AnyEdit = Add | Set | Target | Floor | Ceiling | Scale | Ablate | ProjectOut | Rotate | Replace
OPERATIONS: dict[str, type[AnyEdit]] = {
    kind.op: kind
    for kind in (Add, Set, Target, Floor, Ceiling, Scale, Ablate, ProjectOut, Rotate, Replace)
}


def edit_from_json(record: Mapping[str, Any]) -> AnyEdit:
    """The edit that `to_json` wrote. A unit beside an operation that has none is ignored."""
    kind = OPERATIONS.get(record.get("op", ""))
    if kind is None:
        raise ValueError(
            f"an edit's op is one of {', '.join(OPERATIONS)}; got {record.get('op')!r}"
        )
    wanted = {entry.name for entry in fields(kind)} - {"target"}
    rest = {name: value for name, value in record.items() if name in wanted}
    if isinstance(rest.get("where"), Mapping):
        rest["where"] = _made(Span, rest["where"])
    if isinstance(rest.get("when"), Mapping):
        rest["when"] = condition_from_json(rest["when"])
    if isinstance(rest.get("schedule"), Mapping):
        kinds = {each.kind: each for each in SCHEDULES}
        named = dict(rest["schedule"])
        schedule = named.pop("kind", None)
        if schedule not in kinds:
            raise ValueError(f"a schedule's kind is one of {', '.join(kinds)}; got {schedule!r}")
        rest["schedule"] = _made(kinds[schedule], named)
    known = {"op", "feature", "vector", "strength", "unit", *wanted}
    if unknown := set(record) - known:
        raise ValueError(f"an edit has no {sorted(unknown)[0]!r}; it has {sorted(known)}")
    if ("feature" in record) == ("vector" in record):
        raise ValueError("an edit names either a feature or a vector")
    if "strength" in wanted and "strength" not in rest:
        raise ValueError(f"an edit of op {kind.op!r} needs a strength")
    return kind(record["feature"] if "feature" in record else record["vector"], **rest)


def _made(kind: Any, values: Mapping[str, Any]) -> Any:
    """A record from its fields, which came from outside."""
    names = [entry.name for entry in fields(kind)]
    if unknown := set(values) - set(names):
        raise ValueError(f"a {kind.__name__} has no {sorted(unknown)[0]!r}; it has {names}")
    return kind(**values)


# Checks


def _target(target: Any) -> int | tuple[float, ...]:
    """A feature's number, or a vector's entries as exact Python floats."""
    if hasattr(target, "tolist"):  # a tensor or an array; one number in it is a number
        target = target.tolist()
    if isinstance(target, Sequence) and not isinstance(target, str):
        if any(isinstance(entry, Sequence) for entry in target):
            raise ValueError(
                "a vector to steer with has one axis, d_model; got one with more: pass a row of it"
            )
        vector = tuple(float(entry) for entry in target)
        if not vector or not all(map(math.isfinite, vector)) or not any(vector):
            raise ValueError(
                f"a vector to steer with needs finite entries, not all zero; got {_short(vector)}"
            )
        return vector
    try:
        if isinstance(target, bool):
            raise TypeError
        feature = operator.index(target)
    except TypeError:
        raise TypeError(
            f"an edit's target is a feature's number or a vector of d_model; got {target!r}"
        ) from None
    if feature < 0:
        raise ValueError(f"features are numbered from 0; got {feature}")
    return feature


def _check_strength(edit: Measured | _Bare) -> None:
    if isinstance(edit.strength, bool) or not hasattr(edit.strength, "__float__"):
        raise TypeError(f"a strength is a number; got {edit.strength!r}")
    strength = float(edit.strength)
    if not math.isfinite(strength):
        raise ValueError(f"a strength must be finite; got {strength}")
    object.__setattr__(edit, "strength", strength)


def _check_choice(name: str, value: Any, known: tuple[str, ...], or_else: str = "") -> None:
    if value not in known:
        raise ValueError(f"{name} is one of {', '.join(map(repr, known))}{or_else}; got {value!r}")


def _short(target: int | tuple[float, ...] | None) -> str:
    if not isinstance(target, tuple):
        return str(target)
    if len(target) <= 8:
        return str(list(target))
    return f"[{', '.join(map(str, target[:3]))}, … {len(target)} numbers]"
