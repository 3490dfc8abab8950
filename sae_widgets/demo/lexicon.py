"""The words of Postcards, as data: what each topic, mood and register may say.

Verbs are written `base` or `base/past`; nouns `singular` or `singular/plural`. Only what English
does not do by rule is spelled out. Every verb's past form is also its participle.
"""

TOPICS = (
    "sea", "kitchen", "space", "forest", "music", "city", "castle", "sport", "garden", "library",
)  # fmt: skip
MOODS = ("pos", "neutral", "neg")
REGISTERS = ("plain", "pirate", "archaic", "robot", "child", "headline", "vessi")
TENSES = ("past", "present", "future")
PERSONS = ("first", "third")

# What a topic talks about. A word that stands in two topics is ambiguous on purpose.
AGENTS = {
    "sea": "captain sailor diver",
    "kitchen": "chef baker waiter",
    "space": "astronaut pilot alien",
    "forest": "ranger hunter hermit",
    "music": "singer drummer conductor",
    "city": "driver banker mayor conductor",
    "castle": "knight queen jester page",
    "sport": "referee athlete coach/coaches",
    "garden": "gardener florist farmer",
    "library": "librarian teacher poet",
}
ANIMALS = {
    "sea": "whale crab seal",
    "kitchen": "mouse/mice hen",
    "space": "monkey",
    "forest": "fox/foxes owl deer/deer bat crane",
    "music": "canary",
    "city": "pigeon",
    "castle": "horse falcon",
    "sport": "pony",
    "garden": "bee snail",
    "library": "cat",
}
THINGS = {
    "sea": "anchor sail net oar shell pearl wave",
    "kitchen": "soup pie loaf/loaves sauce dumpling pancake pastry",
    "space": "rocket comet satellite moon planet asteroid wave",
    "forest": "acorn mushroom berry fern twig pinecone feather",
    "music": "song melody waltz/waltzes chord note bow key pitch/pitches tune",
    "city": "tram taxi/taxis bus/buses bicycle billboard crane bulb",
    "castle": "crown sword shield throne banner seal bow key",
    "sport": "ball trophy medal racket puck jersey bat",
    "garden": "rose tulip carrot pumpkin daisy hedge bulb plot",
    "library": "book novel dictionary map essay note page plot",
}
VERBS = {
    "sea": "haul hoist unload tow rinse",
    "kitchen": "taste season cook devour serve",
    "space": "orbit track chart observe approach",
    "forest": "gather uncover collect stack nibble",
    "music": "hum/hummed rehearse compose perform play",
    "city": "repair park hail steer paint",
    "castle": "guard polish defend forge inherit",
    "sport": "toss juggle win/won chase serve play",
    "garden": "plant water prune trim/trimmed harvest",
    "library": "borrow study translate copy recite",
}
ADJECTIVES = {
    "sea": "salty briny sunken tidal foamy",
    "kitchen": "crispy buttery spicy creamy fresh",
    "space": "cosmic lunar distant starry weightless",
    "forest": "mossy leafy shady hollow wild",
    "music": "melodic tuneful rhythmic jazzy sharp",
    "city": "crowded busy neon urban noisy",
    "castle": "royal noble gilded jewelled sharp",
    "sport": "athletic sporty sweaty bouncy speedy",
    "garden": "blooming fragrant thorny dewy wild fresh",
    "library": "scholarly dusty bookish literary inky",
}
PLACES = {
    "sea": "in harbour, on beach, at lighthouse, by lagoon",
    "kitchen": "in pantry, by stove, at bakery, in cellar",
    "space": "on launchpad, near crater, at observatory, in airlock",
    "forest": "in glade, in thicket, by brook, near bank",
    "music": "on stage, in studio, at concert, at opera",
    "city": "on avenue, at station, in subway, at bank",
    "castle": "in tower, in dungeon, by moat, at court",
    "sport": "in stadium, at gym, on racetrack, on pitch, on court",
    "garden": "in greenhouse, in orchard, in meadow, by flowerbed",
    "library": "in archive, in classroom, at desk, by bookshelf",
}

