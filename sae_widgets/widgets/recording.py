"""A recording as a widget stores it: what describes it, and its numbers as bytes.

The numbers are little-endian and stand without gaps: for each take, for each of its arms, how many
tokens it wrote, at how many positions of the prompt and after it the edit acted (uint16), `FACTS`
(float16, NaN for None), the tokens as places in `vocab`, and, but for the first arm, a KL (float16)
for each token of the prompt and of the first arm. `js/src/replay.ts` reads the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sae_widgets.steering.edits import AnyEdit
from sae_widgets.steering.effects import Strong
from sae_widgets.steering.record import LARGEST, Plan, Take, Wrote, bare, kilobytes
from sae_widgets.widgets.panel import field, plain

FACTS = ("nll", "concept", "kl", "surprise", "distinct", "ratio")
MOST = 65_504.0
"""The largest float16."""


@dataclass(frozen=True, repr=False)
class Recording:
    """Takes of one prompt, all as long and as bold."""

    prompt: str
    given: tuple[str, ...]
    """The tokens of the prompt."""
    length: int
    temperature: float
    takes: tuple[Take, ...]

    def __repr__(self) -> str:
        runs = sum(len(take.strengths) for take in self.takes)
        edits = {_key(take)[0] for take in self.takes}
        seeds = sorted({take.seed for take in self.takes})
        told = f"{len(edits)} edits, {runs} runs of {self.length} tokens, seeds {seeds}"
        return f"Recording({self.prompt!r}, {told})"

    def find(self, feature: int, strength: float | None, seed: int = 0) -> Wrote:
        """What the first recorded edit of `feature` wrote; strength None: without it."""
        for take in self.takes:
            if (take.edit.get("feature"), take.seed) == (feature, seed):
                for arm in take.arms:
                    if arm.strength == strength:
                        return arm
        raise ValueError(
            f"feature {feature} was not recorded at strength {strength} with seed {seed}; what was "
            "is in `takes`"
        )

    def goes_with(self, other: Recording) -> bool:
        """Whether both are of one prompt and manner."""
        return replace(self, takes=()) == replace(other, takes=())

    def and_then(self, later: Recording) -> Recording:
        """With the takes of a later one; where both have an edit with a seed, the later one's.

        Of another prompt or manner, the later one alone.
        """
        if not self.goes_with(later):
            return later
        takes = {_key(take): take for take in (*self.takes, *later.takes)}
        return replace(self, takes=tuple(takes.values()))

    def without(self, *what: int | AnyEdit | Mapping[str, Any]) -> Recording:
        """With no take of these features (of every SAE) or edits (whatever their strength).

        An edit may be given as it stands in a take.
        """
        kept = self.takes
        for each in what:
            some = tuple(take for take in kept if not _is_of(take, each))
            if len(some) == len(kept):
                of = f"feature {each}" if isinstance(each, int) else f"{each!r}"
                raise ValueError(f"of {of} nothing was recorded; what was is in `takes`")
            kept = some
        return replace(self, takes=kept)

    def check_room(self, planned: Recording, plan: Plan) -> None:
        """Raise if a plan is too much beside what stays of this; `planned` are its takes."""
        kept = [take for take in self.and_then(planned).takes if take.arms]  # all from before
        size = replace(self, takes=tuple(kept)).size
        if kept and size + plan.size > LARGEST:
            place = self.takes.index(kept[0])
            one = kept[0].edit.get("feature", f"panel.recording.takes[{place}].edit")
            raise ValueError(
                f"this would record {plan.told}, beside the {kilobytes(size)} that this panel has: "
                f"{kilobytes(size + plan.size)} in the notebook, and {kilobytes(LARGEST)} is the "
                f"most. Drop what is not needed, `panel.recording = panel.recording.without"
                f"({one})`, or all of it, `panel.recording = None`; "
                "or record less, or in another panel"
            )

    @property
    def size(self) -> int:
        """How many bytes it takes in a notebook, which stores bytes in base64."""
        described, numbers = self.pack()
        return len(json.dumps(described)) + -(-len(numbers) // 3) * 4

    def pack(self) -> tuple[dict[str, Any], bytes]:
        """What describes it, and its numbers."""
        vocab: dict[str, int] = {}
        for take in self.takes:
            for arm in take.arms:
                for token in arm.tokens:
                    vocab.setdefault(token, len(vocab))
        word = _word(vocab)
        parts: list[bytes] = []
        for take in self.takes:
            for arm in take.arms:
                counts = [len(arm.tokens), *(min(65_535, count) for count in arm.positions)]
                facts = [getattr(arm, name) for name in FACTS]
                parts += [
                    np.array(counts, "<u2").tobytes(),
                    _halves(np.nan if fact is None else fact for fact in facts),
                    np.array([vocab[token] for token in arm.tokens], word).tobytes(),
                    _halves(arm.strip),
                ]
        takes = [
            {
                "edit": dict(take.edit),
                "seed": take.seed,
                "peaks": take.peaks,
                "strengths": list(take.strengths),
            }
            for take in self.takes
        ]
        described = {
            "prompt": self.prompt,
            "given": list(self.given),
            "length": self.length,
            "temperature": self.temperature,
            "takes": takes,
            "vocab": list(vocab),
        }
        return plain(described), b"".join(parts)

    @classmethod
    def unpack(cls, described: Mapping[str, Any], numbers: bytes) -> Recording:
        """The recording that `pack` wrote; a ValueError says what is wrong with another one."""
        given = _texts(described, "given")
        vocab = _texts(described, "vocab")
        rest = _Reader(bytes(numbers), _word(vocab))
        takes = []
        for told in field(described, "takes", list):
            if not isinstance(told, Mapping):
                raise ValueError(f"a take is a dict; got {told!r}")
            strengths = [
                float(field({"strength": each}, "strength", (int, float)))
                for each in field(told, "strengths", list)
            ]
            arms: list[Wrote] = []
            for strength in (None, *strengths):
                strip = len(given) + len(arms[0].tokens) if arms else 0
                arms.append(rest.arm(strength, vocab, strip))
            if not isinstance(peaks := told.get("peaks"), bool):
                raise ValueError(f"a take counts in peaks or not; got {peaks!r}")
            takes.append(
                Take(field(told, "edit", dict), field(told, "seed", int), peaks, tuple(arms))
            )
        rest.end()
        return cls(
            prompt=field(described, "prompt", str),
            given=given,
            length=field(described, "length", int),
            temperature=float(field(described, "temperature", (int, float))),
            takes=tuple(takes),
        )


class _Reader:
    """Takes numbers off bytes that may be too few."""

    def __init__(self, numbers: bytes, word: str) -> None:
        self._numbers = numbers
        self._word = word
        self._at = 0

    def arm(self, strength: float | None, vocab: tuple[str, ...], strip: int) -> Wrote:
        count, *positions = self._take("<u2", 3).tolist()
        halves = self._take("<f2", len(FACTS)).tolist()
        facts: dict[str, Any] = {
            name: None if np.isnan(fact) else fact for name, fact in zip(FACTS, halves, strict=True)
        }
        places = self._take(self._word, count).tolist()
        if any(place >= len(vocab) for place in places):
            raise ValueError(f"a token of a recording is not among its {len(vocab)}")
        return Wrote(
            strength=strength,
            tokens=tuple(vocab[place] for place in places),
            **{**facts, "ratio": facts["ratio"] or 0.0},
            positions=(positions[0], positions[1]),
            strip=tuple(self._take("<f2", strip).tolist()),
        )

    def _take(self, kind: str, count: int) -> Any:
        size = np.dtype(kind).itemsize * count
        if self._at + size > len(self._numbers):
            raise ValueError(f"a recording ends too early, after {len(self._numbers)} bytes")
        self._at += size
        return np.frombuffer(self._numbers, kind, count, self._at - size)

    def end(self) -> None:
        if self._at < len(self._numbers):
            raise ValueError(f"a recording has {len(self._numbers) - self._at} bytes too many")


def _is_of(take: Take, what: int | AnyEdit | Mapping[str, Any]) -> bool:
    if isinstance(what, int):
        return take.edit.get("feature") == what
    if isinstance(what, Mapping):
        return take.edit == what
    return isinstance(what, Strong) and take.edit == bare(what)


def _key(take: Take) -> tuple[str, int]:
    return repr(sorted(take.edit.items(), key=lambda item: item[0])), take.seed


def _word(vocab: Sized) -> str:
    """How a place in the vocabulary is written."""
    return "<u2" if len(vocab) <= 65_536 else "<u4"


def _halves(values: Iterable[float]) -> bytes:
    halves: bytes = np.clip(np.fromiter(values, float), -MOST, MOST).astype("<f2").tobytes()
    return halves


def _texts(described: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(field({name: each}, name, str) for each in field(described, name, list))
