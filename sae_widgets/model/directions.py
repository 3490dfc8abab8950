"""Which tokens a direction promotes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sae_widgets.model.bridge import Model, network_of
from sae_widgets.model.facts import device_of
from sae_widgets.model.hooks import lock
from sae_widgets.model.threads import inferring


def logits(model: Model, directions: Float[Tensor, "n d"], hook: str) -> Float[Tensor, "n d_vocab"]:
    """How much each direction at `hook`, written into the residual stream, promotes each token.

    W_U · norm(direction), with the model's final norm and without what the norm and the
    unembedding add to any input whatever (their biases).
    """
    directions = _in_residual_stream(model, directions.to(device_of(model)), hook)
    inputs = torch.cat([directions, torch.zeros_like(directions[:1])])
    norm = getattr(model, "ln_final", None)
    with lock(model), inferring(model):
        inputs = inputs.to(next(iter(network_of(model).parameters())).dtype)[None]
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
