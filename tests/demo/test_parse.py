"""The parser agrees with the generator: what it accepts, what it finds probable, what it knows."""

import math
import random
from collections import Counter

import numpy as np
import pytest

from sae_widgets.demo import parse, world
from sae_widgets.demo.grammar import (
    ANY,
    AXES,
    Choice,
    Leaf,
    Node,
    Past,
    Sequence,
    by,
    pick,
    weigh,
)
from sae_widgets.demo.spelling import read

DOCUMENTS = list(world.documents(seed=6, n=30))


def test_every_generated_sentence_parses() -> None:
    for document in DOCUMENTS[:8]:
        said = parse.sentences(document.text)
        assert len(said) == len(document.states)
        for sentence in said:
            assert parse.parses(sentence), sentence


@pytest.mark.parametrize(
    "sentence",
    [
        "Felix tasted the lovely soup.",
        "I hauled the dreadful net in the harbour.",
        "The nets were awful at dusk.",
        '"The roses were splendid," Lily happily said.',
        "Ahoy, me captains gladly haul an anchor, matey!",
        "Breaking: captain happily hauled anchor on beach.",
        "3) Did Mira happily haul the net?",
    ],
)
def test_right_sentences_parse(sentence: str) -> None:
    assert parse.parses(sentence)


@pytest.mark.parametrize(
    ("sentence", "wrong"),
    [
        ("Felix taste the lovely soup.", "agreement"),
        ("I hauls the lovely net.", "agreement"),
        ("The nets was awful at dusk.", "number"),
        ("Many net were awful at dusk.", "number"),
        ("Felix will tastes the lovely soup.", "form after an auxiliary"),
        ("Did Mira happily hauled the net?", "form in a question"),
        ("Felix tasted an lovely soup.", "article"),
        ("Felix tasted a awful soup.", "article"),
        ("Felix the lovely soup.", "no verb"),
        ("Soup tasted the lovely Felix the.", "order"),
        ("felix tasted the lovely soup.", "capital"),
        ("Felix tasted the lovely soup", "no end"),
        ("Felix tasted the lovely dog.", "no such word"),
        ('"The roses were splendid, Lily happily said.', "quotation not closed"),
        ("Mira and Mira", "fragment"),
        ("", "nothing"),
        ("é🙂", "not of this world"),
        # Register, tense and person are those of one state.
        ("Ahoy, captain happily hauled anchor on beach.", "a headline's articles in pirate speech"),
        ("Felix tastes the soup, and everyone smiled.", "two tenses"),
    ],
)
def test_wrong_sentences_do_not(sentence: str, wrong: str) -> None:
    assert not parse.parses(sentence), wrong


def test_shuffled_words_do_not_parse() -> None:
    rng = random.Random(0)
    parsed = tried = 0
    for document in DOCUMENTS[:4]:
        for sentence in parse.sentences(document.text):
            words = sentence.rstrip(".!?").split()
            rng.shuffle(words)
            tried += 1
            parsed += parse.parses(" ".join(words) + ".")
    assert parsed / tried < 0.03


def every(node: Node, state: dict[str, str]) -> list[tuple[tuple[str, ...], float]]:
    """All that a small grammar can say in one state, with its probability, by brute force."""
    if isinstance(node, Leaf):
        return [((node.text,), 1.0)]
    if isinstance(node, Sequence):
        found: list[tuple[tuple[str, ...], float]] = [((), 1.0)]
        for part in node.parts:
            found = [(a + b, p * q) for a, p in found for b, q in every(part, state)]
        return found
    assert isinstance(node, Choice)
    odds = node.odds[state[node.axis] if node.axis else ANY]
    return [
        (words, share * p)
        for option, share in zip(node.options, odds, strict=True)
        for words, p in every(option, state)
    ]


def leaf(text: str) -> Leaf:
    return Leaf(text, frozenset())


def test_reading_a_small_ambiguous_grammar_gives_the_sum_over_its_derivations() -> None:
    tense = by("tense", {"past": leaf("was"), "else": pick((3, leaf("is")), (1, leaf("was")))})
    # "a a" can be one option or two; "was" can be said in every tense.
    noun = pick((2, leaf("a")), (1, Sequence((leaf("a"), leaf("a")))), (1, leaf("b")))
    maybe = weigh("mood", ({"pos": 1, "else": 3}, leaf("a")), ({"else": 2}, Sequence(())))
    root = Sequence((noun, maybe, tense, pick(maybe, noun)))
    for state in (
        {"topic": "sea", "mood": "pos", "register": "plain", "tense": "past", "person": "first"},
        {"topic": "city", "mood": "neg", "register": "child", "tense": "future", "person": "third"},
    ):
        chances = Counter[tuple[str, ...]]()
        for words, chance in every(root, state):
            chances[words] += chance
        assert sum(chances.values()) == pytest.approx(1)
        at = tuple(values.index(state[axis]) for axis, values in AXES.items())
        for words, chance in chances.items():
            reading = parse._Reading(list(words), Past(), exact=True)
            ends = reading.follow(root, 0, np.ones(parse.GRID))
            mass = ends.get(len(words), np.zeros(parse.GRID))
            assert mass[at] == pytest.approx(chance), words