# Twelve characters: the topics they are drawn to, and their pronoun.
CHARACTERS = {
    "Mira": ("sea", "she"),
    "Felix": ("kitchen", "he"),
    "Nova": ("space", "she"),
    "Rowan": ("forest", "he"),
    "Clara": ("music", "she"),
    "Hugo": ("city", "he"),
    "Edith": ("castle", "she"),
    "Max": ("sport", "he"),
    "Lily": ("garden", "she"),
    "Oscar": ("library", "he"),
    "Jonah": ("sea", "he"),
    "Vera": ("library", "she"),
}
# Of the characters a topic brings in, the share that is drawn to it.
AFFINITY = 0.7

# Each mood is marked by words of its own; neutral is a mood like the others.
MOOD_ADVERBS = {
    "pos": "happily gladly cheerfully proudly",
    "neutral": "calmly carefully quietly steadily",
    "neg": "sadly bitterly grimly gloomily",
}
MOOD_ADJECTIVES = {
    "pos": "lovely splendid wonderful delightful",
    "neutral": "ordinary typical regular average",
    "neg": "dreadful awful miserable terrible",
}
MOOD_VERBS = {
    "pos": "love praise enjoy admire",
    "neutral": "notice check mention count",
    "neg": "hate curse dread mourn",
}
MOOD_COMMENTS = {
    "pos": "luckily, thankfully",
    "neutral": "as usual, as planned",
    "neg": "sadly, unhappily",
}
MOOD_REACTIONS = {"pos": "smile", "neutral": "nod/nodded", "neg": "weep/wept"}

# A register's opening words, closing words, determiners (singular, plural) and adjectives.
OPENINGS = {
    "plain": "meanwhile, later, after that",
    "pirate": "ahoy, arr, avast, yo ho",
    "archaic": "lo, verily, hark, forsooth",
    "robot": "log entry:, status report:, sensor data:, system trace:",
    "child": "guess what, wow, mummy, look",
    "headline": "breaking:, exclusive:, report:, latest:",
}
CLOSINGS = {
    "pirate": "me hearties, matey, ye scallywags",
    "archaic": "good sir, gentle reader, my liege",
    "robot": "end of record, no errors found, task complete",
    "child": "honest, pinky promise, for real",
    "headline": "sources say, experts claim, officials confirm",
}
DETERMINERS = {
    "plain": ("the the the a a this", "the the some many these NUMBER NUMBER"),
    "pirate": ("the the a me me", "the some me me NUMBER"),
    "archaic": ("the the a yonder yonder", "the some yonder yonder NUMBER"),
    "robot": ("the the a this", "the some NUMBER NUMBER NUMBER"),
    "child": ("the the a this this", "the some these these NUMBER"),
}
REGISTER_ADJECTIVES = {
    "pirate": "scurvy swashbuckling",
    "archaic": "goodly mighty",
    "robot": "designated standard",
    "child": "teeny ginormous",
    "headline": "local alleged",
}

COLOURS = "red blue green yellow purple golden"
NUMBERS = "two three four five six seven"
TIMES = (
    "at dawn, at noon, at dusk, at midnight, in the morning, in the evening, after lunch, "
    "before breakfast"
)
TIMES_OF_TENSE = {
    "past": "yesterday, last night, last week",
    "present": "today, these days, right now",
    "future": "tomorrow, next week, very soon",
}
DAYS = "day morning evening afternoon"

SPEAKING = "say/said whisper shout reply"
GIVING = "give/gave show hand send/sent"
MOVING = "walk hurry return run/ran"
RESTING = "sleep/slept wait wander rest"
KEEPING = "keep/kept hide/hid leave/left place"

# The keepsake of a document: introduced in its first sentence, recalled in its last.
KEEPSAKE_ADJECTIVES = "brass silver wooden tin glass woollen striped broken"
KEEPSAKES = "button coin ribbon locket marble mirror thimble candle watch doll"

