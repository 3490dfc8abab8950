"""The language model: loading it, its hook points, its lock, one forward pass after another.

This is the only file that knows TransformerLens. It takes a TransformerBridge (TransformerLens 3.9
and 4) and the HookedTransformer of TransformerLens 3; everything else sees the `Model` protocol.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import inspect
import os
import re
import tempfile
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@runtime_checkable
class Model(Protocol):
    """What sae_widgets needs of a language model; a TransformerBridge has it."""

    cfg: Any
    tokenizer: Any
    hook_dict: Any
    embed: Any
    unembed: Any
    blocks: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


HookFunction = Callable[[Tensor], Tensor | None]
"""Sees the activation at a hook point; returns what replaces it, or None."""


def load_model(source: Any, tokenizer: Any = None, device: str | torch.device | None = None) -> Any:
    """Make a TransformerBridge from a hub name, a local folder or a Hugging Face model object.

    A model object needs its `tokenizer` beside it, and keeps its device and dtype; what is loaded
    is held in float32. A TransformerLens model comes back as it is, with `tokenizer` if it has
    none.
    """
    loaded = isinstance(source, Model | nn.Module)
    if loaded and device is not None:
        raise ValueError(
            f"a model that is in memory stays where it is; call its .to({str(device)!r}) instead "
            "of passing device="
        )
    if isinstance(source, Model):
        if source.tokenizer is None:
            source.tokenizer = tokenizer
        elif tokenizer is not None and tokenizer is not source.tokenizer:
            raise ValueError("this model has a tokenizer already; pass the model alone")
        return source
    from transformer_lens.model_bridge import TransformerBridge  # takes seconds: only when needed

    network: dict[str, Any] = {}
    if isinstance(source, nn.Module):
        if tokenizer is None:
            raise ValueError(
                "a model object does not know its tokenizer; pass it too: "
                "load_model(model, tokenizer)"
            )
        config: Any = source.config
        name = str(getattr(config, "_name_or_path", "") or type(source).__name__)
        network = {"hf_model": source.eval()}
    else:
        name = os.fspath(source)
        if isinstance(source, Path) and not source.is_dir():
            raise FileNotFoundError(f"there is no model folder {name!r}")
    with _readable(tokenizer, name) as readable:
        bos = readable.bos_token
        bridge = TransformerBridge.boot_transformers(
            name, tokenizer=readable, device=device, **network
        )
    if bos is None:
        # TransformerLens makes one up. A model that was trained without is not to be given it.
        bridge.tokenizer.bos_token = None
        bridge.cfg.default_prepend_bos = False
    bridge.eval()
    return bridge


@contextmanager
def without_bars() -> Iterator[None]:
    """No progress bar of `transformers` while the block runs."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def _readable(tokenizer: Any, name: str) -> Iterator[Any]:
    """A tokenizer that has a folder or a hub name: TransformerLens reads it a second time."""
    from transformers import AutoTokenizer

    if tokenizer is None:
        yield AutoTokenizer.from_pretrained(name)
    elif tokenizer.name_or_path:
        yield tokenizer
    else:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            yield AutoTokenizer.from_pretrained(folder)


# Facts about a model


def check_hook(model: Model, hook: str) -> None:
    """Raise if `model` has no hook point of this name."""
    if hook in model.hook_dict:
        return
    nearest = difflib.get_close_matches(hook, model.hook_dict, n=3, cutoff=0.4)
    raise ValueError(
        f"this model has no hook point {hook!r}. "
        f"Nearest names: {', '.join(nearest) or 'none'}. "
        "List them all with `list(model.hook_dict)`."
    )


def check_inference(model: Model) -> None:
    """Raise if the model is in training mode."""
    if _network(model).training:
        raise ValueError(
            "the model is in training mode, where dropout would make every pass different; "
            "call model.eval() first"
        )


def device_of(model: Model) -> torch.device:
    """Where the model computes."""
    return next(iter(_network(model).parameters())).device


def context_length(model: Model) -> int:
    """The most tokens the model can read at once."""
    return int(model.cfg.n_ctx)


def vocabulary_size(model: Model) -> int:
    """How many logits the model gives."""
    return int(model.cfg.d_vocab)


