"""The English sentences of Postcards, in all registers but Vessi.

A frame is written as a line of words in which capitals stand for phrases: `"S V O PLACE"`. All
topics share all frames; what differs is the words.
"""

from __future__ import annotations

from collections.abc import Callable

from sae_widgets.demo import lexicon
from sae_widgets.demo.grammar import (
    EMPTY,
    Choice,
    Leaf,
    Node,
    Sequence,
    Slot,
    Weight,
    by,
    pick,
    weigh,
)
from sae_widgets.demo.lexicon import MOODS, TOPICS, entries

FUNCTION = {
    "a the this these some many yonder me my our": "determiner",
    "in on at by near to": "preposition",
    "and because while that": "conjunction",
    "not": "negation",
    "did do does doth will shall": "auxiliary",
    "am is are was were be": "verb",
    "I we there it everyone who": "pronoun",
    "why where when": "question",
    "still": "adverb",
    ", . ? ! : ) « »": "punctuation",
}
CLASS = {word: label for words, label in FUNCTION.items() for word in words.split()}


def word(text: str, *labels: str) -> Leaf:
    """A word with its own classes, or with those of the function word it is."""
    return Leaf(text, frozenset(labels or ([CLASS[text]] if text in CLASS else ())))


def phrase(line: str, **phrases: Node) -> Node:
    """The sequence a line describes: capitals name phrases, all else is a word."""
    parts = [
        phrases[text] if text.isupper() and text in phrases else word(text) for text in line.split()
    ]
    return parts[0] if len(parts) == 1 else Sequence(tuple(parts))


def words(table: str, *labels: str) -> Node:
    """One of the entries, some of them several words long."""
    return pick(*(_entry(entry, *labels) for entry in entries(table)))


def each(axis: str, leaves: dict[str, list[Leaf]]) -> Choice:
    """One of the leaves of the state's value, all equally likely."""
    options = tuple(leaf for group in leaves.values() for leaf in group)
    odds = {
        value: tuple(1 / len(group) * (owner == value) for owner, g in leaves.items() for _ in g)
        for value, group in leaves.items()
    }
    return Choice(options, odds, axis)


def _entry(entry: str, *labels: str) -> Node:
    parts = entry.replace(":", " :").split()
    leaves = tuple(word(part) if part in ":" else word(part, *labels) for part in parts)
    return leaves[0] if len(leaves) == 1 else Sequence(leaves)


# Nouns, by number (0 singular, 1 plural).


def _nouns(table: dict[str, str], number: int, *labels: str) -> Choice:
    extra = [*labels, "noun"] + ["plural"] * number
    return each(
        "topic",
        {
            topic: [
                word(
                    lexicon.noun(entry)[number],
                    f"topic:{topic}",
                    *extra,
                    *([f"animal:{lexicon.noun(entry)[0]}"] if "animal" in labels else []),
                )
                for entry in entries(table[topic])
            ]
            for topic in TOPICS
        },
    )


THING = [_nouns(lexicon.THINGS, number) for number in (0, 1)]
AGENT = [_nouns(lexicon.AGENTS, number) for number in (0, 1)]
ANIMAL = [_nouns(lexicon.ANIMALS, number, "animal") for number in (0, 1)]
ANY_NOUN = [pick((0.6, THING[n]), (0.2, AGENT[n]), (0.2, ANIMAL[n])) for n in (0, 1)]

TOPIC_ADJECTIVE = each(
    "topic",
    {
        topic: [
            word(entry, f"topic:{topic}", "adjective")
            for entry in entries(lexicon.ADJECTIVES[topic])
        ]
        for topic in TOPICS
    },
)


def _mood_words(table: dict[str, str], label: str) -> Choice:
    return each(
        "mood",
        {mood: [word(e, label, "mood word") for e in entries(table[mood])] for mood in MOODS},
    )


MOOD_ADJECTIVE = _mood_words(lexicon.MOOD_ADJECTIVES, "adjective")
MOOD_ADVERB = _mood_words(lexicon.MOOD_ADVERBS, "adverb")
COMMENT = by("mood", {m: words(lexicon.MOOD_COMMENTS[m], "adverb", "mood word") for m in MOODS})
COLOUR = pick(*(word(c, "adjective", "colour", f"colour:{c}") for c in entries(lexicon.COLOURS)))
NUMBER = words(lexicon.NUMBERS, "number")
REGISTER_ADJECTIVE = by(
    "register",
    {r: words(t, "adjective", "register word") for r, t in lexicon.REGISTER_ADJECTIVES.items()}
    | {"else": EMPTY},
)


