"""Does one direction steer the demo model? Every sentence written is read by an exact parser.

An arm adds a direction while it writes, strongly at first and then less and less: once a text is
about something, what it says keeps it there, and a push that goes on breaks its grammar. What it
writes is scored by the share of topic-exclusive words that are the target's, by the share of
sentences that parse, and by how much less likely the unsteered model finds it. Direction and
strength are chosen on one set of prompts and random numbers and reported on another.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import torch

from sae_widgets.demo import parse, world
from sae_widgets.model import Model
from sae_widgets.sae import SAE
from sae_widgets.steering.arms import Arm
from sae_widgets.steering.edits import Add
from sae_widgets.steering.generation import generate
from sae_widgets.steering.schedules import Decay
from sae_widgets.training.activations import batches
from sae_widgets.training.quality import next_token_losses

AXES = ("topic", "register", "mood", "tense")
STRENGTHS = (0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 1.05, 1.2)  # mean norms, at the first token
# Each topic's first choice at one strength for all, share of the topic's words and of sentences
# that parse, topics of 10 with .85 of both: halved every 12 tokens from the first written one on
# .87 .88 5; every 5 .76 .83 0; every 40 .83 .83 2; every 14 from the prompt's first on .80 .89 2;
# only in the prompt .27 .90 0. A constant push of an earlier model: .83 .82 2.
FADING = Decay(12)
PARSED = 0.88  # what a chosen strength must keep while choosing: a margin over the target of .85
LENGTH = 48  # tokens written
PROMPT_SEED = 910_001
COMPOSITIONS = (
    ("topic:space", "register:pirate", "mood:neg"),
    ("topic:garden", "register:robot", "mood:pos"),
    ("topic:castle", "register:child", "mood:neg"),
    ("topic:music", "register:archaic", "mood:pos"),
)
SHRINK = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # all strengths of a composition are scaled together


@dataclass(frozen=True)
class Occasion:
    """One prompt, as token ids, and the random numbers to continue it with."""

    prompt: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Written:
    """What an arm wrote over all occasions: prompt and continuation, as texts and as ids."""

    texts: tuple[str, ...]
    continued: tuple[str, ...]  # the same without the prompt
    ids: tuple[tuple[int, ...], ...]
    prompts: tuple[int, ...]  # length of each prompt in tokens

    def nll(self, model: Model) -> float:
        """Nats a token of the continuations under the model as it is, unsteered."""
        total, count = 0.0, 0
        start = iter(self.prompts)
        for ids, inside in batches(self.ids, 256, frozenset()):
            places = torch.arange(1, ids.shape[1])
            first = torch.tensor([next(start) for _ in range(len(ids))])
            counted = inside[:, 1:] & (places >= first[:, None])
            total += next_token_losses(model, ids)[counted].sum().item()
            count += int(counted.sum())
        return total / max(count, 1)


@dataclass(frozen=True)
class Score:
    """share: of topic-exclusive words, the target's. parsed: of sentences. surprise: extra nats."""

    share: float
    parsed: float
    words: int
    sentences: int
    surprise: float = float("nan")


@dataclass(frozen=True)
class Choice:
    """A direction and how strongly to add it, in mean norms; `feature` None: not a feature."""

    concept: str
    direction: int | torch.Tensor
    strength: float
    score: Score

    @property
    def edit(self) -> Add:
        return push(self.direction, self.strength)


def push(direction: int | torch.Tensor, strength: float) -> Add:
    """The edit that every trial makes."""
    return Add(direction, strength, unit="norm", where="generated", schedule=FADING)


# What a prompt must not give away: a topic, nor (characters favour topics) who is in it, nor how
# it will be told. Most tell a mood: whoever steers towards another steers against the prompt.
TELLING = {"name", "register word", "time", "list", "letter", "quote"}


def occasions(tokenizer: Any, prompts: int, seeds: int, *, scoring: bool) -> list[Occasion]:
    """Beginnings of documents that say nothing of a topic yet, each with several seeds.

    No prompt and no seed is used both for choosing and for scoring.
    """
    found: list[tuple[int, ...]] = []
    for document in world.documents(PROMPT_SEED, 1000 * prompts):
        words = document.words[:4]
        labels = {label for word in words for label in word.labels}
        if labels & TELLING or any(label.startswith("topic:") for label in labels):
            continue
        if document.states[0].register == "vessi":
            continue
        text = "".join(word.text for word in words)
        ids = (tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False))
        if ids not in found:
            found.append(ids)
        if len(found) == 2 * prompts:
            break
    first = 1000 if scoring else 0
    return [Occasion(ids, first + n) for n in range(seeds) for ids in found[scoring::2]]


