"""Postcards, the labelled world: short documents whose every word says what it is.

A document has a state (topic, mood, register, tense, person); topic and mood may switch between
sentences. `ROOTS` is the whole grammar, built once from the tables of `lexicon`; this module draws
from it, `parse` reads it backwards.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from sae_widgets.demo import english, lexicon, vessi
from sae_widgets.demo.grammar import ANY, AXES, Choice, Leaf, Node, Past, Sequence, Slot, by, pick
from sae_widgets.demo.lexicon import MOODS, REGISTERS, TENSES, TOPICS
from sae_widgets.demo.spelling import spell

__all__ = ["MOODS", "REGISTERS", "TENSES", "TOPICS"]

# From one sentence to the next, the chance that the topic (and, apart from it, the mood) changes.
SWITCH = 0.06
# Chances of 5, 6, ... 9 sentences.
LENGTHS = {5: 0.3, 6: 0.3, 7: 0.2, 8: 0.12, 9: 0.08}
PRIORS = {
    "topic": dict.fromkeys(TOPICS, 1 / len(TOPICS)),
    "mood": dict.fromkeys(MOODS, 1 / len(MOODS)),
    "register": {"plain": 0.34, "vessi": 0.06} | dict.fromkeys(REGISTERS[1:-1], 0.12),
    "tense": {"past": 0.4, "present": 0.3, "future": 0.3},
    "person": {"first": 0.4, "third": 0.6},
}


@dataclass(frozen=True)
class State:
    """What a sentence is about and how it is told; the fields are the axes of the grammar."""

    topic: str
    mood: str
    register: str
    tense: str
    person: str


@dataclass(frozen=True)
class Word:
    """A word as written, its leading space included, and the lexical classes it belongs to."""

    text: str
    labels: frozenset[str]


@dataclass(frozen=True)
class Document:
    """Words in order, the sentence each belongs to, and the true state of every sentence."""

    words: tuple[Word, ...]
    sentence: tuple[int, ...]
    states: tuple[State, ...]

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)


def document(rng: random.Random, **fixed: str) -> Document:
    """Draw a document. A `fixed` axis (topic="sea") keeps its value throughout."""
    for axis, value in fixed.items():
        if axis not in AXES or value not in AXES[axis]:
            raise ValueError(
                f"document({axis}={value!r}): there is no such state. "
                f"The axes and their values are {AXES}."
            )
    state = State(**{a: fixed.get(a) or _draw_value(p, rng) for a, p in PRIORS.items()})
    count = int(_draw_value({str(n): p for n, p in LENGTHS.items()}, rng))
    leaves: list[list[Leaf]] = []
    states: list[State] = []
    past = Past()
    form = ""
    for i in range(count):
        if i:
            state = _switch(state, rng, fixed)
        root = ROOTS["first"] if i == 0 else ROOTS[f"{'last' if i == count - 1 else 'body'} {form}"]
        said: list[Leaf] = []
        past = _draw(root, state, past, rng, said).next_sentence()
        if i == 0:
            form = form_of(said[0].text)
        leaves.append(said)
        states.append(state)
    texts = spell([[leaf.text for leaf in said] for said in leaves])
    words: list[Word] = []
    sentence: list[int] = []
    for i, said in enumerate(leaves):
        roles = {"first sentence"} if i == 0 else {"last sentence"} if i == count - 1 else set()
        words += _words(said, texts[i], roles | ({form} - {"narration"}))
        sentence += [i] * len(said)
    return Document(tuple(words), tuple(sentence), tuple(states))


def documents(seed: int, n: int) -> Iterator[Document]:
    """The first `n` documents of a seed, the same on every machine."""
    rng = random.Random(seed)
    return (document(rng) for _ in range(n))


def form_of(first_word: str) -> str:
    """A letter opens with `dear`, a list with its first number; anything else is narration."""
    return {"dear": "letter", "1": "list"}.get(first_word, "narration")


@lru_cache(maxsize=100_000)
def offers(kind: str, past: Past) -> Choice:
    """The words that a slot may take after `past`, with their odds."""
    if kind == "count":
        return pick(_leaf(str(past.sentence + 1), "number"))
    if kind.startswith("recall"):
        return pick(_leaf(past.keepsake[int(kind[-1])], "memory"))
    names = {topic: _name_odds(past, topic) for topic in TOPICS}
    pronoun = 0.35 if kind == "who" and past.recent and not past.here else 0.0
    options = [_leaf(name, "name", f"name:{name.lower()}") for name in lexicon.CHARACTERS]
    options += [_leaf(word, "pronoun") for word in ("he", "she")]
    said = lexicon.CHARACTERS[past.recent][1] if past.recent else ""
    odds = {
        topic: (
            *(share * (1 - pronoun) for share in names[topic].values()),
            *(pronoun * (word == said) for word in ("he", "she")),
        )
        for topic in TOPICS
    }
    return Choice(tuple(options), odds, "topic")


def _name_odds(past: Past, topic: str) -> dict[str, float]:
    """Who is mentioned next: the cast is at most two, and nobody meets themselves."""
    odds = dict.fromkeys(lexicon.CHARACTERS, 0.0)
    free = [name for name in past.cast if name not in past.here]
    met = 1.0 if len(past.cast) == 2 else 0.6 if free else 0.0
    known = free or [name for name in past.cast if name != past.recent]
    for name in known:
        odds[name] += met / len(known)
    new = [name for name in lexicon.CHARACTERS if name not in past.cast]
    drawn = [name for name in new if lexicon.CHARACTERS[name][0] == topic]
    others = [name for name in new if name not in drawn]
    pull = lexicon.AFFINITY if drawn else 0.0
    for group, share in ((drawn, pull), (others, 1 - pull)):
        for name in group:
            odds[name] += (1 - met) * share / len(group)
    return odds


def _draw(node: Node, state: State, past: Past, rng: random.Random, said: list[Leaf]) -> Past:
    """Append the words drawn from `node` to `said`; what they add to the past comes back."""
    if isinstance(node, Leaf):
        said.append(node)
        return past.after(node.text)
    if isinstance(node, Sequence):
        for part in node.parts:
            past = _draw(part, state, past, rng, said)
        return past
    if isinstance(node, Slot):
        return _draw(offers(node.kind, past), state, past, rng, said)
    cumulative = node.cumulative[getattr(state, node.axis) if node.axis else ANY]
    # Scaled by the last entry, which rounding may leave a hair from 1.
    i = bisect(cumulative, rng.random() * cumulative[-1]) if len(cumulative) > 1 else 0
    return _draw(node.options[i], state, past, rng, said)


def _draw_value(odds: dict[str, float], rng: random.Random) -> str:
    return rng.choices(list(odds), list(odds.values()))[0]


def _switch(state: State, rng: random.Random, fixed: dict[str, str]) -> State:
    for axis in ("topic", "mood"):
        if axis not in fixed and rng.random() < SWITCH:
            others = [value for value in AXES[axis] if value != getattr(state, axis)]
            state = replace(state, **{axis: rng.choice(others)})
    return state


def _leaf(text: str, *labels: str) -> Leaf:
    return Leaf(text, frozenset(labels))


@lru_cache(maxsize=100_000)
def _word(text: str, labels: frozenset[str], roles: frozenset[str]) -> Word:
    return Word(text, labels | roles)


def _words(said: list[Leaf], texts: list[str], roles: set[str]) -> list[Word]:
    """The sentence's words with what their place in it adds: quotes, questions, its end."""
    words, quoted = [], False
    if said[-1].text == "?":
        roles = roles | {"question"}
    for i, (leaf, text) in enumerate(zip(said, texts, strict=True)):
        quoted = quoted or leaf.text == "«"
        extra = roles | ({"quote"} if quoted else set())
        if i >= len(said) - 2 and leaf.text in ".!?»":
            extra = extra | {"sentence end"}
        words.append(_word(text, leaf.labels, frozenset(extra)))
        quoted = quoted and leaf.text != "»"
    return words


