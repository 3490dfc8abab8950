"""`load_sae`: find out what an SAE was saved by, and read it."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch

from sae_widgets.files import recover
from sae_widgets.formats import (
    dictionary_learning,
    gemma_scope,
    goodfire,
    hub,
    kissane,
    openai,
    openmoss,
    own,
    qwen_scope,
    saelens,
    sparsify,
)
from sae_widgets.formats.canonical import Asked, Canonical
from sae_widgets.formats.files import Files, find
from sae_widgets.sae import SAE, JumpReLU, TopK

FROM_WITHIN = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError)
"""What a value of a wrong kind raises where it is used."""

AnySAE = SAE | saelens.TheirSAE
"""An SAE of ours, or one of SAELens in memory."""


class Format(Protocol):
    """One way in which SAEs are saved. A module of this package is one."""

    @property
    def NAME(self) -> str:
        """What it is called."""

    @property
    def SCALED(self) -> bool:
        """Whether its files may leave open by what activations are to be multiplied."""

    def detects(self, files: Files) -> bool:
        """Whether these files are of this format."""

    def read(self, files: Files, asked: Asked) -> Canonical:
        """The SAE in them; raises ValueError if something in them is wrong or not said."""


FORMATS: tuple[Format, ...] = (
    own,
    saelens,
    qwen_scope,
    kissane,
    gemma_scope,
    sparsify,
    openai,
    openmoss,
    dictionary_learning,
    goodfire,
)
"""In the order in which they are tried: one that is told by more before one told by less."""


def load_sae(
    source: str | Path | Any,
    inside: str = "",
    *,
    hook: str | None = None,
    hook_out: str | None = None,
    k: int | None = None,
    threshold: float | None = None,
    scale: float | None = None,
    centred: bool = False,
    name: str | None = None,
    dtype: torch.dtype | None = torch.float32,
) -> SAE:
    """Read an SAE of any format that is known; which it is, is found out.

    source: a folder, a file, or a repository of the Hugging Face hub, "owner/name". inside: a
    folder or a file in it, where it holds several. An SAE of SAELens that is in memory is taken
    as well.

    What the files do not say is to be passed: the `hook` that is read, the one that a transcoder
    writes (`hook_out`), how many features fire (`k`), above what value (`threshold`), by what
    activations are multiplied first (`scale`). What is passed goes before what the files say.
    centred: the mean of an activation's entries is taken away first, and added again at the end,
    for an SAE that was trained on a model with centred weights (gpt2-small-res-jb, for one).

    Weights come as `dtype`; with None as they are saved, mapped from disk and read when they are
    used (float32 ones are in any case, and Gemma Scope's first, `.npz`, in none).
    """
    asked = Asked(hook, hook_out, k, threshold, scale)
    if not isinstance(source, str | Path):
        found, address = _in_memory(source, asked), "the SAE"
        called = found.hook
    else:
        files, called = _find(source, inside)
        address = str(files.weights)
        found = _read(files, asked)
    if hook_out is not None and found.hook_out is None:
        raise ValueError(
            f"{address}: hook_out={hook_out!r} is for a transcoder, and this SAE writes where it "
            f"reads, at {found.hook!r}; leave it out"
        )
    if k is not None:
        found = replace(found, activation=TopK(k))
    if threshold is not None:
        every = torch.full_like(found.b_enc, threshold)
        found = replace(found, activation=JumpReLU(every))
    if centred:
        found = found.centred(address)
    sae = found.sae(address, called, dtype)
    if name is not None:
        sae.title = name if sae.title == sae.name else sae.title
        sae.name = name
    return sae


def as_sae(sae: Any) -> SAE:
    """`sae`, or what an SAE of SAELens is to us; weights that can be are shared, not copied."""
    return sae if isinstance(sae, SAE) else load_sae(sae, dtype=None)


# What the hub takes for a name: "./here" and "a--b/c" are none, and "./here" is a path besides.
_REPO = re.compile(r"(?!.*(?:--|\.\.))(?:\w|\w[\w.-]*\w)/(?:\w|\w[\w.-]*\w)", re.ASCII)


def _find(source: str | Path, inside: str) -> tuple[Files, str]:
    """The files, and a name for what is in them."""
    path = Path(source)
    try:
        path = path.expanduser()
        recover(path)  # where saving it was interrupted
        there = path.exists()
    except (OSError, RuntimeError, ValueError):  # too long, nobody's home, a null
        there = False
    if there:
        path = path / inside
        if not path.exists():
            raise FileNotFoundError(f"there is no {inside!r} in {str(source)!r}")
        address, called = str(path.absolute()), path.resolve()
    elif isinstance(source, str) and _REPO.fullmatch(source):
        path = hub.fetch(source, inside.strip("/"))
        address, called = f"{source}/{inside}".rstrip("/"), Path(inside or source)
    else:
        raise FileNotFoundError(
            f"there is no SAE at {str(source)[:200]!r}: it is not a folder, not a file"
            f"{_near(path)}, and no "
            "repository of the Hugging Face hub (owner/name). The releases that SAELens gives "
            "names to are loaded with sae_lens.SAE.from_pretrained, and used as they are"
        )
    return find(path, address), called.stem if path.is_file() else called.name


def _near(path: Path) -> str:
    """What is there instead, in words; nothing, if nothing is called like that."""
    try:
        names = [each.name for each in path.parent.iterdir() if not each.name.startswith(".")]
    except (OSError, ValueError):
        return ""
    near = difflib.get_close_matches(path.name, names, n=3)
    return f" (there is {', '.join(map(repr, near))})" if near else ""


def _read(files: Files, asked: Asked) -> Canonical:
    for each in FORMATS:
        if each.detects(files):
            if asked.scale is not None and not each.SCALED:
                raise ValueError(
                    f"{files.weights} is of the format {each.NAME}, whose SAEs read activations as "
                    "they are: leave scale= out"
                )
            try:
                found = each.read(files, asked)
            except FROM_WITHIN as error:
                why = str(error).splitlines()[0][:200] if str(error) else "no more is said"
                raise ValueError(
                    f"{files.weights}, or {files.described}, holds a value that an SAE of the "
                    f"format {each.NAME} cannot have ({type(error).__name__}: {why})"
                ) from error
            if each is own:  # which keeps where an SAE came from first
                return found
            origin = {"format": each.NAME, "source": files.address}
            return replace(found, provenance={**origin, **found.provenance})
    tensors = ", ".join(f"{name} {shape}" for name, shape in list(files.tensors.shapes.items())[:8])
    raise ValueError(
        f"{files.weights} is of no format that can be read. It holds {tensors or 'no tensors'}; "
        f"its configuration, {files.described}, has {[*files.config][:12]}. Formats that can be "
        f"read: {', '.join(each.NAME for each in FORMATS)}"
    )


def _in_memory(sae: Any, asked: Asked) -> Canonical:
    if not isinstance(sae, saelens.TheirSAE):
        raise TypeError(
            "an SAE is one of sae_widgets (load_sae, or sae_widgets.SAE) or of SAELens; got a "
            f"{type(sae).__name__}"
        )
    return saelens.from_memory(sae, asked)