def write(
    model: Model,
    sae: SAE,
    tokenizer: Any,
    arms: Sequence[Arm],
    when: Sequence[Occasion],
    length: int = LENGTH,
) -> list[Written]:
    """Let every arm continue on every occasion, all arms of an occasion in one batch."""
    texts: list[list[str]] = [[] for _ in arms]
    continued: list[list[str]] = [[] for _ in arms]
    rows: list[list[tuple[int, ...]]] = [[] for _ in arms]
    for occasion in when:
        run = generate(
            model,
            sae,
            list(occasion.prompt),
            arms,
            max_new_tokens=length,
            temperature=1.0,
            seed=occasion.seed,
        )
        for arm, tokens in enumerate(run.tokens):
            ids = (*occasion.prompt, *tokens)
            rows[arm].append(ids)
            texts[arm].append(tokenizer.decode(ids, skip_special_tokens=True))
            continued[arm].append(tokenizer.decode(tokens, skip_special_tokens=True))
    prompts = tuple(len(occasion.prompt) for occasion in when)
    return [
        Written(tuple(texts[i]), tuple(continued[i]), tuple(rows[i]), prompts)
        for i in range(len(arms))
    ]


def whole_sentences(text: str) -> list[str]:
    """The sentences of a text without a last one that was cut off."""
    return [one for one in parse.sentences(text) if one.rstrip('"').endswith((".", "!", "?"))]


@lru_cache(maxsize=200_000)
def parses(sentence: str) -> bool:
    """`parse.parses`, remembered: arms that differ little write many sentences twice."""
    return parse.parses(sentence)


def score(written: Written, concept: str) -> Score:
    """How much of the text is the concept's ("topic:sea"), and how much of it is well formed."""
    share, words = share_of(written, concept)
    return Score(share, words=words, **well_formed(written))


def share_of(written: Written, concept: str) -> tuple[float, int]:
    """Of the words that betray a value of the concept's axis, the concept's; and how many.

    For topics these are the words that one topic owns.
    """
    axis, _, value = concept.partition(":")
    if axis == "topic":
        counts = [parse.share(text, value) for text in written.continued]
        hits, words = (sum(column) for column in zip(*counts, strict=True))
    else:
        said = betrayed(written.continued, axis)
        hits, words = said[value], said.total()
    return hits / max(words, 1), words


def well_formed(written: Written) -> dict[str, Any]:
    """How many sentences there are, a cut-off last one aside, and what share of them parses."""
    sentences = [sentence for text in written.texts for sentence in whole_sentences(text)]
    good = sum(map(parses, sentences))
    return {"parsed": good / max(len(sentences), 1), "sentences": len(sentences)}


def choose(
    model: Model,
    sae: SAE,
    tokenizer: Any,
    candidates: Mapping[str, Sequence[int | torch.Tensor]],
    when: Sequence[Occasion],
    strengths: Sequence[float] = STRENGTHS,
) -> dict[str, Choice]:
    """For each concept, the candidate and strength that serve it best, as `best` has it."""
    plan = [
        (concept, direction, strength)
        for concept, directions in candidates.items()
        for direction in directions
        for strength in strengths
    ]
    arms = [
        Arm(str(i), (push(direction, strength),)) for i, (_, direction, strength) in enumerate(plan)
    ]
    results = write(model, sae, tokenizer, arms, when)
    tried: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for number, (entry, written) in enumerate(zip(plan, results, strict=True)):
        tried[entry[0]].append((share_of(written, entry[0])[0], number))
    return {
        concept: best(concept, sorted(found, reverse=True), plan, results)
        for concept, found in tried.items()
    }


def best(
    concept: str,
    found: Sequence[tuple[float, int]],
    plan: Sequence[tuple[str, int | torch.Tensor, float]],
    results: Sequence[Written],
) -> Choice:
    """Of those that parse well enough, the one whose share and parsing are both large.

    What counts is the smaller of the two; where nothing parses well enough, the parsing. `found`
    comes with the largest share first, so that most of what was written need not be parsed, which
    is what takes time.
    """
    chosen: Choice | None = None
    worth = (False, 0.0)
    for share, number in found:
        if worth[0] and share <= worth[1]:
            break
        _, direction, strength = plan[number]
        here = Choice(concept, direction, strength, score(results[number], concept))
        parsed = here.score.parsed
        enough = here.score.sentences > 0 and parsed >= PARSED
        rank = (enough, min(share, parsed) if enough else parsed)
        if chosen is None or rank > worth:
            chosen, worth = here, rank
    assert chosen is not None
    return chosen


