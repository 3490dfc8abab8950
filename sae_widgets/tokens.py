"""How token ids become something to read: exact text, visible whitespace, special tokens.

Ids are kept end to end. A token is a run of bytes, and a character may be spread over several
tokens, so text is put together from bytes and never by decoding one token at a time.
"""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class Piece:
    """What one token adds to a text, and how to show it in a strip of tokens."""

    text: str
    """Exactly what the token adds. A character split over several tokens belongs to the last."""
    shown: str
    """The same made visible: space `·`, newline `↵`, tab `⇥`, `⟨U+200B⟩`, stray bytes `⟨e2⟩`, ids
    that are no tokens `⟨id 40⟩`."""
    special: bool
    """A mark such as the beginning of the text. It adds no text; `shown` is its name."""
    part: bool
    """The token holds only a part of some character."""


@dataclass(frozen=True)
class Encoded:
    """A text as token ids."""

    ids: list[int]
    dropped: int
    """Tokens cut off the end because the model's context is full."""


def encode(tokenizer: Any, text: str, *, limit: int, begin: bool = True) -> Encoded:
    """Turn `text` into at most `limit` ids, with one beginning-of-text token if there is one.

    begin: put it there (see `sae_widgets.model.begins`). Everything in `text` is text: a typed
    `<|endoftext|>` does not become the special token.
    """
    ids = _without_marks(tokenizer, text)
    if begin and tokenizer.bos_token_id is not None:
        ids = [tokenizer.bos_token_id, *ids]
    return Encoded(ids[:limit], max(0, len(ids) - limit))


Chat = Sequence[Mapping[str, Any]]
"""Messages, each with a `role` ("system", "user", "assistant") and its `content`, a text."""


def encode_chat(tokenizer: Any, messages: Chat, *, limit: int) -> Encoded:
    """Turn a chat into at most `limit` ids, as the tokenizer's own template writes it.

    It goes up to where the assistant is to speak; if it has the last word, up to where it is to
    continue. What the template marks is special; what a message says is text, and one that holds
    the name of a special token is refused, for the template would make it that token.
    """
    if getattr(tokenizer, "chat_template", None) is None:
        raise ValueError(
            "this model's tokenizer has no chat template, so it does not know how a chat is "
            "written; give a text, or set tokenizer.chat_template to that of the model's makers"
        )
    if not messages:
        raise ValueError("a chat has at least one message")
    marks = [tokenizer.convert_ids_to_tokens(token) for token in special_ids(tokenizer)]
    for number, message in enumerate(messages):
        _check_message(number, message, marks)
    from jinja2 import TemplateError  # transformers' own dependency for templates

    unfinished = messages[-1]["role"] == "assistant"
    try:
        ids = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            add_generation_prompt=not unfinished,
            continue_final_message=unfinished,
            return_dict=False,
        )
    except TemplateError as error:
        raise ValueError(f"the model's chat template refuses these messages: {error}") from error
    return Encoded(ids[:limit], max(0, len(ids) - limit))


