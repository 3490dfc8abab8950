"""What lies where an SAE is said to be: a file of weights, and a configuration beside it.

Nothing that is read here can run code: tensors and plain values only. Tensors are mapped from disk
where the file allows it, and read when they are asked for.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

SMALL = 10_000_000
"""Bytes that nobody minds."""
PACKED = 20
"""How many times smaller weights may be in a file than in memory."""
WEIGHTS = (".safetensors", ".npz", ".pt", ".pth")

BESIDE = {
    "activation_whitening.safetensors",
    "activations_store_state.safetensors",
    "optimizer.pt",
    "sparsity.safetensors",
    "stats.safetensors",
    "trainer_state.pt",
}
"""Files that lie beside weights and are none."""

CHECKPOINTS = ("pruned", "final")
"""Of the training states in OpenMOSS's `checkpoints`, the finished ones, the best first."""


@dataclass(frozen=True)
class Files:
    """An SAE on disk.

    address: where it came from, in full; names in it say what files often do not. config: what is
    beside the weights, or nothing. described: where that is, for messages.
    """

    weights: Path
    address: str
    config: Mapping[str, Any]
    described: str

    @cached_property
    def tensors(self) -> Tensors:
        return open_tensors(self.weights)

    def has(self, *names: str) -> bool:
        """Whether the weights have tensors of all these names."""
        return all(name in self.tensors for name in names)

    def named(self, pattern: str) -> re.Match[str] | None:
        """The last place in the address that `pattern` matches, from a name's beginning."""
        found = [*re.finditer(rf"(?<![^/]){pattern}", self.address)]
        return found[-1] if found else None

    def layer(self, pattern: str = r"layer_(\d+)") -> int | None:
        """The number of a layer that a name in the address gives."""
        found = self.named(pattern)
        return None if found is None else int(found[1])

    def need(self, parameter: str, asked: Any, said: Any, what: str) -> Any:
        """What the caller asked for, or else what the files said; raises if neither is known."""
        value = said if asked is None else asked
        if value is None:
            raise ValueError(f"{self.described} does not say {what}; pass {parameter}= to load_sae")
        if asked is not None:
            return value  # what the caller says is not of the file
        if parameter in ("hook", "hook_out") and not (isinstance(value, str) and value):
            raise ValueError(
                f"{self.described} says {_cut(value)} for {what} ({parameter}), where the name of "
                f"a hook is to stand; pass {parameter}= to load_sae"
            )
        if parameter == "scale" and not _is_positive(value):
            raise ValueError(
                f"{self.described} says {_cut(value)} where a finite number above 0 is to stand: "
                f"{what}; pass {parameter}= to load_sae"
            )
        return value

    def count(self, parameter: str, asked: int | None, said: Any, what: str) -> int:
        """The same for a number of things."""
        value = self.need(parameter, asked, said, what)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
            raise ValueError(
                f"{self.described} says {_cut(value)} for {what} ({parameter}), which is no number "
                f"from 1; pass {parameter}= to load_sae"
            )
        return value