def report(
    model: Model,
    sae: SAE,
    tokenizer: Any,
    choices: Mapping[str, Choice],
    when: Sequence[Occasion],
) -> tuple[dict[str, Choice], dict[str, Written], Written]:
    """Score the choices on occasions that had no say in them; also what the model writes alone."""
    arms = [
        Arm("alone", ()),
        *(Arm(concept, (choice.edit,)) for concept, choice in choices.items()),
    ]
    alone, *steered = write(model, sae, tokenizer, arms, when)
    usual = alone.nll(model)
    scored = {}
    for (concept, choice), written in zip(choices.items(), steered, strict=True):
        surprise = written.nll(model) - usual
        scored[concept] = replace(choice, score=replace(score(written, concept), surprise=surprise))
    return scored, dict(zip(choices, steered, strict=True)), alone


@cache
def markers(axis: str, documents: int = 3000, purity: float = 0.98) -> dict[str, str]:
    """Words that betray one value of an axis: said under it `purity` of the time, and often."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for document in world.documents(seed=77, n=documents):
        for word, place in zip(document.words, document.sentence, strict=True):
            seen[plain(word.text)][getattr(document.states[place], axis)] += 1
    return {
        word: value
        for word, counts in seen.items()
        for value, count in counts.most_common(1)
        if word and count >= 10 and count / counts.total() >= purity
    }


def plain(word: str) -> str:
    """A word without spaces, capitals or punctuation."""
    return re.sub(r"[^\w']", "", word).lower()


def betrayed(texts: Iterable[str], axis: str) -> Counter[str]:
    """How many words betray each value of `axis`."""
    table = markers(axis)
    return Counter(
        table[word] for text in texts for word in map(plain, text.split()) if word in table
    )


def mixture(texts: Iterable[str], axis: str) -> dict[str, float]:
    """Of the words that betray a value of `axis`, the share of each value."""
    counts = betrayed(texts, axis)
    total = max(1, counts.total())
    return {value: count / total for value, count in counts.items()}


def spill(steered: Written, alone: Written, target_axis: str) -> float:
    """Selectivity: the largest change of any value's share on the axes that were not targets."""
    changes = [
        abs(after.get(value, 0.0) - before.get(value, 0.0))
        for axis in AXES
        if axis != target_axis
        for before, after in [(mixture(alone.continued, axis), mixture(steered.continued, axis))]
        for value in {*before, *after}
    ]
    return max(changes, default=0.0)


def compose(
    model: Model,
    sae: SAE,
    tokenizer: Any,
    chosen: Mapping[str, Choice],
    choosing: Sequence[Occasion],
    scoring: Sequence[Occasion],
) -> dict[str, dict[str, object]]:
    """Steer towards a topic, a register and a mood at once, each with its own feature.

    The common factor is the one whose weakest share is largest while four fifths parse.
    """
    plan = [
        (parts, factor)
        for parts in COMPOSITIONS
        if all(part in chosen for part in parts)
        for factor in SHRINK
    ]
    arms = [Arm(str(i), _together(chosen, *entry)) for i, entry in enumerate(plan)]
    best: dict[tuple[str, ...], tuple[tuple[bool, float], float]] = {}
    for (parts, factor), written in zip(
        plan, write(model, sae, tokenizer, arms, choosing) if arms else [], strict=True
    ):
        scores = [score(written, part) for part in parts]
        enough = scores[0].parsed >= 0.8
        weakest = min(one.share for one in scores)
        key = (enough, weakest if enough else scores[0].parsed)
        if parts not in best or key > best[parts][0]:
            best[parts] = (key, factor)
    arms = [
        Arm(" + ".join(parts), _together(chosen, parts, factor))
        for parts, (_, factor) in best.items()
    ]
    results = write(model, sae, tokenizer, arms, scoring) if arms else []
    return {
        arm.name: {
            "factor": best[parts][1],
            "shares": {part: score(written, part).share for part in parts},
            "parsed": score(written, parts[0]).parsed,
            "example": written.texts[0],
        }
        for arm, parts, written in zip(arms, best, results, strict=True)
    }


def _together(chosen: Mapping[str, Choice], parts: Sequence[str], factor: float) -> tuple[Add, ...]:
    return tuple(push(chosen[part].direction, factor * chosen[part].strength) for part in parts)
