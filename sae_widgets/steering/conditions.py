"""Conditions: when an edit acts. Read off the unedited activations; they combine with & | ~.

Fires(7)                      feature 7 fires on the token
Fires(7, 2.0, over="prompt")  it has a value above 2 somewhere in the prompt
Near(vector, 0.3)             the activation's cosine with a vector is above .3
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, no_type_check

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

Over = Literal["token", "prompt"]
"""Whether a condition is asked of each token, or once of the whole prompt."""

Answers = Callable[["Sense"], Tensor]
"""Where a sense holds: [row, position], or [row, 1] where it is asked of the whole prompt."""


@dataclass(frozen=True)
class Condition:
    """Something that holds of a token or does not."""

    def __and__(self, other: Condition) -> Condition:
        return Both(self, other)

    def __or__(self, other: Condition) -> Condition:
        return Either(self, other)

    def __invert__(self) -> Condition:
        return Not(self)

    def bound(self, sae: str, hook: str) -> Condition:
        """The condition with this SAE and this hook point wherever it names none."""
        raise NotImplementedError

    def senses(self) -> Iterator[Sense]:
        """What has to be known to answer it."""
        raise NotImplementedError

    def holds(self, answers: Answers) -> Bool[Tensor, "row _"]:
        """Where it holds, given the answers to its senses."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The condition as plain values; `condition_from_json` reads them back."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Read(Condition):
    """A condition that is read off the activations at one hook point."""

    def senses(self) -> Iterator[Sense]:
        yield self  # type: ignore[misc] # `Fires` or `Near`

    def holds(self, answers: Answers) -> Bool[Tensor, "row _"]:
        return answers(self)  # type: ignore[arg-type]


# They check what they are given themselves, with messages for people (see `edits`).


@no_type_check
@dataclass(frozen=True)
class Fires(_Read):
    """The value of `feature` is above `above` (in its own units). `sae` None: of the first SAE."""

    feature: int
    above: float = 0.0
    over: Over = field(default="token", kw_only=True)
    sae: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.feature, bool) or not isinstance(self.feature, int) or self.feature < 0:
            raise ValueError(f"a feature is a number from 0; got {self.feature!r}")
        _check(self)

    def bound(self, sae: str, hook: str) -> Condition:  # noqa: ARG002
        return self if self.sae is not None else replace(self, sae=sae)

    def to_json(self) -> dict[str, Any]:
        return {
            "fires": self.feature,
            "above": self.above,
            "over": self.over,
            "sae": self.sae,
        }


@no_type_check
@dataclass(frozen=True)
class Near(_Read):
    """The cosine of the activation at `hook` with `vector` is above `above`.

    `hook` None: that of the first SAE.
    """

    vector: Sequence[float]  # once made, a tuple
    above: float = 0.0
    over: Over = field(default="token", kw_only=True)
    hook: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        vector = self.vector.tolist() if hasattr(self.vector, "tolist") else self.vector
        vector = tuple(float(entry) for entry in vector)
        if not any(vector) or not all(map(math.isfinite, vector)):
            raise ValueError("a vector to compare with needs finite entries, not all zero")
        object.__setattr__(self, "vector", vector)
        _check(self)

    def bound(self, sae: str, hook: str) -> Condition:  # noqa: ARG002
        return self if self.hook is not None else replace(self, hook=hook)

    def to_json(self) -> dict[str, Any]:
        return {
            "near": list(self.vector),
            "above": self.above,
            "over": self.over,
            "hook": self.hook,
        }

    def cosine(self, x: Float[Tensor, "row position d"]) -> Float[Tensor, "row position"]:
        return F.cosine_similarity(x, x.new_tensor(self.vector), dim=-1)


Sense = Fires | Near


@dataclass(frozen=True)
class Pair(Condition):
    """Two conditions, joined by an operator on truth values."""

    one: Condition
    other: Condition

    word: ClassVar[str]
    sign: ClassVar[str]
    join: ClassVar[Callable[[Any, Any], Any]]

    def senses(self) -> Iterator[Sense]:
        yield from self.one.senses()
        yield from self.other.senses()

    def holds(self, answers: Answers) -> Bool[Tensor, "row _"]:
        found: Tensor = type(self).join(self.one.holds(answers), self.other.holds(answers))
        return found

    def bound(self, sae: str, hook: str) -> Condition:
        return type(self)(self.one.bound(sae, hook), self.other.bound(sae, hook))

    def to_json(self) -> dict[str, Any]:
        return {self.word: [self.one.to_json(), self.other.to_json()]}

    def __repr__(self) -> str:
        return f"({self.one!r} {self.sign} {self.other!r})"


class Both(Pair):
    word, sign = "both", "&"
    join = operator.and_


class Either(Pair):
    word, sign = "either", "|"
    join = operator.or_


@dataclass(frozen=True)
class Not(Condition):
    one: Condition

    def senses(self) -> Iterator[Sense]:
        return self.one.senses()

    def holds(self, answers: Answers) -> Bool[Tensor, "row _"]:
        return ~self.one.holds(answers)

    def __invert__(self) -> Condition:
        return self.one

    def bound(self, sae: str, hook: str) -> Condition:
        return Not(self.one.bound(sae, hook))

    def to_json(self) -> dict[str, Any]:
        return {"not": self.one.to_json()}

    def __repr__(self) -> str:
        return f"~{self.one!r}"


def condition_from_json(record: Any) -> Condition:
    """The condition that `to_json` wrote."""
    if not isinstance(record, Mapping):
        raise ValueError(f"a condition is a record; got {record!r}")
    rest = dict(record)
    for name, kind in (("fires", Fires), ("near", Near)):
        if name in rest:
            first = rest.pop(name)
            known = {"above", "over", "sae" if kind is Fires else "hook"}
            if unknown := set(rest) - known:
                raise ValueError(f"a condition {name!r} has no {sorted(unknown)[0]!r}")
            return kind(first, **rest)
    for pair in (Both, Either):
        two = rest.get(pair.word)
        if len(rest) == 1 and isinstance(two, Sequence) and len(two) == 2:
            return pair(*map(condition_from_json, two))
    if list(rest) == ["not"]:
        return Not(condition_from_json(rest["not"]))
    raise ValueError(
        f"a condition is one of fires, near, both (two), either (two), not; got {list(record)}"
    )


def _check(condition: Any) -> None:
    above = condition.above
    if isinstance(above, bool) or not hasattr(above, "__float__") or not math.isfinite(above):
        raise ValueError(f"a condition's threshold is a finite number; got {above!r}")
    object.__setattr__(condition, "above", float(above))
    if condition.over not in ("token", "prompt"):
        raise ValueError(f"over is one of 'token', 'prompt'; got {condition.over!r}")