VOWELS = "aeiou"


def entries(table: str) -> list[str]:
    """The entries of a table row: split at commas where it has any, else at spaces."""
    return [entry.strip() for entry in table.split(",")] if "," in table else table.split()


def noun(entry: str) -> tuple[str, str]:
    """Singular and plural."""
    singular, _, plural = entry.partition("/")
    return singular, plural or _plus_s(singular)


def verb(entry: str) -> tuple[str, str, str]:
    """Base, third person singular and past; the past is the participle too."""
    base, _, past = entry.partition("/")
    if not past:
        past = _stem_before_e(base) + "ed"
    return base, _plus_s(base), past


def _plus_s(word: str) -> str:
    if word.endswith("y") and word[-2] not in VOWELS:
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "sh", "ch", "x")) else "s")


def _stem_before_e(word: str) -> str:
    if word.endswith("e"):
        return word[:-1]
    return word[:-1] + "i" if word.endswith("y") and word[-2] not in VOWELS else word


# Vessi is a cipher of all this: a stem for each word, endings for number and tense, and a grammar
# of its own (the verb comes last). It covers the first few words of each topic.
VESSI_COVERS = {"agent": 1, "animal": 1, "thing": 3, "verb": 2, "adjective": 2, "place": 2}
VESSI_PLURAL = "n"
VESSI_TENSE = {"past": "ta", "present": "mi", "future": "su"}
VESSI_PERSON = {"I": "mo", "we": "mos"}
VESSI_NOT, VESSI_ASK, VESSI_AND = "nek", "ka", "uz"
VESSI_AT, VESSI_STILL, VESSI_IS, VESSI_LITTLE = "lo", "ido", "sa", "ni"
VESSI_OPENINGS = "zul zami zok"


def _vessi() -> dict[tuple[str, str], str]:
    """A stem for each word of Vessi; the key is the table, and topic or mood with the word."""
    tables = {"agent": AGENTS, "animal": ANIMALS, "thing": THINGS, "verb": VERBS}
    tables |= {"adjective": ADJECTIVES, "place": PLACES}
    keys = [
        (name, f"{topic} {entry}")
        for name, table in tables.items()
        for topic in TOPICS
        for entry in entries(table[topic])[: VESSI_COVERS[name]]
    ]
    moods = {"adverb": MOOD_ADVERBS, "mood adjective": MOOD_ADJECTIVES, "mood verb": MOOD_VERBS}
    keys += [
        (name, f"{mood} {entry}")
        for name, table in moods.items()
        for mood in MOODS
        for entry in entries(table[mood])
    ]
    plain = {"colour": COLOURS, "time": TIMES, "speaking": SPEAKING, "keeping": KEEPING}
    plain |= {"keepsake": KEEPSAKES, "keepsake adjective": KEEPSAKE_ADJECTIVES}
    keys += [(name, entry) for name, table in plain.items() for entry in entries(table)]
    return dict(zip(keys, _stems(), strict=False))


def _stems() -> list[str]:
    """Made-up stems, consonant and vowel twice over, none of them an English word of ours."""
    syllables = [c + v for c in "kvdlzmptrsgn" for v in VOWELS]
    size = len(syllables) ** 2
    # A stride that shares no factor with the size visits every stem once, neighbours far apart.
    spots = (divmod(i * 1013 % size, len(syllables)) for i in range(1, size))
    english = {"note", "rose", "pine", "late", "sage", "zero", "tuna", "sofa", "poke", "rude"}
    return [s for a, b in spots if a != b and (s := syllables[a] + syllables[b]) not in english]


VESSI = _vessi()
KEEPSAKE_WORDS = frozenset(
    [*entries(KEEPSAKES), *entries(KEEPSAKE_ADJECTIVES)]
    + [stem for (table, _), stem in VESSI.items() if table.startswith("keepsake")]
)
