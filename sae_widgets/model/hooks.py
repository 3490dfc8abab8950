"""A model's lock, and functions at its hook points."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from sae_widgets.model.bridge import Model, network_of
from sae_widgets.model.facts import check_hook
from sae_widgets.model.interrupts import restoring

HookFunction = Callable[[Tensor], Tensor | None]
"""Sees the activation at a hook point; returns what replaces it, or None."""


_locks: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()
_locks_guard = threading.Lock()


def lock(model: Model) -> Any:
    """The model's re-entrant lock. Hooks change the model, so whoever runs it holds this.

    Two bridges around one network share it.
    """
    with _locks_guard:
        return _locks.setdefault(network_of(model), threading.RLock())


@restoring
def attached(model: Model, hooks: Mapping[str, HookFunction]) -> Iterator[None]:
    """Attach one function to each of these hook points while the block runs.

    `model.hooks(...)` does this too, but rebuilds a table of all hook names every time, which at
    one forward pass a token is a good part of what a small model's generation costs.
    """
    added: list[tuple[Any, Any]] = []
    try:
        for name, function in hooks.items():
            point = hook_point(model, name)
            point.add_hook(_as_hook(function), dir="fwd")
            added.append((point, point.fwd_hooks[-1]))
        yield
    finally:
        for point, handle in reversed(added):
            handle.hook.remove()
            point.fwd_hooks[:] = [other for other in point.fwd_hooks if other is not handle]


@restoring
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


def silent_hook(hook: str) -> str:
    """What to say when a hook point exists but never ran."""
    return (
        f"the hook point {hook!r} exists but did not run in this forward pass, so nothing can be "
        "read or edited there. Some need a setting of TransformerLens first (hook_result: "
        "model.set_use_attn_result(True)); blocks.N.hook_resid_post always runs"
    )


def hook_point(model: Model, name: str) -> Any:
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
