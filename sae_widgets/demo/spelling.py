"""How words are written: capitals, `a` or `an`, spaces and quotation marks.

The grammar writes bare words, `«` and `»` for quotation marks and always `a`. Spelling is a
function of the words, so it adds no choice and takes no probability.
"""

import re

from sae_widgets.demo.lexicon import CHARACTERS, VOWELS

PROPER = frozenset([*CHARACTERS, "I", "PS"])
CLOSERS = frozenset(",.?!:)»")


def spell(sentences: list[list[str]]) -> list[list[str]]:
    """Each sentence's words as written; joined, they are the document."""
    newline = bool(sentences) and sentences[0][:1] == ["1"]
    return [
        _spell(words, "" if i == 0 else "\n" if newline else " ")
        for i, words in enumerate(sentences)
    ]


def read(sentence: str) -> list[str]:
    """The bare words of a written sentence; `spell` undoes it for a well-spelled one."""
    words: list[str] = []
    capital, quoted = True, False
    for text in re.findall(r"[^\W\d_]+|\d+|[^\w\s]|_", sentence):
        word = text
        if text == '"':
            word = "»" if quoted else "«"
            quoted = not quoted
        elif capital and text not in PROPER:
            word = text[0].lower() + text[1:]
        words.append("a" if word == "an" else word)
        capital = word in ("«", ")")
    return words


def well_spelled(sentence: str) -> bool:
    """Whether spelling the words read from the sentence gives it back."""
    return "".join(_spell(read(sentence), "")) == sentence


def _spell(words: list[str], lead: str) -> list[str]:
    texts: list[str] = []
    capital, space = True, lead
    for i, word in enumerate(words):
        following = words[i + 1][:1] if i + 1 < len(words) else ""
        text = "an" if word == "a" and following and following in VOWELS else word
        if word in CLOSERS:
            space = "" if i else lead
        text = {"«": '"', "»": '"'}.get(text, text)
        texts.append(space + (text[0].upper() + text[1:] if capital else text))
        capital = word in ("«", ")")
        space = "" if word == "«" else " "
    return texts
