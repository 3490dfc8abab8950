"""What the demo's dictionaries are worth, measured where the truth is known, beside their controls.

Nothing here is chosen and reported on the same text: documents are split into one half for
choosing features and thresholds and one for scoring, and prompts likewise (`trials`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_widgets.demo import parse, world
from sae_widgets.demo.concepts import (
    Absorption,
    Agreement,
    Detector,
    Evidence,
    absorption,
    agreement,
    assigned,
    coverage,
    detector,
    detectors,
    grouped,
    pool,
    split,
)
from sae_widgets.demo.trials import parses, whole_sentences
from sae_widgets.model import Model
from sae_widgets.sae import SAE
from sae_widgets.training.activations import batches
from sae_widgets.training.quality import next_token_losses

# What counts as reached; fixed before the first run.
TARGETS = {"topic": 0.90, "register": 0.85, "mood": 0.60, "tense": 0.75}
GROUPS = tuple(TARGETS)
# Axes whose value is a state of the whole sentence; all other concepts are classes of words.
STATES = ("topic", "register", "mood", "tense", "person")
LEAST = 0.002  # a concept rarer than this, or more common than 1 - 25 x this, is not scored


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Documents that no training saw, as token ids with a beginning, and the truth about them."""

    texts: list[list[int]]
    sentence: Int[Tensor, " token"]  # of every ordinary token, counted through all documents
    sentences: Evidence
    tokens: Evidence
    told: Evidence  # as `sentences`, but with the state that generated it, knowable or not


def held_out(tokenizer: Any, seed: int = 900_001, documents: int = 500) -> HeldOut:
    """Draw documents and write down the truth; even documents choose, odd ones score.

    A state (topic, mood, ...) is true of a token where exact filtering of the text up to there
    makes it 90 % certain: before, nobody could know. A class of words is true of its words. A
    sentence has every concept that one of its tokens has.
    """
    texts: list[list[int]] = []
    sentence: list[int] = []
    token_rows: list[frozenset[str]] = []
    rows: list[set[str]] = []
    told: list[set[str]] = []
    halves: list[bool] = []
    token_halves: list[bool] = []
    bos = int(tokenizer.bos_token_id)
    for number, document in enumerate(world.documents(seed, documents)):
        ids, found, places = parse.token_labels(document, tokenizer)
        knowable = parse.known(document)
        word_at = [i for i, word in enumerate(document.words) for _ in word.text]
        ends = tokenizer(document.text, add_special_tokens=False, return_offsets_mapping=True)[
            "offset_mapping"
        ]
        start = len(rows)
        states = [
            {f"{axis}:{getattr(state, axis)}" for axis in STATES} for state in document.states
        ]
        rows += [set() for _ in states]
        told += states
        halves += [number % 2 == 0] * len(states)
        texts.append([bos, *ids])
        for classes, place, (_, end) in zip(found, places, ends, strict=True):
            words = {one for one in classes if one.split(":")[0] not in STATES}
            row = frozenset(words | (states[place] & knowable[word_at[end - 1]]))
            rows[start + place] |= row
            told[start + place] |= words
            token_rows.append(row)
            sentence.append(start + place)
            token_halves.append(number % 2 == 0)
    return HeldOut(
        texts,
        torch.tensor(sentence),
        evidence(rows, halves),
        evidence(token_rows, token_halves, least=LEAST / 20),  # an animal is a rare word
        evidence(told, halves),
    )


def evidence(
    rows: Sequence[set[str] | frozenset[str]], choosing: Sequence[bool], least: float = LEAST
) -> Evidence:
    """The truth as a table, of concepts that are neither too rare nor nearly always true."""
    index = {name: place for place, name in enumerate(world.CONCEPTS)}
    truth = torch.zeros(len(rows), len(index), dtype=torch.bool)
    for number, row in enumerate(rows):
        truth[number, [index[name] for name in row if name in index]] = True
    half = torch.tensor(choosing)
    share = torch.stack([truth[half].float().mean(0), truth[~half].float().mean(0)])
    kept = ((share >= least) & (share <= 1 - 25 * LEAST)).all(0)
    names = tuple(name for name, keep in zip(index, kept.tolist(), strict=True) if keep)
    return Evidence(names, truth[:, kept], half)