def _cut(value: Any) -> str:
    """A value of a file, as it can be shown."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes
        return f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= 200 else f"{text[:200]}…"


def _is_positive(value: Any) -> bool:
    """Whether this is a number above 0 that a float can hold."""
    return type(value) in (int, float) and 0 < value < 1e300


def find(path: Path, address: str) -> Files:
    """The weights at `path`: that file, or the only one in that folder."""
    if path.is_file():
        return _described(path, address)
    found = candidates(sorted(entry.name for entry in path.iterdir() if entry.is_file()))
    checkpoints = path / "checkpoints"
    if not found and checkpoints.is_dir():
        names = [entry.name for entry in checkpoints.iterdir()]
        found = [f"checkpoints/{name}" for name in finished(names)][:1]
    if len(found) == 1:
        return _described(path / found[0], f"{address}/{found[0]}")
    if found:
        raise ValueError(which(address, found))
    below = sorted(
        {str(file.parent.relative_to(path)) for file in path.rglob("*") if is_weights(file.name)}
    )
    if below:
        raise ValueError(which(address, below))
    here = ", ".join(sorted(entry.name for entry in path.iterdir())) or "nothing"
    raise FileNotFoundError(
        f"{address} has no file of weights ({', '.join(WEIGHTS)}), so it is no SAE; found: {here}"
    )


def _described(weights: Path, address: str) -> Files:
    folder = weights.parent
    folder = folder.parent if folder.name == "checkpoints" else folder
    for name in (f"{weights.stem}_cfg.json", "cfg.json", "config.json", "hyperparams.json"):
        if (folder / name).is_file():
            return Files(weights, address, read_json(folder / name), str(folder / name))
    return Files(weights, address, {}, f"{weights} (which has no configuration beside it)")


def is_weights(name: str) -> bool:
    """Whether a file of this name holds weights."""
    return Path(name).suffix in WEIGHTS and name not in BESIDE


def candidates(names: Sequence[str]) -> list[str]:
    """Those of the files of a folder that may be the SAE."""
    found = [name for name in names if is_weights(name)]
    return [name for name in found if Path(name).stem == "sae_weights"] or found


def finished(names: Sequence[str]) -> list[str]:
    """Of the files of a folder of checkpoints, the finished ones, the best first."""
    return [f"{stem}{end}" for stem in CHECKPOINTS for end in WEIGHTS if f"{stem}{end}" in names]


def which(address: str, choices: Sequence[str], shown: int = 12) -> str:
    """What to say when there are several SAEs, or it is not said how far in the one is."""
    held = "several SAEs" if len(choices) > 1 else "an SAE further in"
    more = f" and {len(choices) - shown} more" if len(choices) > shown else ""
    listed = ", ".join(map(repr, choices[:shown]))
    return (
        f"{address} holds {held}: {listed}{more}. Say which: load_sae({address!r}, {choices[0]!r})"
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object."""
    size = path.stat().st_size
    if size > SMALL:
        raise ValueError(f"{path} has {size:,} bytes; what describes an SAE has at most {SMALL:,}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # broken JSON, broken text, or a trap
        raise ValueError(f"{path} is corrupt or truncated: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} does not describe an SAE: it holds a {type(value).__name__}")
    return value


# Tensors


class Tensors(Mapping[str, Tensor]):
    """The tensors of a file by name, each read when it is asked for.

    values: what else the file holds by name: numbers, texts, and dictionaries of them.
    """

    def __init__(
        self,
        path: Path,
        shapes: Mapping[str, tuple[int, ...]],
        read: Callable[[str], Tensor],
        values: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.shapes = dict(shapes)
        self.values_beside = dict(values or {})
        self._read = read

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.shapes:
            raise ValueError(f"{self.path} lacks the tensor {name!r}; it has {[*self.shapes]}")
        try:
            return self._read(name)
        except SafetensorError as error:
            raise ValueError(f"{self.path} is corrupt or truncated: {error}") from error

    def __contains__(self, name: object) -> bool:
        return name in self.shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def open_tensors(path: Path) -> Tensors:
    """Open a file of tensors; its ending says which kind it is."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; the SAE cannot be loaded without it")
    openers = {".safetensors": _safetensors, ".npz": _npz}
    return openers.get(path.suffix, _torch)(path)


def _safetensors(path: Path) -> Tensors:
    try:
        # Stays open for as long as somebody may read from it.
        file: Any = safe_open(path, "pt")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except (SafetensorError, OSError) as error:  # OSError: an empty file cannot be mapped
        raise ValueError(f"{path} is corrupt or truncated: {error}") from error
    return Tensors(path, shapes, file.get_tensor)


def _npz(path: Path) -> Tensors:
    def read(name: str) -> Tensor:
        with _arrays(path), np.load(path, allow_pickle=False) as file:
            return torch.from_numpy(file[name])

    with _arrays(path), zipfile.ZipFile(path) as file:
        members = {each.filename.removesuffix(".npy"): each for each in file.infolist()}
        shapes = {name: _claimed(path, file, each) for name, each in members.items()}
    return Tensors(path, shapes, read)


@contextmanager
def _arrays(path: Path) -> Iterator[None]:
    """zipfile, zlib, numpy and torch each have their own ways to say no."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is corrupt or truncated, or no file of arrays: {error}"
        ) from error


class Refused(ValueError):
    """What a file holds makes sense, and is not read."""


def _claimed(path: Path, file: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...]:
    """The shape of an array by the head of its file; the rest of it is not unpacked."""
    with file.open(member) as head:
        version = np.lib.format.read_magic(head)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, _, dtype = readers[version](head)
        if dtype.hasobject:
            raise Refused(f"{path} holds Python objects, which could run code and are not read")
        claimed, held = math.prod(shape) * dtype.itemsize, member.file_size - head.tell()
    if claimed != held:
        raise ValueError(f"{member.filename} claims {claimed} bytes, and holds {held}")
    # Weights are noise: packed, they are hardly smaller.
    if claimed > SMALL and claimed > PACKED * member.compress_size:
        raise Refused(
            f"{path}: {member.filename!r} would take {claimed:,} bytes of memory, and takes "
            f"{member.compress_size:,} in the file. Weights cannot be packed like that: it is not "
            "read"
        )
    return tuple(shape)


def _torch(path: Path) -> Tensors:
    try:
        held = _load(path)
    except Exception as error:
        # What goes wrong in a broken pickle has every type.
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise ValueError(
            f"{path} is corrupt or truncated, or was not written by torch.save"
            if found is None
            else f"{path} holds a Python object beside its tensors ({found[1]}), which could run "
            "code and is not read. Where you trust it, load it with the library that wrote it, and "
            "save its state_dict() as safetensors"
        ) from error
    if not isinstance(held, dict) or not all(isinstance(name, str) for name in held):
        raise ValueError(
            f"{path} holds a {type(held).__name__} where tensors by name were expected: the "
            "state_dict() of an SAE"
        )
    return _loaded(path, held)


def _check_storage(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse a tensor that says more than it holds, as a view of one number over and over does."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        kind = "meta" if tensor.is_meta else str(tensor.layout).removeprefix("torch.")
        raise ValueError(
            f"{path}: {name!r} is a {'quantized' if tensor.is_quantized else kind} tensor; the "
            "weights of an SAE are dense tensors of numbers. Save them with .to_dense() or "
            ".dequantize()"
        )
    claimed, held = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
    if claimed > held:
        raise ValueError(
            f"{path}: {name!r} of shape {tuple(tensor.shape)} claims {claimed:,} bytes, and holds "
            f"{held:,}; it is not read. Save it with .contiguous()"
        )


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        # Files of torch before 1.6 cannot be mapped.
        return torch.load(path, map_location="cpu", weights_only=True)


def _loaded(path: Path, held: Mapping[str, Any]) -> Tensors:
    tensors = {name: value.detach() for name, value in held.items() if isinstance(value, Tensor)}
    for name, tensor in tensors.items():
        _check_storage(path, name, tensor)
    values = {name: value for name, value in held.items() if name not in tensors}
    return Tensors(
        path, {name: tuple(t.shape) for name, t in tensors.items()}, tensors.__getitem__, values
    )
