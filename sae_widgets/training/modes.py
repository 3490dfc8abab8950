"""The modes of torch that a training needs, whatever they are around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import torch

from sae_widgets.model import restoring


@restoring
def own_modes() -> Iterator[None]:
    """Gradients on, no automatic casts and new tensors on the processor, on this thread alone.

    Many notebooks switch gradients off in their first line; a training in a block of autocast would
    come out bad in silence. The default dtype is the process's: what trains names its own.
    """
    accelerator = torch.accelerator.current_accelerator()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # which switches gradients on as well
        for kind in {"cpu", "cpu" if accelerator is None else accelerator.type}:
            if torch.is_autocast_enabled(kind):
                # Its cache too: it would keep weights as they were at the first step until the
                # outermost block ends, also for casts that a recipe asks for.
                stack.enter_context(torch.autocast(kind, enabled=False, cache_enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield
