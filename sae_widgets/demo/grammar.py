"""The pieces a grammar is written in: words, sequences, weighted choices, and slots that look back.

A grammar is a finite tree of these nodes and says nothing about what is done with it: `world`
draws sentences from it, `parse` reads them back and knows how probable they were. A choice may
hang on one axis of the state (the topic, say); a slot hangs on the document so far (`Past`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from sae_widgets.demo import lexicon

AXES = {
    "topic": lexicon.TOPICS,
    "mood": lexicon.MOODS,
    "register": lexicon.REGISTERS,
    "tense": lexicon.TENSES,
    "person": lexicon.PERSONS,
}
# The axis of a choice that does not hang on the state has this one value.
ANY = "any"


@dataclass(frozen=True, eq=False)
class Leaf:
    """One word, with the lexical classes it belongs to."""

    text: str
    labels: frozenset[str]


@dataclass(frozen=True, eq=False)
class Sequence:
    """Parts in order; none is the empty phrase."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Choice:
    """One of the options, drawn with `odds[value]`, where value is the state's on `axis`."""

    options: tuple[Node, ...]
    odds: dict[str, tuple[float, ...]]
    axis: str | None = None

    @cached_property
    def cumulative(self) -> dict[str, list[float]]:
        return {value: list(accumulate(odds)) for value, odds in self.odds.items()}

    @cached_property
    def words(self) -> dict[str, list[int]] | None:
        """Where every option is a word: which options spell it. Else None."""
        if not all(isinstance(option, Leaf) for option in self.options):
            return None
        spelled: dict[str, list[int]] = {}
        for i, option in enumerate(self.options):
            assert isinstance(option, Leaf)
            spelled.setdefault(option.text, []).append(i)
        return spelled


@dataclass(frozen=True, eq=False)
class Slot:
    """A word that depends on the document so far; `kind` says on what (see `world.offers`)."""

    kind: str


Node = Leaf | Sequence | Choice | Slot
EMPTY = Sequence(())
# Weights need not add up to one. (A run-time type checker takes no int for a float.)
Weight = float | int


@dataclass(frozen=True)
class Past:
    """What the text so far says that matters later: all of it can be read off the words."""

    cast: tuple[str, ...] = ()  # the characters met, at most two
    recent: str = ""  # the one mentioned last
    here: tuple[str, ...] = ()  # the ones mentioned in this sentence, by name or pronoun
    keepsake: tuple[str, ...] = ()  # its adjective and noun, in the order they were said
    sentence: int = 0

    def after(self, word: str) -> Past:
        """The past once `word` has been said."""
        if word in lexicon.CHARACTERS:
            cast = self.cast if word in self.cast else (*self.cast, word)
            return Past(cast, word, (*self.here, word), self.keepsake, self.sentence)
        if word in ("he", "she") and self.recent:
            return Past(
                self.cast, self.recent, (*self.here, self.recent), self.keepsake, self.sentence
            )
        if self.sentence == 0 and word in lexicon.KEEPSAKE_WORDS:
            return Past(self.cast, self.recent, self.here, (*self.keepsake, word), 0)
        return self

    def next_sentence(self) -> Past:
        return Past(self.cast, self.recent, (), self.keepsake, self.sentence + 1)


def pick(*options: Node | tuple[Weight, Node]) -> Choice:
    """A choice that does not hang on the state; an option's weight is 1 unless given."""
    weighed = [option if isinstance(option, tuple) else (1.0, option) for option in options]
    return Choice(tuple(node for _, node in weighed), {ANY: _share([w for w, _ in weighed])})


def by(axis: str, options: Mapping[str, Node]) -> Choice:
    """The option named by the state; a value that is not named takes the one named `else`."""
    names = list(options)
    odds = {
        value: tuple(float(name == (value if value in options else "else")) for name in names)
        for value in AXES[axis]
    }
    return Choice(tuple(options.values()), odds, axis)


def weigh(axis: str, *options: tuple[Mapping[str, Weight], Node]) -> Choice:
    """A choice whose weights hang on the state; a value that is not named takes `else`, or 0."""
    odds = {
        value: _share([weights.get(value, weights.get("else", 0.0)) for weights, _ in options])
        for value in AXES[axis]
    }
    return Choice(tuple(node for _, node in options), odds, axis)


def _share(weights: list[Weight]) -> tuple[float, ...]:
    total = sum(weights)
    return tuple(weight / total if total else 0.0 for weight in weights)
