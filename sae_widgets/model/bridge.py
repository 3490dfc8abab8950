"""What sae_widgets asks of a language model."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import nn


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


def network_of(model: Model) -> nn.Module:
    """The network that computes: inside a bridge, or the HookedTransformer itself."""
    network: Any = getattr(model, "original_model", model)
    assert isinstance(network, nn.Module)
    return network