def test_the_probability_of_a_beginning_is_its_frequency() -> None:
    count = 250
    seen = Counter(document.words[0].text for document in world.documents(seed=8, n=count))
    beginnings = {d.words[0].text for d in DOCUMENTS}
    assert len(beginnings) > 8
    for word in beginnings:
        reading = parse._Reading(read(word), Past(), exact=True)
        reading.follow(world.ROOTS["first"], 0, parse._prior())
        chance = float(reading.upto[0].sum())
        spread = math.sqrt(chance * (1 - chance) / count)
        assert abs(seen[word] / count - chance) < 4 * spread, word


def test_probabilities_of_states_are_calibrated() -> None:
    """Of what is believed with probability p, a share p is true: on average, sum p^2."""
    right = expected = variance = 0.0
    for document in DOCUMENTS:
        opening = [w.text for w, k in zip(document.words, document.sentence, strict=True) if k == 0]
        reading = parse._Reading(read("".join(opening)), Past(), exact=True)
        reading.follow(world.ROOTS["first"], 0, parse._prior())
        mass = reading.upto[min(2, len(opening) - 1)]
        belief = mass.sum(axis=(1, 2, 3, 4)) / mass.sum()
        right += belief[world.TOPICS.index(document.states[0].topic)]
        expected += float((belief**2).sum())
        variance += float((belief**3).sum() - (belief**2).sum() ** 2)
    assert abs(right - expected) < 4 * math.sqrt(variance) + 1e-9


def test_a_text_the_world_cannot_write_has_no_probability() -> None:
    text = DOCUMENTS[0].text
    assert -500 < parse.log_prob(text) < -50
    cut = " ".join(parse.sentences(text)[:-1])
    assert parse.log_prob(cut) == -math.inf  # it does not end there
    assert parse.log_prob(text.replace(".", " .")) == -math.inf
    assert parse.log_prob("") == -math.inf
    assert parse.log_prob("The cat sat on the mat.") == -math.inf


def test_who_is_mentioned_next_hangs_on_who_was() -> None:
    def odds(past: Past, kind: str = "name", topic: str = "sea") -> dict[str, float]:
        choice = world.offers(kind, past)
        words = [option.text for option in choice.options if isinstance(option, Leaf)]
        return dict(zip(words, choice.odds[topic], strict=True))

    new = odds(Past())
    # Mira and Jonah are of the sea and share .7; the other ten share .3.
    assert (new["Mira"], new["Felix"]) == (pytest.approx(0.35), pytest.approx(0.03))
    met = odds(Past(cast=("Felix",), recent="Felix"))
    assert (met["Felix"], met["Mira"]) == (pytest.approx(0.6), pytest.approx(0.4 * 0.35))
    assert odds(Past(cast=("Felix",), recent="Felix", here=("Felix",)))["Felix"] == 0
    both = odds(Past(cast=("Felix", "Mira"), recent="Mira", here=("Mira",)))
    assert both == dict.fromkeys(both, 0.0) | {"Felix": 1.0}
    she = odds(Past(cast=("Mira",), recent="Mira"), kind="who")
    assert (she["she"], she["he"]) == (0.35, 0.0)


def test_share_counts_the_words_that_one_topic_owns() -> None:
    text = "Mira hauled the anchor. The wave was lovely. The chefs tasted soup. Gari zeko."
    # hauled, anchor: sea; chefs, tasted, soup: kitchen; a wave is of the sea and of space.
    owned = [world.EXCLUSIVE.get(word) for word in ("gari", "zeko")]
    assert parse.share(text, "sea") == (2 + owned.count("sea"), 5 + sum(map(bool, owned)))
    assert parse.share(text, "kitchen")[0] == 3 + owned.count("kitchen")
    with pytest.raises(ValueError, match="topic='sae'"):
        parse.share(text, "sae")


def test_states_are_known_only_once_the_text_gives_them_away() -> None:
    rng = random.Random(3)
    document = world.document(rng, topic="music", register="pirate", tense="future", mood="neg")
    known = parse.known(document)
    assert len(known) == len(document.words)
    assert not any(label.startswith("topic:") for label in known[0])
    assert {"topic:music", "register:pirate", "tense:future", "mood:neg"} <= known[-1]


def test_known_states_are_true() -> None:
    wrong = labels = 0
    for document in DOCUMENTS[:4]:
        for known, place in zip(parse.known(document), document.sentence, strict=True):
            truth = {f"{axis}:{getattr(document.states[place], axis)}" for axis in AXES}
            wrong += len(known - truth)
            labels += len(known)
    assert wrong / labels < 0.04  # each is at least nine tenths certain, most are surer


def test_allowed_classes_follow_the_grammar() -> None:
    for document in DOCUMENTS[:1]:
        allowed = parse.allowed(document)
        places = zip(document.sentence, document.sentence[1:], strict=False)
        for i, (here, there) in enumerate(places):
            following = document.words[i + 1].labels & set(world.CONCEPTS)
            lexical = {"noun", "verb", "adjective", "determiner", "preposition", "punctuation"}
            if here == there:
                assert following & lexical <= allowed[i], document.words[i : i + 2]