def token_count(model: Model) -> int:
    """How many logits belong to a token: vocabularies are often padded to a round number."""
    size = vocabulary_size(model)
    return size if model.tokenizer is None else min(size, len(model.tokenizer))


def family(model: Model) -> str:
    """The architecture's name at Hugging Face ("gpt2", "llama"), or TransformerLens's own."""
    config = getattr(_network(model), "config", None)
    return str(getattr(config, "model_type", None) or model.cfg.original_architecture or "unknown")


def block_name(model: Model, layer: int) -> str:
    """What Hugging Face calls a block, seen from the model without its head: "h.3", "layers.3"."""
    base = getattr(_network(model), "base_model", None)
    for name, module in () if base is None else base.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == model.cfg.n_layers:
            return f"{name}.{layer}"
    raise ValueError("this is no Hugging Face model, so its blocks have no names there")


def end_of_text(model: Model) -> frozenset[int]:
    """The ids after which a text is over."""
    config = getattr(_network(model), "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    found = set(ends) if isinstance(ends, list | tuple) else {ends}
    found.add(getattr(model.tokenizer, "eos_token_id", None))
    return frozenset(token for token in found if token is not None)


def identity(model: Model) -> dict[str, str]:
    """Which model this is, so that a run can say what it came from and be repeated.

    `weights` is a fingerprint of a sample of every tensor, which takes milliseconds at any size.
    """
    parameters = dict(_network(model).named_parameters())
    return {
        "name": str(model.cfg.model_name),
        "weights": fingerprint(parameters),
        "dtype": str(next(iter(parameters.values())).dtype).removeprefix("torch."),
        "transformer_lens": version("transformer-lens"),
    }


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Tells weights from other weights, by up to 64 numbers of every tensor."""
    digest = hashlib.sha256()
    samples = [_sample(tensor.detach()).float().cpu() for tensor in tensors.values()]
    taken = torch.cat(samples).numpy() if samples else None
    end = 0
    for (name, tensor), sample in zip(tensors.items(), samples, strict=True):
        start, end = end, end + len(sample)
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(b"" if taken is None else taken[start:end].tobytes())
    return digest.hexdigest()[:16]


def _sample(tensor: Tensor) -> Tensor:
    """Every so many-th number of a tensor; no more than those is copied, however it lies."""
    step = max(1, tensor.numel() // 64)
    if tensor.is_contiguous():
        return tensor.view(-1)[::step]
    return tensor.take(torch.arange(0, tensor.numel(), step, device=tensor.device))


# The lock

_locks: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()
_locks_guard = threading.Lock()


def lock(model: Model) -> Any:
    """The model's re-entrant lock. Hooks change the model, so whoever runs it holds this.

    Two bridges around one network share it.
    """
    with _locks_guard:
        return _locks.setdefault(_network(model), threading.RLock())


# Hooks


@contextmanager
def attached(model: Model, hooks: Mapping[str, HookFunction]) -> Iterator[None]:
    """Attach one function to each of these hook points while the block runs.

    `model.hooks(...)` does this too, but rebuilds a table of all hook names every time, which at
    one forward pass a token is a good part of what a small model's generation costs.
    """
    added: list[tuple[Any, Any]] = []
    try:
        for name, function in hooks.items():
            point = _hook_point(model, name)
            point.add_hook(_as_hook(function), dir="fwd")
            added.append((point, point.fwd_hooks[-1]))
        yield
    finally:
        for point, handle in reversed(added):
            handle.hook.remove()
            point.fwd_hooks[:] = [other for other in point.fwd_hooks if other is not handle]


@contextmanager
def watched(
    model: Model, see: Callable[[Int[Tensor, "row position"], int | None], None]
) -> Iterator[None]:
    """Call `see(ids, past)` at the start of every forward pass that anybody makes in the block.

    A hook sees activations only; this is how the ids of the running pass reach it. `past` is the
    number of earlier positions that a key-value cache stands for. It is known only once the first
    transformer block starts: `see` is called with None for it first, before the embeddings.
    """
    current: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        current[:] = [found]
        see(found, None)

    def count(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if current:
            see(current[0], _cached(*args, *kwargs.values()))

    handles = [
        model.embed.register_forward_pre_hook(keep, with_kwargs=True),
        model.blocks[0].register_forward_pre_hook(count, with_kwargs=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class StopForward(Exception):
    """Raised by a hook that has seen what it wanted; the rest of the pass is not needed."""


def activations(
    model: Model, ids: Int[Tensor, "row position"], hook: str
) -> Float[Tensor, "row position ..."]:
    """The activations at `hook`. The layers above it are not run."""
    return activations_at(model, ids, [hook])[hook]


def activations_at(
    model: Model, ids: Int[Tensor, "row position"], hooks: Sequence[str]
) -> dict[str, Float[Tensor, "row ..."]]:
    """The activations at each of `hooks`, from one pass. The layers above the last are not run."""
    for hook in hooks:
        check_hook(model, hook)
    seen: dict[str, Tensor] = {}

    def keeper(hook: str) -> HookFunction:
        def keep(activation: Tensor) -> None:
            seen[hook] = activation
            if len(seen) == len(set(hooks)):
                raise StopForward

        return keep

    with lock(model), torch.inference_mode():
        try:
            with attached(model, {hook: keeper(hook) for hook in hooks}):
                Reading(model).advance(ids)
        except StopForward:
            pass
    for hook in hooks:
        if hook not in seen:
            raise RuntimeError(silent_hook(hook))
    return seen


def silent_hook(hook: str) -> str:
    """What to say when a hook point exists but never ran."""
    return (
        f"the hook point {hook!r} exists but did not run in this forward pass, so nothing can be "
        "read or edited there. Some need a setting of TransformerLens first (hook_result: "
        "model.set_use_attn_result(True)); blocks.N.hook_resid_post always runs"
    )


# Forward passes


class Reading:
    """A text that the model reads piece by piece, keeping what it needs to go on.

    `advance` gives the logits after the newest token. With a key-value cache each token passes
    through the model once; a model without one reads everything again, with the same result.
    """

    def __init__(self, model: Model, *, cache: bool = True) -> None:
        self._model = model
        self._network = _network(model)
        self._wants_cache = cache
        self._cache: Any = None
        self._read: Tensor | None = None
        self._options: dict[str, Any] = {}
        self._step = self._choose()

    @property
    def rereads(self) -> bool:
        """Each pass goes over the whole text again."""
        return self._step == self._whole

    def advance(
        self, ids: Int[Tensor, "row new"], *, below: Below | None = None
    ) -> Float[Tensor, "row d_vocab"]:
        """Read `ids`; return the logits for the token after them.

        below: what the lower blocks made of `ids`, which are the beginning and alike in every row;
        these blocks do not run again.
        """
        with resting(self._model, below, len(ids)):
            logits = self._step(ids.to(device_of(self._model)))
        if below is not None:
            lower = _layers(_repeated(below.cache, len(ids)))
            _layers(self._cache)[: below.layer] = lower[: below.layer]
        return logits

    def fork(self, rows: int) -> Reading | None:
        """Of the one text read so far, `rows` that go on each in its own way.

        None where that cannot be done: without a cache, or with one of a kind not known here.
        """
        if self.rereads or (cache := _repeated(self._cache, rows)) is None:
            return None
        twin = Reading(self._model)
        twin._cache = cache
        return twin

    def _choose(self) -> Callable[[Tensor], Tensor]:
        if self._network is self._model:  # HookedTransformer
            return self._hooked if self._wants_cache else self._whole
        parameters = inspect.signature(self._network.forward).parameters
        if "logits_to_keep" in parameters:  # logits of a long prompt are mostly not looked at
            self._options["logits_to_keep"] = 1
        if self._wants_cache and "past_key_values" in parameters:
            return self._hugging_face
        return self._whole

    def _hugging_face(self, ids: Tensor) -> Tensor:
        # The network below the bridge: it fires the bridge's hooks and skips the bridge's own
        # bookkeeping, which at one token a pass costs as much as a small model.
        output = self._network(
            input_ids=ids, past_key_values=self._cache, use_cache=True, **self._options
        )
        self._cache = output.past_key_values
        logits: Tensor = output.logits[:, -1]
        return logits

    def _hooked(self, ids: Tensor) -> Tensor:
        from transformer_lens import TransformerLensKeyValueCache

        if self._cache is None:
            self._cache = TransformerLensKeyValueCache.init_cache(
                self._model.cfg, ids.device, ids.shape[0]
            )
        logits: Tensor = self._model(ids, past_kv_cache=self._cache)[:, -1]
        return logits

    def _whole(self, ids: Tensor) -> Tensor:
        self._read = ids if self._read is None else torch.cat([self._read, ids], dim=1)
        if self._network is self._model:
            output = self._model(self._read)
        else:
            output = self._network(input_ids=self._read, **self._options)
        logits: Tensor = getattr(output, "logits", output)[:, -1]
        return logits


def _repeated(cache: Any, rows: int) -> Any:
    """A copy of a key-value cache of one text that holds it `rows` times; None: cannot be done."""
    copied = copy.copy(cache)  # not a deep one: passes put new keys and values beside the old
    if hasattr(cache, "layers"):  # Hugging Face
        if not all(map(_is_keys_and_values, cache.layers)):
            return None
        copied.layers = [copy.copy(layer) for layer in cache.layers]
        for layer in copied.layers:
            layer.batch_repeat_interleave(rows)
        return copied
    if hasattr(cache, "entries"):  # HookedTransformer
        copied.entries = [copy.copy(entry) for entry in cache.entries]
        for entry in copied.entries:
            entry.past_keys = entry.past_keys.repeat_interleave(rows, 0)
            entry.past_values = entry.past_values.repeat_interleave(rows, 0)
        mask = cache.previous_attention_mask
        copied.previous_attention_mask = mask.repeat_interleave(rows, 0)
        return copied
    return None


def _is_keys_and_values(layer: Any) -> bool:
    """Whether a block keeps nothing else, such as the state of a recurrent layer."""
    return hasattr(layer, "batch_repeat_interleave") and not hasattr(layer, "recurrent_states")


def _layers(cache: Any) -> list[Any]:
    """The parts of a key-value cache, one a block; what is put in their place is used."""
    layers: list[Any] = cache.layers if hasattr(cache, "layers") else cache.entries
    return layers


def state(model: Model) -> Hashable:
    """Stands for what a forward pass depends on: the weights, and what is hooked into the modules.

    None while that can be different from pass to pass: while the model trains, or functions are
    attached to its hook points.
    """
    network = _network(model)
    if network.training or any(point.fwd_hooks for point in model.hook_dict.values()):
        return None
    modules = _modules(model)
    parameters = [p for module in modules for p in module._parameters.values() if p is not None]
    # torch counts changes in place, but not those through `.data`: most of these change a sample.
    counted = tuple((p.data_ptr(), None if p.is_inference() else p._version) for p in parameters)
    places = tuple(place for place, _ in counted)
    known = _glimpses.get(network)
    if known is None or known[0] != places:
        known = _glimpses[network] = places, [_glimpse(p.detach()) for p in parameters]
    sampled = torch.cat([numbers.flatten().float().cpu() for numbers in known[1]])
    return sampled.numpy().tobytes(), counted, _hooks(modules)


def _glimpse(tensor: Tensor) -> Tensor:
    """At most 64 numbers of a tensor, as a view, so that they are what they are when looked at."""
    most = int(64 ** (1 / max(1, tensor.ndim)) + 0.5)
    return tensor[tuple(slice(None, None, max(1, -(-size // most))) for size in tensor.shape)]


# To take them anew would be most of what `state` takes. They keep the memory of the weights from
# being given to others, so that what is in one place is the same weights.
_glimpses: weakref.WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], list[Tensor]]] = (
    weakref.WeakKeyDictionary()
)


def _hooks(modules: Iterable[nn.Module]) -> frozenset[int]:
    """What is hooked into modules: each hook has a number of its own."""
    return frozenset(hook for m in modules for hook in (*m._forward_pre_hooks, *m._forward_hooks))


def _modules(model: Model) -> list[nn.Module]:
    """All modules of the model and its network, in a third of the time of `.modules()`."""
    found: dict[int, nn.Module] = {}
    left = [_network(model), cast(nn.Module, model)]
    while left:
        module = left.pop()
        if id(module) not in found:
            found[id(module)] = module
            left += [child for child in module._modules.values() if child is not None]
    return list(found.values())


# What lies below an edit


@dataclass(frozen=True)
class Below:
    """What the blocks below block `layer` made of a text. No edit above them changes it."""

    layer: int
    entering: Float[Tensor, "1 position d_model"]
    """What the last of them handed on."""
    others: int | None
    """How many other things it handed on in a tuple (they are not kept); None: there was none."""
    cache: Any
    """The keys and values of these blocks."""


def lowest_block(model: Model, hooks: Iterable[str]) -> int:
    """The first block that must run for what is done at `hooks` if those below it ran before.

    0, so that all must, where that is not known: at the embeddings, say, or without hooks.
    """
    points = model.hook_dict

    def first(hook: str) -> int:
        place = re.match(r"blocks\.(\d+)\.", hook)
        if place is None:
            return 0
        block = int(place[1])
        # The end of a block is where the next one begins.
        return block + (points.get(hook) is points.get(_end(block)))

    return min(map(first, hooks), default=0)


def read_below(model: Model, ids: Int[Tensor, "1 position"], layer: int) -> Below | None:
    """Read a text with the blocks below block `layer` alone.

    None where those above cannot go on from there: in a model without a key-value cache, in one
    whose blocks share more than the residual stream, and where others have hooked into a block that
    would not run.
    """
    if Reading(model).rereads or _hooks(list(model.blocks)[:layer]):
        return None
    tried = _tried.setdefault(_network(model), {})
    goes_on = tried.get((layer, _hooks(_modules(model))))
    if goes_on is None:
        goes_on = _can_go_on(model, ids[:, :TRIED], layer)
        tried[layer, _hooks(_modules(model))] = goes_on  # a bridge adds hooks in its first pass
    return _read_below(model, ids, layer) if goes_on else None


@contextmanager
def resting(model: Model, below: Below | None, rows: int) -> Iterator[None]:
    """Let the lower blocks rest in passes over the text that they have read, in `rows` rows.

    They hand on what they made of it, and do not run. What is attached to the end of the last of
    them still acts. None: no block rests.
    """
    if below is None:
        yield
        return
    entering = below.entering.repeat(rows, 1, 1)  # a copy: others may write into it
    others = None if below.others is None else (None,) * below.others

    def handing_on(end: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
        def forward(*_: Any, **__: Any) -> Any:
            activation = end(entering)
            return activation if others is None else (activation, *others)

        return forward

    blocks = [vars(block) for block in list(model.blocks)[: below.layer]]
    before = [block.get("forward") for block in blocks]
    try:
        for block in blocks:
            block["forward"] = handing_on(lambda x: x)
        blocks[-1]["forward"] = handing_on(_hook_point(model, _end(below.layer - 1)))
        yield
    finally:
        for block, forward in zip(blocks, before, strict=True):
            del block["forward"]
            if forward is not None:
                block["forward"] = forward


TRIED = 8
"""With how many tokens it is tried whether a model can go on from a block in its middle."""

_tried: weakref.WeakKeyDictionary[nn.Module, dict[tuple[int, frozenset[int]], bool]] = (
    weakref.WeakKeyDictionary()
)


def _can_go_on(model: Model, ids: Int[Tensor, "1 position"], layer: int) -> bool:
    """Whether block `layer` goes on from what those below made of `ids` as it does after them.

    No list of architectures says so: it is tried. With an edit where the lower blocks end, the
    logits after `ids` and after one token more are to be those of a whole pass.
    """
    more = ids[:, -1:]

    def logits(below: Below | None) -> Tensor:
        reading = Reading(model)
        return torch.stack([reading.advance(ids, below=below), reading.advance(more)])

    try:
        below = _read_below(model, ids, layer)
        with attached(model, {_end(layer - 1): lambda x: x + x.roll(1, dims=-1)}):
            whole = logits(None)
            upper = logits(below)
    except Exception:  # whatever a layout that is not known here leads to
        return False
    return bool((whole - upper).abs().max() <= 1e-3 * whole.abs().max())


def _read_below(model: Model, ids: Int[Tensor, "1 position"], layer: int) -> Below:
    reading = Reading(model)
    found: list[Below] = []

    def stop(_block: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        cache = reading._cache
        if cache is None:  # one that the model has made
            cache = next(x for x in (*args, *kwargs.values()) if hasattr(x, "get_seq_length"))
        entering, *others = output if isinstance(output, tuple) else (output,)
        in_tuple = len(others) if isinstance(output, tuple) else None
        found.append(Below(layer, entering, in_tuple, cache))
        raise StopForward

    handle = model.blocks[layer - 1].register_forward_hook(stop, with_kwargs=True)
    try:
        reading.advance(ids)
    except StopForward:
        return found[0]
    finally:
        handle.remove()
    raise RuntimeError(f"block {layer - 1} did not run in this forward pass")


def _end(block: int) -> str:
    """The hook point at the end of a block."""
    return f"blocks.{block}.hook_resid_post"


# Directions


def logits(model: Model, directions: Float[Tensor, "n d"], hook: str) -> Float[Tensor, "n d_vocab"]:
    """How much each direction at `hook`, written into the residual stream, promotes each token.

    W_U · norm(direction), with the model's final norm and without what the norm and the
    unembedding add to any input whatever (their biases).
    """
    directions = _in_residual_stream(model, directions.to(device_of(model)), hook)
    inputs = torch.cat([directions, torch.zeros_like(directions[:1])])
    norm = getattr(model, "ln_final", None)
    with lock(model), torch.inference_mode():
        inputs = inputs.to(next(iter(_network(model).parameters())).dtype)[None]
        found: Tensor = model.unembed(inputs if norm is None else norm(inputs))[0].float()
    return found[:-1] - found[-1:]


def _in_residual_stream(model: Model, directions: Tensor, hook: str) -> Tensor:
    if hook.endswith("hook_z"):
        # What the heads hand over before the output matrix, which writes it into the stream.
        W_O = model.blocks[int(hook.split(".")[1])].attn.W_O.detach()  # [head, d_head, d_model]
        directions = directions.to(W_O) @ W_O.reshape(-1, W_O.shape[-1])
    if directions.shape[-1] != model.cfg.d_model:
        raise ValueError(
            f"directions at {hook!r} have {directions.shape[-1]} entries and do not live in the "
            f"residual stream of {model.cfg.d_model}, so no token can be read from them"
        )
    return directions


# Helpers


def _network(model: Model) -> nn.Module:
    """The network that computes: inside a bridge, or the HookedTransformer itself."""
    network: Any = getattr(model, "original_model", model)
    assert isinstance(network, nn.Module)
    return network


def _hook_point(model: Model, name: str) -> Any:
    points = _points.setdefault(model, {})
    if name not in points:
        check_hook(model, name)
        points[name] = model.hook_dict[name]
    return points[name]


_points: weakref.WeakKeyDictionary[Model, dict[str, Any]] = weakref.WeakKeyDictionary()


def _as_hook(function: HookFunction) -> Callable[..., Tensor | None]:
    def hook(activation: Tensor, hook: Any) -> Tensor | None:  # noqa: ARG001
        return function(activation)

    return hook


def _cached(*arguments: Any) -> int:
    """How many positions the key-value cache among a block's arguments holds."""
    for argument in arguments:
        if hasattr(argument, "get_seq_length"):  # Hugging Face
            return int(argument.get_seq_length())
        if hasattr(argument, "past_keys"):  # HookedTransformer
            return int(argument.past_keys.shape[1])
    return 0


def check_tokens(model: Model, ids: Sequence[int]) -> None:
    """Raise if some id is none of the model's."""
    size = vocabulary_size(model)
    wrong = [token for token in ids if not 0 <= token < size]
    if wrong:
        raise ValueError(
            f"token id {wrong[0]} is outside the model's vocabulary of {size}; "
            "was the text encoded by another model's tokenizer?"
        )