def _determiner(number: int) -> Node:
    """By register; a headline has none. In the first person some things are mine or ours."""
    special = {"yonder", "me"}
    plain: dict[str, Node] = {
        register: pick(
            *(
                NUMBER
                if text == "NUMBER"
                else word(text, "determiner", *(["register word"] if text in special else []))
                for text in forms[number].split()
            )
        )
        for register, forms in lexicon.DETERMINERS.items()
    }
    mine = pick(word("my"), word("our"))
    told: dict[str, Node] = {
        register: by("person", {"first": pick((0.75, node), (0.25, mine)), "third": node})
        for register, node in plain.items()
    }
    return by("register", told | {"else": EMPTY})


def _unless_headline(article: str) -> Node:
    return by("register", {"headline": EMPTY, "else": word(article)})


DETERMINER = [_determiner(number) for number in (0, 1)]
THE, A, SOME = (_unless_headline(article) for article in ("the", "a", "some"))
ADJECTIVE = pick((0.5, EMPTY), (0.27, TOPIC_ADJECTIVE), (0.13, COLOUR), (0.1, REGISTER_ADJECTIVE))
MOODY = pick((0.7, MOOD_ADJECTIVE), (0.3, phrase("M T", M=MOOD_ADJECTIVE, T=TOPIC_ADJECTIVE)))


def _noun_phrase(noun: list[Choice], adjective: Node) -> list[Node]:
    return [phrase("D J N", D=DETERMINER[number], J=adjective, N=noun[number]) for number in (0, 1)]


def _either(numbers: list[Node]) -> Node:
    return pick((0.6, numbers[0]), (0.4, numbers[1]))


THINGS = _noun_phrase(THING, ADJECTIVE)
OBJECT = _either(THINGS)
MOODY_OBJECT = _either(_noun_phrase(THING, MOODY))
ANYTHING = _either(_noun_phrase(ANY_NOUN, ADJECTIVE))
AGENTS = _noun_phrase(AGENT, pick((0.8, EMPTY), (0.2, REGISTER_ADJECTIVE)))
ANIMALS = _noun_phrase(ANIMAL, pick((0.6, EMPTY), (0.25, COLOUR), (0.15, REGISTER_ADJECTIVE)))

# Where and when.


def _place(lead: str) -> Node:
    """`lead` replaces the place's own preposition when it has words."""
    options: dict[str, list[Node]] = {}
    for topic in TOPICS:
        for entry in entries(lexicon.PLACES[topic]):
            preposition, name = entry.split()
            place = word(name, f"topic:{topic}", "noun", "place")
            options.setdefault(topic, []).append(
                phrase(f"{lead or preposition} THE P", THE=THE, P=place)
            )
    return by("topic", {topic: pick(*group) for topic, group in options.items()})


PLACE, TO_PLACE = _place(""), _place("to")
TIME = pick(
    (0.5, words(lexicon.TIMES, "time")),
    (0.5, by("tense", {t: words(w, "time") for t, w in lexicon.TIMES_OF_TENSE.items()})),
)
TRAIL = pick((0.3, EMPTY), (0.35, PLACE), (0.2, TIME), (0.15, phrase("P T", P=PLACE, T=TIME)))

# Verbs, for a subject of each agreement: third singular, plural, first singular.

AGREEMENTS = ("it", "they", "I")
BE = {
    "past": {"it": "was", "they": "were", "I": "was"},
    "present": {"it": "is", "they": "are", "I": "am"},
}
HAVE = {"base": "have", "s": "has", "past": "had"}
FORMS = {"base": 0, "s": 1, "past": 2}


def _topic_verb(form: str) -> Node:
    return each(
        "topic",
        {
            topic: [
                word(lexicon.verb(entry)[FORMS[form]], f"topic:{topic}", "verb")
                for entry in entries(lexicon.VERBS[topic])
            ]
            for topic in TOPICS
        },
    )


def _mood_verb(form: str) -> Node:
    return each(
        "mood",
        {
            mood: [
                word(lexicon.verb(entry)[FORMS[form]], "verb", "mood word")
                for entry in entries(lexicon.MOOD_VERBS[mood])
            ]
            for mood in MOODS
        },
    )


def _reaction(form: str) -> Node:
    return by(
        "mood",
        {
            mood: word(lexicon.verb(entry)[FORMS[form]], "verb", "mood word")
            for mood, entry in lexicon.MOOD_REACTIONS.items()
        },
    )


