"""Blocks that do not run again in passes over a text that they have read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from sae_widgets.model.bridge import Model
from sae_widgets.model.hooks import hook_point
from sae_widgets.model.interrupts import restoring


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


@restoring
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
        blocks[-1]["forward"] = handing_on(hook_point(model, end_of_block(below.layer - 1)))
        yield
    finally:
        for block, forward in zip(blocks, before, strict=True):
            del block["forward"]
            if forward is not None:
                block["forward"] = forward


def end_of_block(block: int) -> str:
    """The hook point at the end of a block."""
    return f"blocks.{block}.hook_resid_post"