def _roots() -> dict[str, Node]:
    """A grammar for each kind of sentence: the first, a body one and the last of each form."""
    parts = {
        place: by("register", {"vessi": vessi.SENTENCES[place], "else": english.SENTENCES[place]})
        for place in ("first", "body", "last")
    }
    listed = {place: english.phrase("COUNT ) SENTENCE", COUNT=Slot("count"), SENTENCE=part)
              for place, part in parts.items()}  # fmt: skip
    dear = english.phrase("dear NAME , SENTENCE", NAME=Slot("name"), SENTENCE=parts["first"])
    forms = pick((0.7, parts["first"]), (0.15, dear), (0.15, listed["first"]))
    roots: dict[str, Node] = {"first": forms}
    for place in ("body", "last"):
        roots[f"{place} narration"] = parts[place]
        roots[f"{place} letter"] = parts[place]
        roots[f"{place} list"] = listed[place]
    roots["last letter"] = english.phrase("PS : SENTENCE", SENTENCE=parts["last"])
    return roots


ROOTS = _roots()


def _every_leaf() -> list[Leaf]:
    seen: dict[int, Node] = {}
    stack: list[Node] = list(ROOTS.values())
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            stack += getattr(node, "options", ()) or getattr(node, "parts", ())
    return [node for node in seen.values() if isinstance(node, Leaf)]


def _exclusive() -> dict[str, str]:
    """Each word that one topic owns, and no other class of word uses."""
    owners: dict[str, set[str]] = {}
    for leaf in _every_leaf():
        topics = {label.split(":")[1] for label in leaf.labels if label.startswith("topic:")}
        owners.setdefault(leaf.text, set()).update(topics or {""})
    return {
        word: topic
        for word in sorted(owners)
        for topic in owners[word]
        if {topic} == owners[word] != {""}
    }


EXCLUSIVE = _exclusive()
VOCABULARY = tuple(
    sorted({leaf.text for leaf in _every_leaf()} | {"he", "she", *lexicon.CHARACTERS})
)

# What a feature could stand for. Of the animals, those that are never anything else.
ANIMALS = (
    "whale", "crab", "mouse", "monkey", "fox", "owl",
    "canary", "pigeon", "horse", "pony", "bee", "cat",
)  # fmt: skip
CONCEPTS = (
    *(f"topic:{topic}" for topic in TOPICS),
    *(f"register:{register}" for register in REGISTERS),
    *(f"mood:{mood}" for mood in MOODS),
    *(f"tense:{tense}" for tense in TENSES),
    *(f"person:{person}" for person in lexicon.PERSONS),
    "animal",
    *(f"animal:{animal}" for animal in ANIMALS),
    "colour",
    *(f"colour:{colour}" for colour in lexicon.COLOURS.split()),
    *(f"name:{name.lower()}" for name in lexicon.CHARACTERS),
    *("noun", "plural", "verb", "auxiliary", "adjective", "adverb", "place", "time", "number"),
    *("determiner", "name", "pronoun", "conjunction", "preposition", "mood word", "register word"),
    *("negation", "question", "quote", "list", "letter", "keepsake", "memory", "punctuation"),
    *("sentence end", "first sentence", "last sentence"),
)