def _verbs(table: str) -> dict[str, Node]:
    return {
        form: pick(*(word(lexicon.verb(entry)[i], "verb") for entry in entries(table)))
        for form, i in FORMS.items()
    }


def _forms(make: Callable[[str], Node]) -> dict[str, Node]:
    return {form: make(form) for form in FORMS}


ACT, FEEL, REACT = _forms(_topic_verb), _forms(_mood_verb), _forms(_reaction)
SPEAK, GIVE = _verbs(lexicon.SPEAKING), _verbs(lexicon.GIVING)
MOVE, REST, KEEP = _verbs(lexicon.MOVING), _verbs(lexicon.RESTING), _verbs(lexicon.KEEPING)
OWN: dict[str, Node] = {form: word(text, "verb") for form, text in HAVE.items()}


def _finite(verb: dict[str, Node], agreement: str, adverb: Node = EMPTY) -> Node:
    """The verb in the state's tense, an adverb before the word that carries the meaning."""
    present = verb["s" if agreement == "it" else "base"]
    simple = by(
        "tense",
        {
            "past": phrase("M V", M=adverb, V=verb["past"]),
            "present": phrase("M V", M=adverb, V=present),
            "future": phrase("will M V", M=adverb, V=verb["base"]),
        },
    )
    do = "doth" if agreement == "it" else "do"
    old = by(
        "tense",
        {
            tense: phrase("X M V", X=helper, M=adverb, V=verb["base"])
            for tense, helper in (
                (tense, word(text, "auxiliary", "register word"))
                for tense, text in (("past", "did"), ("present", do), ("future", "shall"))
            )
        },
    )
    return by("register", {"archaic": pick((0.5, simple), (0.5, old)), "else": simple})


def _be(agreement: str) -> Node:
    return by(
        "tense",
        {
            "past": word(BE["past"][agreement]),
            "present": word(BE["present"][agreement]),
            "future": phrase("will be"),
        },
    )


def _do(agreement: str) -> Node:
    return by(
        "tense",
        {
            "past": word("did"),
            "present": word("does" if agreement == "it" else "do"),
            "future": word("will"),
        },
    )


def _frames(agreement: str) -> dict[str, Node]:
    """Every phrase that depends on the subject's agreement."""
    return {
        "V": _finite(ACT, agreement),
        "MV": _finite(ACT, agreement, MOOD_ADVERB),
        "FEEL": _finite(FEEL, agreement),
        "MGIVE": _finite(GIVE, agreement, MOOD_ADVERB),
        "MMOVE": _finite(MOVE, agreement, MOOD_ADVERB),
        "MKEEP": _finite(KEEP, agreement, MOOD_ADVERB),
        "KEEP": _finite(KEEP, agreement),
        "SAY": _finite(SPEAK, agreement),
        "MSAY": _finite(SPEAK, agreement, MOOD_ADVERB),
        "STILLHAVE": _finite(OWN, agreement, word("still")),
        "DO": _do(agreement),
        "ACT": ACT["base"],
    }


SUBJECT: dict[str, Node] = {
    "it": pick((0.65, Slot("who")), (0.35, AGENTS[0])),
    "they": weigh(
        "person",
        ({"first": 0.8}, word("we")),
        ({"first": 0.2, "third": 0.7}, AGENTS[1]),
        ({"third": 0.3}, phrase("A and B", A=Slot("name"), B=Slot("name"))),
    ),
    "I": word("I"),
}
SPEAKER: dict[str, Node] = {
    "it": Slot("who"),
    "they": by("person", {"first": word("we"), "third": AGENTS[1]}),
    "I": word("I"),
}


def _by_subject(make: Callable[[str], Node]) -> Node:
    """A clause made for every agreement; who the subject is hangs on the person of the telling."""
    weights = ({"first": 0.2, "third": 0.74}, {"first": 0.25, "third": 0.26}, {"first": 0.55})
    return weigh("person", *zip(weights, (make(a) for a in AGREEMENTS), strict=True))


