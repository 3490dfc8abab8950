"""Read Postcards backwards: does it parse, how probable is it, and what does it give away?

One pass over a sentence carries, for every state at once, the probability of having drawn the words
so far: an array over the grid topic x mood x register x tense x person. A word that cannot come
next is where all of it vanishes.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from sae_widgets.demo import lexicon, world
from sae_widgets.demo.grammar import ANY, AXES, Choice, Leaf, Node, Past, Sequence, Slot, pick
from sae_widgets.demo.spelling import read, spell, well_spelled

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Probability of the words so far in each state; axes as in `AXES`.
Mass = np.ndarray
GRID = tuple(len(values) for values in AXES.values())
# A state label is given to a word where the text so far makes it this certain.
CERTAIN = 0.9


def sentences(text: str) -> list[str]:
    """The sentences of a document, as written; what follows the last full stop is one more."""
    return [s for s in re.split(r'(?<=[.!?]) |(?<=[.!?]") |\n', text) if s]


class _Reading:
    """One sentence being read: what each word said about the state, and what could have come."""

    def __init__(self, words: list[str], past: Past, exact: bool, curious: bool = False) -> None:
        self.words = words
        self.exact = exact
        # Only who asks what could have come has every phrase tried that the next word rules out.
        self.curious = curious
        self.pasts = [past]
        for word in words:
            self.pasts.append(self.pasts[-1].after(word))
        # The probability of the words up to and with each, and the classes allowed at its place.
        self.upto: list[Mass] = [np.zeros(GRID) for _ in words]
        self.expected: list[set[str]] = [set() for _ in range(len(words) + 1)]

    def follow(self, node: Node, at: int, mass: Mass) -> dict[int, Mass]:
        """Where reading `node` from word `at` on can end, and with what mass."""
        if not self.curious and not _may_start(node, self.words[at : at + 1]):
            return {}
        if isinstance(node, Sequence):
            ends = {at: mass}
            for part in node.parts:
                further: dict[int, Mass] = {}
                for start, reached in ends.items():
                    _merge(further, self.follow(part, start, reached))
                ends = further
            return ends
        if isinstance(node, Slot):
            past = self.pasts[at]
            node = world.offers(node.kind, past) if self.exact else _all_offers(node.kind)
        if isinstance(node, Leaf):
            return self._read(node, at, [mass] if self.words[at : at + 1] == [node.text] else [])
        odds = _odds(node, self.exact)
        if node.words is not None:
            spelled = node.words.get(self.words[at], []) if at < len(self.words) else []
            return self._read(node, at, [mass * odds[i] for i in spelled])
        found: dict[int, Mass] = {}
        for option, share in zip(node.options, odds, strict=True):
            if self.curious or _may_start(option, self.words[at : at + 1]):
                reached = mass * share
                if reached.any():
                    _merge(found, self.follow(option, at, reached))
        return found

    def _read(self, node: Leaf | Choice, at: int, masses: list[Mass]) -> dict[int, Mass]:
        if self.curious:
            self.expected[at] |= _classes(node)
        total = sum(masses, start=np.zeros(()))
        if not masses or not total.any():
            return {}
        if self.exact:
            self.upto[at] = self.upto[at] + total
        return {at + 1: total if self.exact else total > 0}


def parses(sentence: str) -> bool:
    """Whether the grammar can say it, agreement, spelling and tense included.

    Topic and mood may be mixed; register, tense and person are those of one state.
    """
    if not well_spelled(sentence):
        return False
    words = read(sentence)
    start = np.ones((1, 1, *GRID[2:]), dtype=bool)
    roots = dict.fromkeys(world.ROOTS.values())  # forms share most of their sentences
    return any(
        len(words) in _Reading(words, Past(), exact=False).follow(root, 0, start) for root in roots
    )


def log_prob(text: str) -> float:
    """Natural logarithm of the probability that the world draws exactly this document."""
    return _Filter(text).finish()


def share(text: str, topic: str) -> tuple[int, int]:
    """How many words only this topic owns, and how many any one topic owns."""
    if topic not in world.TOPICS:
        raise ValueError(f"share(topic={topic!r}): the topics are {world.TOPICS}.")
    words = [word for sentence in sentences(text) for word in read(sentence)]
    owners = [world.EXCLUSIVE[word] for word in words if word in world.EXCLUSIVE]
    return owners.count(topic), len(owners)


def known(document: world.Document) -> list[frozenset[str]]:
    """For each word, the states that the text up to and with it makes more than `CERTAIN`.

    Exact: nobody who reads only that far can do better.
    """
    return [_certain(mass) for reading in _Filter(document.text).readings for mass in reading.upto]


def allowed(document: world.Document) -> list[frozenset[str]]:
    """For each word, the classes of word that may follow it in its sentence; none ends it."""
    readings = _Filter(document.text, curious=True).readings
    return [frozenset(classes) for reading in readings for classes in reading.expected[1:]]


def token_labels(
    document: world.Document, tokenizer: PreTrainedTokenizerFast
) -> tuple[list[int], list[frozenset[str]], list[int]]:
    """Ids of the document's tokens, the concepts true at each, and the sentence each belongs to.

    A token has the classes of the words it overlaps and the true state of its sentence. The
    special token in front is not part of the document.
    """
    encoded = tokenizer(
        document.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    word_at = [i for i, word in enumerate(document.words) for _ in word.text]
    states = [frozenset(_state_labels(state)) for state in document.states]
    ids: list[int] = encoded["input_ids"]
    labels: list[frozenset[str]] = []
    sentence: list[int] = []
    for start, end in encoded["offset_mapping"]:
        covered = sorted(set(word_at[start:end]))
        sentence.append(document.sentence[covered[-1]])
        found = states[sentence[-1]].union(*(document.words[i].labels for i in covered))
        labels.append(found & _CONCEPTS)
    return ids, labels, sentence


_CONCEPTS = frozenset(world.CONCEPTS)


class _Filter:
    """A document being read: what is known of the state before each sentence."""

    def __init__(self, text: str, curious: bool = False) -> None:
        self.log = 0.0
        self.readings: list[_Reading] = []
        past = Past()
        belief = _prior()
        written = sentences(text)
        words = [read(sentence) for sentence in written]
        # A capital, a space or an `an` that the world would not write is not this text.
        self.said = bool(words) and "".join(map("".join, spell(words))) == text
        form = world.form_of(words[0][0]) if self.said else ""
        for i, sentence in enumerate(words if self.said else []):
            last = i == len(words) - 1
            belief = _switched(belief) if i else belief
            reading = _Reading(sentence, past, exact=True, curious=curious)
            ends: dict[str, Mass] = {}
            for place, chance in _places(i).items():
                root = world.ROOTS["first" if i == 0 else f"{place} {form}"]
                found = reading.follow(root, 0, belief * chance)
                ends[place] = found.get(len(sentence), np.zeros(GRID))
            reached = ends.get("last" if last else "body", np.zeros(GRID))
            total = float(reached.sum())
            self.said = total > 0
            if not self.said:
                break
            self.log += math.log(total)
            belief = reached / total
            self.readings.append(reading)
            past = reading.pasts[-1].next_sentence()

    def finish(self) -> float:
        return self.log if self.said else -math.inf


def _places(i: int) -> dict[str, float]:
    """Whether sentence `i` is the last, given that it is reached."""
    here = world.LENGTHS.get(i + 1, 0.0)
    beyond = sum(share for length, share in world.LENGTHS.items() if length > i + 1)
    if i == 0:
        return {"body": 1.0}
    return {place: p / (here + beyond) for place, p in (("body", beyond), ("last", here)) if p}


def _prior() -> Mass:
    mass = np.ones(GRID)
    for axis, odds in world.PRIORS.items():
        mass = mass * _along(axis, [odds[value] for value in AXES[axis]])
    return mass


def _switched(belief: Mass) -> Mass:
    """The belief after each of topic and mood may have changed."""
    for axis in ("topic", "mood"):
        at = list(AXES).index(axis)
        others = belief.sum(axis=at, keepdims=True) - belief
        belief = (1 - world.SWITCH) * belief + world.SWITCH / (GRID[at] - 1) * others
    return belief


def _along(axis: str, values: list[float]) -> Mass:
    shape = [1] * len(GRID)
    shape[list(AXES).index(axis)] = -1
    return np.array(values).reshape(shape)


def _may_start(node: Node, following: list[str]) -> bool:
    words, empty = _starts(node)
    return empty or (bool(following) and following[0] in words)


@cache
def _starts(node: Node) -> tuple[frozenset[str], bool]:
    """The words a phrase can start with, and whether it can be empty."""
    if isinstance(node, Leaf):
        return frozenset([node.text]), False
    if isinstance(node, Slot):
        return _starts(_all_offers(node.kind))
    parts = [_starts(part) for part in (node.options if isinstance(node, Choice) else node.parts)]
    if isinstance(node, Choice):
        return frozenset().union(*(w for w, _ in parts)), any(empty for _, empty in parts)
    words: frozenset[str] = frozenset()
    for more, empty in parts:
        words |= more
        if not empty:
            return words, False
    return words, True


@cache
def _odds(node: Choice, exact: bool) -> tuple[Mass, ...]:
    """Each option's probability, as a number or along the axis the choice hangs on.

    What is not exact asks only whether an option can be taken, by any topic and any mood.
    """
    if node.axis is None:
        shares = [np.array(share) for share in node.odds[ANY]]
    else:
        per_value = [node.odds[value] for value in AXES[node.axis]]
        shares = [_along(node.axis, list(column)) for column in zip(*per_value, strict=True)]
    if exact:
        return tuple(shares)
    return tuple(
        np.any(share > 0, axis=(0, 1), keepdims=True) if share.ndim else np.array(share > 0)
        for share in shares
    )


@cache
def _classes(node: Leaf | Choice) -> frozenset[str]:
    leaves = [node] if isinstance(node, Leaf) else [o for o in node.options if isinstance(o, Leaf)]
    return frozenset().union(*(leaf.labels for leaf in leaves)) & _CONCEPTS


@cache
def _all_offers(kind: str) -> Choice:
    """Every word that a slot takes after some past."""
    if kind in ("who", "name"):
        words = [*lexicon.CHARACTERS, *(["he", "she"] if kind == "who" else [])]
    elif kind == "count":
        words = [str(i + 1) for i in range(max(world.LENGTHS))]
    else:
        words = sorted(lexicon.KEEPSAKE_WORDS)
    return pick(*(Leaf(word, frozenset()) for word in words))


def _state_labels(state: world.State) -> list[str]:
    return [f"{axis}:{getattr(state, axis)}" for axis in AXES]


def _certain(belief: Mass) -> frozenset[str]:
    found = []
    total = belief.sum()
    for i, (axis, values) in enumerate(AXES.items()):
        marginal = belief.sum(axis=tuple(j for j in range(len(GRID)) if j != i)) / total
        found += [f"{axis}:{v}" for v, p in zip(values, marginal, strict=True) if p > CERTAIN]
    return frozenset(found)


def _merge(into: dict[int, Mass], more: dict[int, Mass]) -> None:
    for end, mass in more.items():
        into[end] = into[end] + mass if end in into else mass