def without_marks(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text alone, with no special token before or after it."""
    # A browser may send half of a surrogate pair, which no tokenizer takes.
    whole = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
    encoded = tokenizer(whole, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return [list(ids) for ids in encoded["input_ids"]]


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[Piece]:
    """Say what each of `ids` adds to the text. The `text`s joined are the whole text."""
    spelling = Spelling(tokenizer)
    result = [spelling.add(token) for token in ids]
    if rest := spelling.rest():  # the ids end in the middle of a character
        last = max(index for index, piece in enumerate(result) if piece.part)
        result[last] = replace(result[last], text=result[last].text + rest)
    return result


class Spelling:
    """Turns tokens into text as they come, holding a character back until it is complete."""

    def __init__(self, tokenizer: Any, before: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._read = _reader(tokenizer)
        self._specials = special_ids(tokenizer)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._started = False
        for token in before:
            self.add(token)

    def add(self, token: int) -> Piece:
        """The next token; its `text` is what is complete with it."""
        if token in self._specials:
            name = str(self._tokenizer.convert_ids_to_tokens([token])[0])
            return Piece("", name, special=True, part=False)
        data = self._read.spell(token)
        if data is None:
            return Piece("", _nameless(token), special=False, part=False)
        if not self._started and self._read.drops_first_space:
            data = data.removeprefix(b" ")
        self._started = True
        return Piece(self._utf8.decode(data), visible(data), special=False, part=not _is_utf8(data))

    def rest(self) -> str:
        """What is held back and will not be completed any more, as replacement characters."""
        return self._utf8.decode(b"", True)


def shown(tokenizer: Any, token: int) -> str:
    """One token made visible, wherever it stands."""
    if token in special_ids(tokenizer):
        return str(tokenizer.convert_ids_to_tokens([token])[0])
    data = _reader(tokenizer).spell(token)
    return _nameless(token) if data is None else visible(data)


def special_mask(tokenizer: Any, ids: Sequence[int]) -> list[bool]:
    """Which of `ids` are special tokens."""
    specials = special_ids(tokenizer)
    return [token in specials for token in ids]


def special_ids(tokenizer: Any) -> frozenset[int]:
    """The ids that mark structure (begin, end, padding, turns) and are not part of the text.

    An unknown-word token stands for text, so it is not special unless it doubles as a mark.
    """
    return frozenset() if tokenizer is None else _special_ids(tokenizer, _now(tokenizer))


def visible(data: bytes) -> str:
    """Show bytes so that nothing is invisible."""
    text = data.decode("utf-8", "surrogateescape")
    return "".join(_visible_character(character) for character in text) or "·"


# Helpers


def _now(tokenizer: Any) -> Hashable:
    """Changes when tokens are added or become special, after what is remembered was found out."""
    named = (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    return len(tokenizer), *named, tokenizer.pad_token_id, *tokenizer.all_special_ids


@lru_cache(maxsize=16)
def _special_ids(tokenizer: Any, _now: Hashable) -> frozenset[int]:
    marks = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    named = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return frozenset((marks | set(tokenizer.all_special_ids)) - {tokenizer.unk_token_id}) | {
        token for token in named if token is not None
    }


_SHOWN = {" ": "·", "\n": "↵", "\t": "⇥"}
_HIDDEN = {"Cc", "Cf", "Cn", "Co", "Zl", "Zp", "Zs"}  # Unicode categories that draw nothing
_SELECTORS = range(0xFE00, 0xFE10)  # these change the character before them and draw nothing


def _visible_character(character: str) -> str:
    code = ord(character)
    if character in _SHOWN:
        return _SHOWN[character]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 by itself
        return f"⟨{code - 0xDC00:02x}⟩"
    if unicodedata.category(character) in _HIDDEN or code in _SELECTORS:
        return f"⟨U+{code:04X}⟩"
    return character


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _nameless(token: int) -> str:
    return f"⟨id {token}⟩"


def _without_marks(tokenizer: Any, text: str) -> list[int]:
    return without_marks(tokenizer, [text])[0]


def _check_message(number: int, message: Any, marks: Sequence[str]) -> None:
    said = message if isinstance(message, Mapping) else {}
    if not all(isinstance(said.get(name), str) for name in ("role", "content")):
        raise ValueError(
            f"message {number} of a chat is to be a dict of texts with a 'role' and its 'content'; "
            f"got {message!r}"
        )
    for mark in marks:
        if mark in said["content"]:
            raise ValueError(
                f"message {number} holds {mark!r}, which the model would read as a mark and not as "
                "text; take it out, or encode the chat yourself and pass its ids to sw.generate"
            )


@dataclass(frozen=True)
class _Reader:
    spell: Callable[[int], bytes | None]
    """None: the tokenizer has no token of this id."""
    drops_first_space: bool


def _reader(tokenizer: Any) -> _Reader:
    return _make_reader(tokenizer, _now(tokenizer))


@lru_cache(maxsize=16)
def _make_reader(tokenizer: Any, _now: Hashable) -> _Reader:
    """Find out how `tokenizer` writes bytes into its token names."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = getattr(backend, "decoder", None)
    kinds = set() if decoder is None else _kinds(json.loads(decoder.__getstate__()))
    added: dict[int, bytes] = {
        token: str(entry.content).encode()
        for token, entry in tokenizer.added_tokens_decoder.items()
    }

    def name(token: int) -> str:
        return str(tokenizer.convert_ids_to_tokens([token])[0])

    def byte_level(token: int) -> bytes:
        if token in added:
            return added[token]
        return bytes(_BYTE_OF[character] for character in name(token))

    def sentence_piece(token: int) -> bytes:
        if token in added:
            return added[token]
        if byte := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", name(token)):
            return bytes.fromhex(byte[1])
        return name(token).replace("▁", " ").encode()

    def any_other(token: int) -> bytes:
        # Decoded after another token, because many decoders treat the first one differently.
        options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        before = tokenizer.decode([token], **options)
        return str(tokenizer.decode([token, token], **options)).removeprefix(before).encode()

    def spell(token: int) -> bytes | None:
        has = tokenizer.convert_ids_to_tokens([token])[0] is not None
        return as_written(token) if has else None

    as_written, drops = any_other, True
    if "ByteLevel" in kinds:
        as_written, drops = byte_level, False
    elif kinds & {"ByteFallback", "Metaspace"}:
        as_written, drops = sentence_piece, bool(kinds & {"Strip", "Metaspace"})
    return _Reader(lru_cache(maxsize=None)(spell), drops)


def _kinds(decoder: dict[str, Any]) -> set[str]:
    inner = (_kinds(part) for part in decoder.get("decoders", ()))
    return {decoder["type"]}.union(*inner)


def _byte_names() -> dict[str, int]:
    """GPT-2's table: each byte has one printable character, its own where that is printable.

    https://github.com/openai/gpt-2/blob/master/src/encoder.py
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + index): byte for index, byte in enumerate(others)
    }


_BYTE_OF = _byte_names()