REACTION = phrase("everyone R", R=_finite(REACT, "it"))
# A keepsake is always called little, and nothing else is: after that word, a model that can look up
# what followed it before knows how to go on. Without it, what was kept is never recalled in full.
LITTLE = word("little", "adjective")
# The keepsake of the first sentence, mentioned again.
RECALLED = phrase("L J K", L=LITTLE, J=Slot("recall0"), K=Slot("recall1"))
WORLD: dict[str, Node] = {
    "O": OBJECT, "MO": MOODY_OBJECT, "ANY": ANYTHING, "PLACE": PLACE, "TOPLACE": TO_PLACE,
    "TIME": TIME, "TRAIL": TRAIL, "COMMENT": COMMENT, "REACTION": REACTION, "MJ": MOOD_ADJECTIVE,
    "TJ": TOPIC_ADJECTIVE, "M": MOOD_ADVERB, "THE": THE, "A": A, "NAME": Slot("name"),
    "K": RECALLED, "AGENT": AGENTS[0], "DAY": words(lexicon.DAYS, "noun", "time"),
    "ISJ": pick(
        phrase("N IS J", N=THINGS[0], IS=_be("it"), J=MOOD_ADJECTIVE),
        phrase("N IS J", N=THINGS[1], IS=_be("they"), J=MOOD_ADJECTIVE),
    ),
}  # fmt: skip


def _lines(frames: dict[str, Node], *lines: tuple[Weight, str]) -> Node:
    return pick(*((weight, phrase(line, **frames)) for weight, line in lines))


def _subject_clause(agreement: str) -> Node:
    frames = WORLD | _frames(agreement) | {"S": SUBJECT[agreement]}
    # Two who are both of the cast have nobody left to give something to.
    give = agreement != "they"
    frames["DOING"] = _lines(
        frames,
        (3, "MV O"),
        (3, "V MO"),
        (3, "MV MO"),
        (2.5, "FEEL ANY"),
        (0.8 * give, "MGIVE NAME O"),
        (0.6, "DO not ACT MO"),
    )
    other = {"MV": _finite(ACT, "it", MOOD_ADVERB)}
    frames["WHILE"] = phrase("while AGENT MV O", **(frames | other))
    frames["REST"] = _lines(
        frames,
        (6, "DOING TRAIL"),
        (0.7, "V O and FEEL ANY"),
        (0.9, "MMOVE TOPLACE"),
        (0.9, "V O TRAIL , and REACTION"),
        (0.4, "DO not ACT O , and REACTION"),
        (0.8, "V O because ISJ"),
        (0.5, "V O WHILE"),
        (3, "FEEL THE K PLACE"),
        (1.4 * give, "MGIVE NAME THE K PLACE"),
    )
    frames["FRONT"] = pick(TIME, PLACE)
    return _lines(
        frames, (0.75, "S REST"), (0.17, "FRONT , S DOING"), (0.08, "COMMENT , S V O TRAIL")
    )


def _other_clause() -> Node:
    """Clauses whose subject is a thing, an animal, `there` or `it`."""
    clauses: list[tuple[dict[str, Weight], Node]] = []
    for number, agreement, share in ((0, "it", 0.6), (1, "they", 0.4)):
        frames = WORLD | {
            "N": THINGS[number],
            "BE": _be(agreement),
            "PP": ACT["past"],
            "ANIMAL": ANIMALS[number],
            "MREST": _finite(REST, agreement, MOOD_ADVERB),
            "SOME": SOME if number else A,
            "NOUN": pick(THING[number], ANIMAL[number]),
        }
        clauses += [
            ({"else": 2.4 * share}, phrase("N BE MJ TRAIL", **frames)),
            ({"else": 0.8 * share}, phrase("N BE MJ and TJ", **frames)),
            ({"else": 1.3 * share}, phrase("N BE M PP by AGENT", **frames)),
            ({"else": 1.8 * share}, phrase("ANIMAL MREST PLACE", **frames)),
            ({"else": 1.2 * share, "headline": 0}, phrase("there BE SOME MJ NOUN PLACE", **frames)),
        ]
    weather = phrase("it BE a MJ DAY PLACE", **WORLD, BE=_be("it"))
    kept = phrase("THE K BE MJ PLACE", **WORLD, BE=_be("it"))
    return weigh("register", *clauses, ({"else": 3}, kept), ({"else": 0.8, "headline": 0}, weather))


STATEMENT = pick((0.72, _by_subject(_subject_clause)), (0.28, _other_clause()))


def _question(agreement: str) -> Node:
    frames = WORLD | _frames(agreement) | {"S": SUBJECT[agreement]}
    return _lines(
        frames,
        (1, "DO S ACT MO PLACE"),
        (1, "DO S M ACT O"),
        (1, "why DO S M ACT O"),
        (1, "where DO S ACT MO"),
        (1, "when DO S ACT MO PLACE"),
    )


