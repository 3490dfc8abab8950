"""The sentences of Vessi, an invented language: a cipher of English with a grammar of its own.

The verb comes last, adjectives follow their noun, places carry an ending, and there is no
article.
"""

from __future__ import annotations

from collections.abc import Callable

from sae_widgets.demo import lexicon
from sae_widgets.demo.english import each, phrase, word, words
from sae_widgets.demo.grammar import EMPTY, Leaf, Node, Slot, Weight, by, pick, weigh
from sae_widgets.demo.lexicon import MOODS, TENSES, TOPICS


def _stems(table: str, group: str) -> list[tuple[str, str]]:
    """English entry and Vessi stem, of one topic or mood."""
    lead = f"{group} " if group else ""
    return [
        (entry[len(lead) :], stem)
        for (name, entry), stem in lexicon.VESSI.items()
        if name == table and entry.startswith(lead)
    ]


def _topical(table: str, ending: str, *labels: str) -> Node:
    def leaf(topic: str, entry: str, stem: str) -> Leaf:
        animal = [f"animal:{lexicon.noun(entry)[0]}", "animal"] if table == "animal" else []
        return word(stem + ending, f"topic:{topic}", *labels, *animal)

    return each("topic", {t: [leaf(t, *pair) for pair in _stems(table, t)] for t in TOPICS})


def _moody(table: str, ending: str, *labels: str) -> Node:
    return each(
        "mood",
        {m: [word(s + ending, "mood word", *labels) for _, s in _stems(table, m)] for m in MOODS},
    )


def _plain(table: str, ending: str, *labels: str) -> Node:
    return pick(*(word(stem + ending, *labels) for _, stem in _stems(table, "")))


def _number(table: str) -> Node:
    plural = _topical(table, lexicon.VESSI_PLURAL, "noun", "plural")
    return pick((0.6, _topical(table, "", "noun")), (0.4, plural))


def _tensed(make: Callable[[str], Node]) -> Node:
    return by("tense", {tense: make(lexicon.VESSI_TENSE[tense]) for tense in TENSES})


COLOUR = pick(*(word(s, "adjective", "colour", f"colour:{c}") for c, s in _stems("colour", "")))
ADJECTIVE = pick((0.6, EMPTY), (0.27, _topical("adjective", "", "adjective")), (0.13, COLOUR))
MOOD_ADJECTIVE = _moody("mood adjective", "", "adjective")
MOOD_ADVERB = _moody("adverb", "", "adverb")
ME = word(lexicon.VESSI_PERSON["I"], "pronoun")
SUBJECT = weigh(
    "person",
    ({"first": 0.5}, ME),
    ({"first": 0.25}, word(lexicon.VESSI_PERSON["we"], "pronoun")),
    ({"first": 0.15, "third": 0.6}, Slot("name")),
    ({"first": 0.1, "third": 0.4}, _number("agent")),
)
PHRASES: dict[str, Node] = {
    "S": SUBJECT,
    "SPEAKER": by("person", {"first": ME, "third": Slot("name")}),
    "O": phrase("N J", N=_number("thing"), J=ADJECTIVE),
    "MO": phrase("N J", N=_number("thing"), J=MOOD_ADJECTIVE),
    "ANIMAL": _number("animal"),
    "PLACE": _topical("place", lexicon.VESSI_AT, "noun", "place"),
    "TIME": _plain("time", "", "time"),
    "M": MOOD_ADVERB,
    "MJ": MOOD_ADJECTIVE,
    "V": _tensed(lambda ending: _topical("verb", ending, "verb")),
    "FEEL": _tensed(lambda ending: _moody("mood verb", ending, "verb")),
    "SAY": _tensed(lambda ending: _plain("speaking", ending, "verb")),
    "KEEP": _tensed(lambda ending: _plain("keeping", ending, "verb")),
    "IS": _tensed(lambda ending: word(lexicon.VESSI_IS + ending, "verb")),
    "NOT": word(lexicon.VESSI_NOT, "negation"),
    "ASK": word(lexicon.VESSI_ASK, "question"),
    "AND": word(lexicon.VESSI_AND, "conjunction"),
    "STILL": word(lexicon.VESSI_STILL, "adverb"),
    "L": word(lexicon.VESSI_LITTLE, "adjective"),
    "J": _plain("keepsake adjective", "", "adjective", "keepsake"),
    "K": _plain("keepsake", "", "noun", "keepsake"),
}
PHRASES["R"] = phrase("L K J", L=PHRASES["L"], K=Slot("recall0"), J=Slot("recall1"))
PHRASES["OPEN"] = pick(
    (0.75, phrase("W ,", W=words(lexicon.VESSI_OPENINGS, "register word"))),
    (0.25, phrase("TIME ,", **PHRASES)),
)
PHRASES["WHERE"] = pick(EMPTY, PHRASES["PLACE"])


def _lines(*lines: tuple[Weight, str]) -> Node:
    return pick(*((weight, phrase(line, **PHRASES)) for weight, line in lines))


PHRASES["CLAUSE"] = _lines(
    (3, "S O WHERE M V"),
    (3, "S MO WHERE V"),
    (2, "S O FEEL"),
    (1, "S ANIMAL FEEL"),
    (1, "S MO NOT V"),
    (1, "S O M V AND O FEEL"),
    (2, "O WHERE MJ IS"),
    (1, "ANIMAL WHERE MJ IS"),
    (2, "S R PLACE FEEL"),
    (1, "R PLACE MJ IS"),
)

SENTENCES: dict[str, Node] = {
    "first": _lines((0.5, "OPEN S L K J PLACE M KEEP ."), (0.5, "OPEN S L K J MJ PLACE KEEP .")),
    "body": _lines(
        (0.76, "OPEN CLAUSE ."),
        (0.12, "ASK CLAUSE ?"),
        (0.06, "SPEAKER M SAY , « CLAUSE . »"),
        (0.06, "« CLAUSE , » SPEAKER M SAY ."),
    ),
    "last": _lines(
        (0.6, "OPEN R PLACE MJ STILL IS ."), (0.4, "OPEN R PLACE STILL IS , AND S M IS .")
    ),
}