@dataclass(frozen=True)
class Recovered:
    """What single features of one dictionary know of the world."""

    groups: dict[str, float]  # mean MCC of topics, registers, ...
    told: dict[str, float]  # the same if sentences count whose state nobody could know yet
    covered: int  # concepts with an MCC of .8 or better
    scored: int  # concepts in all
    distinct: int  # different features among the best ones
    assigned: float  # mean MCC when no two concepts may share a feature
    best: float  # mean MCC when they may
    split: float  # mean number of features with at least half the best one's MCC
    missed: float  # share of a special case's tokens where the general feature is silent
    absorbed: float  # and the special case's own feature fires instead
    detectors: list[Detector]
    absorptions: list[Absorption]


def recover(values: Float[Tensor, "token feature"], truth: HeldOut) -> Recovered:
    """Score a dictionary's values on the held-out documents' ordinary tokens."""
    pooled = pool(values, truth.sentence, len(truth.sentences.choosing))
    found = agreement(pooled, truth.sentences)
    best = detectors(pooled, truth.sentences, found)
    apart = assigned(pooled, truth.sentences, found)
    token = agreement(values, truth.tokens)
    swallowed = absorption(values, truth.tokens, token, children(truth.tokens.concepts))
    strict = detectors(pooled, truth.told, agreement(pooled, truth.told))
    return Recovered(
        told=grouped(strict, members(truth.told.concepts)),
        groups=grouped(best, members(truth.sentences.concepts)),
        covered=coverage(best),
        scored=len(best),
        distinct=len({one.feature for one in best}),
        assigned=mean([one.mcc for one in apart]),
        best=mean([one.mcc for one in best]),
        split=split(found).mean().item(),
        missed=mean([one.missed for one in swallowed]),
        absorbed=mean([one.absorbed for one in swallowed]),
        detectors=best,
        absorptions=swallowed,
    )


def members(concepts: Sequence[str]) -> dict[str, list[str]]:
    """The concepts of each group that has a target."""
    return {group: [c for c in concepts if c.startswith(f"{group}:")] for group in GROUPS}


def children(concepts: Sequence[str]) -> dict[str, list[str]]:
    """The two hierarchies: which concepts are special cases of another."""
    return {
        parent: [c for c in concepts if c.startswith(f"{parent}:")]
        for parent in ("animal", "colour")
        if parent in concepts
    }


def mean(numbers: Sequence[float]) -> float:
    """Arithmetic mean; NaN of nothing."""
    return sum(numbers) / len(numbers) if numbers else math.nan


@dataclass(frozen=True)
class Language:
    """How well the language model learnt the world."""

    loss: float  # nats a token on held-out documents, their end included
    floor: float  # the same of the generator itself: nobody can do better
    parsed: float  # share of sampled sentences that the exact parser accepts
    sentences: int

    @property
    def gap(self) -> float:
        return self.loss - self.floor


def language(
    model: Model, samples: Sequence[str], seed: int = 900_001, documents: int = 200
) -> Language:
    """Loss against the generator's entropy on held-out documents, and the grammar of `samples`."""
    tokenizer = model.tokenizer
    written = [document.text for document in world.documents(seed, documents)]
    bos = tokenizer.bos_token_id
    # The end of a document is predicted too: the generator pays for it as well.
    closed = [[bos, *tokenizer.encode(text, add_special_tokens=False), bos] for text in written]
    total, count = 0.0, 0
    for ids, inside in batches(closed, 64, frozenset()):
        total += next_token_losses(model, ids)[inside[:, 1:]].sum().item()
        count += int(inside[:, 1:].sum())
    floor = -sum(map(parse.log_prob, written))
    sentences = [sentence for text in samples for sentence in whole_sentences(text)]
    good = sum(map(parses, sentences))
    return Language(total / count, floor / count, good / max(1, len(sentences)), len(sentences))


# Labels

STATE_LABEL = 0.75  # MCC on sentences from which a feature may be named after a state
CLASS_LABEL = 0.8  # MCC on tokens from which a feature may be named after a class of words
WORD_LABEL = 0.7  # share of a feature's strongest tokens that must agree on a few words
WORDS = 3  # how many words a name may list
CROSSED = ("noun", "verb", "adjective", "adverb", "place", "determiner", "auxiliary")
HUMAN = {
    "mood:pos": "good mood",
    "mood:neutral": "neutral mood",
    "mood:neg": "bad mood",
    "register:plain": "plain speech",
    "register:pirate": "pirate speech",
    "register:archaic": "archaic speech",
    "register:robot": "robot log",
    "register:child": "child's speech",
    "register:headline": "headline",
    "register:vessi": "Vessi",
}