QUESTION = pick(
    (0.8, _by_subject(_question)),
    (0.2, phrase("who MV O", **(WORLD | _frames("it")))),
)  # fmt: skip

# What a register puts around a clause.

OPENINGS = {
    register: pick(
        *(
            phrase("W" if entry.endswith(":") else "W ,", W=_entry(entry, "register word"))
            for entry in entries(table)
        )
    )
    for register, table in lexicon.OPENINGS.items()
}
OPENING = by("register", {**OPENINGS, "else": EMPTY})
CLOSING = by(
    "register",
    {r: phrase(", W", W=words(t, "register word")) for r, t in lexicon.CLOSINGS.items()}
    | {"else": EMPTY},
)
STOP = weigh(
    "register",
    ({"else": 1, "pirate": 0.6, "child": 0.6}, word(".")),
    ({"pirate": 0.4, "child": 0.4}, word("!")),
)


def _told(clause: Node) -> Node:
    parts = {"OPENING": OPENING, "CLOSING": CLOSING, "STOP": STOP, "C": clause}
    # A headline, which has no articles, would else begin with any word at all.
    return weigh(
        "register",
        ({"plain": 0.85, "headline": 0, "else": 0.04}, phrase("C STOP", **parts)),
        ({"plain": 0.15, "headline": 0.7, "else": 0.46}, phrase("OPENING C STOP", **parts)),
        ({"plain": 0, "headline": 0, "else": 0.34}, phrase("C CLOSING STOP", **parts)),
        ({"plain": 0, "headline": 0.3, "else": 0.16}, phrase("OPENING C CLOSING STOP", **parts)),
    )


def _opened(clause: Node) -> Node:
    return weigh(
        "register",
        ({"plain": 1, "headline": 0, "else": 0.06}, clause),
        ({"plain": 0, "headline": 1, "else": 0.94}, phrase("OPENING C", OPENING=OPENING, C=clause)),
    )


def _quotation(agreement: str) -> Node:
    frames = WORLD | _frames(agreement) | {"S": SPEAKER[agreement], "C": _opened(STATEMENT)}
    return _lines(
        frames, (0.35, "« C , » S MSAY ."), (0.2, "« C , » S SAY ."), (0.45, "S MSAY , « C . »")
    )


KEEPSAKE: dict[str, Node] = {
    "L": LITTLE,
    "J": words(lexicon.KEEPSAKE_ADJECTIVES, "adjective", "keepsake"),
    "K": words(lexicon.KEEPSAKES, "noun", "keepsake"),
}


def _first(agreement: str) -> Node:
    # Most documents say their mood at once, at a place that hardly moves. Without that, a model
    # learns late, or with some seeds not at all, that later sentences keep to it.
    frames = WORLD | _frames(agreement) | {"S": SUBJECT[agreement]} | KEEPSAKE
    return _lines(
        frames,
        (0.3, "COMMENT , S MKEEP A L J K PLACE and V O"),
        (0.3, "COMMENT , S KEEP A MJ L J K PLACE and V O"),
        (0.2, "COMMENT , S MKEEP A L J K PLACE TIME"),
        (0.2, "S MKEEP A L J K PLACE and V O"),
    )


def _last_owner(agreement: str) -> Node:
    frames = WORLD | _frames(agreement) | {"S": SUBJECT[agreement]}
    return _lines(
        frames,
        (0.6, "COMMENT , S STILLHAVE THE K PLACE"),
        (0.4, "S STILLHAVE THE K PLACE , and REACTION"),
    )


STAYED = by(
    "tense",
    {
        "past": phrase("was still"),
        "present": phrase("is still"),
        "future": phrase("will still be"),
    },
)
_LAST = WORLD | {"STAYED": STAYED}
LAST = pick(
    (
        0.6,
        _lines(
            _LAST,
            (0.3, "COMMENT , THE K STAYED PLACE"),
            (0.3, "THE K STAYED PLACE , and REACTION"),
            (0.2, "TIME , THE MJ K STAYED PLACE"),
            (0.2, "THE MJ K STAYED PLACE TIME"),
        ),
    ),
    (0.4, _by_subject(_last_owner)),
)

SENTENCES: dict[str, Node] = {
    "first": _told(_by_subject(_first)),
    "body": pick(
        (0.74, _told(STATEMENT)),
        (0.12, phrase("C ?", C=_opened(QUESTION))),
        (0.14, _by_subject(_quotation)),
    ),
    "last": _told(LAST),
}