def human(concept: str) -> str:
    """A concept in words for people; of a class within a state, "sea: verb"."""
    if " & " in concept:
        return ": ".join(map(human, concept.split(" & ")))
    axis, _, value = concept.partition(":")
    if concept in HUMAN:
        return HUMAN[concept]
    if axis in ("tense", "person"):
        return f"{value} {axis}"
    return value.capitalize() if value and axis == "name" else value or axis


@dataclass(frozen=True)
class Label:
    """What a feature is called, and what that rests on; `concept` None: on its strongest tokens."""

    label: str
    concept: str | None = None
    mcc: float | None = None

    def to_json(self) -> dict[str, object]:
        return {key: value for key, value in asdict(self).items() if value is not None}


def labels(
    values: Float[Tensor, "token feature"], truth: HeldOut, shown: Mapping[int, str]
) -> dict[int, Label]:
    """Name the features whose meaning is clear; the others stay unnamed.

    `shown` says how a token id is written. Names are chosen on one half of the documents and kept
    only if they hold on the other.
    """
    pooled = pool(values, truth.sentence, len(truth.sentences.choosing))
    named: dict[int, Label] = {}
    by_sentence = named_after(pooled, truth.sentences, agreement(pooled, truth.sentences), True)
    by_token = named_after(values, truth.tokens, agreement(values, truth.tokens), False)
    both = crossed(truth.tokens)
    by_both = named_after(values, both, agreement(values, both), False) if both.concepts else {}
    words = torch.tensor([token for text in truth.texts for token in text[1:]])
    before = torch.tensor([token for text in truth.texts for token in text[:-1]])
    for feature in range(values.shape[1]):
        label = by_sentence.get(feature) or by_token.get(feature) or by_both.get(feature)
        label = label or after_tokens(values[:, feature], words, before, shown)
        if label:
            named[feature] = label
    return named


def is_state(concept: str) -> bool:
    """Whether a concept is a value of one of the axes, and not a class of words."""
    return concept.split(":")[0] in STATES and " & " not in concept


def crossed(truth: Evidence) -> Evidence:
    """The classes of words within each state: verbs of the sea, auxiliaries of the past."""
    index = {name: place for place, name in enumerate(truth.concepts)}
    pairs = {
        f"{state} & {group}": truth.truth[:, index[state]] & truth.truth[:, index[group]]
        for state in filter(is_state, truth.concepts)
        for group in CROSSED
        if group in index
    }
    seen = {
        name: both
        for name, both in pairs.items()
        if both[truth.choosing].any() and both[~truth.choosing].any()
    }
    table = torch.stack(list(seen.values()), 1) if seen else truth.truth[:, :0]
    return Evidence(tuple(seen), table, truth.choosing)


def named_after(
    values: Float[Tensor, "row feature"], truth: Evidence, found: Agreement, states: bool
) -> dict[int, Label]:
    """Features that agree with a concept, on the rows that had no say as well."""
    least = STATE_LABEL if states else CLASS_LABEL
    usable = torch.tensor([is_state(name) == states for name in truth.concepts])
    mcc = found.mcc.masked_fill(~usable[:, None], -1.0)
    named = {}
    for feature, (best, concept) in enumerate(zip(*mcc.max(0), strict=True)):
        if best >= least:
            one = detector(values, truth, found, int(concept), feature)
            if one.mcc >= least:
                named[feature] = Label(human(one.concept), one.concept, round(one.mcc, 3))
    return named


def after_tokens(
    values: Float[Tensor, " token"],
    words: Int[Tensor, " token"],
    before: Int[Tensor, " token"],
    shown: Mapping[int, str],
    strongest: int = 60,
) -> Label | None:
    """A name from the tokens on which a feature is strongest, or from those before them.

    The fewest words that make up most of them, at most `WORDS`.
    """
    if int((values > 0).sum()) < strongest:
        return None
    top = values.topk(strongest).indices
    sides = [
        (Counter(shown[token].strip() for token in tokens[top].tolist()), pattern)
        for tokens, pattern in ((words, "{}"), (before, "after {}"))
    ]
    for few in range(1, WORDS + 1):
        for said, pattern in sides:
            listed = said.most_common(few)
            agreed = sum(count for word, count in listed if word)
            if agreed >= WORD_LABEL * strongest:
                names = [f"“{word}”" for word, _ in listed if word]
                return Label(pattern.format(", ".join(names)))
    return None


def encoded(sae: SAE, x: Float[Tensor, "token d_model"]) -> Float[Tensor, "token feature"]:
    """All values of an SAE on the held-out tokens: small enough in the demo to be held densely."""
    with torch.inference_mode():
        return torch.cat([sae.encode(tile) for tile in torch.split(x, 8192)])
