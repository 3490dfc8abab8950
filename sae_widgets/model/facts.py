"""What a model says of itself, and what it cannot be asked."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import torch
from torch import Tensor, nn

from sae_widgets.model.bridge import Model, network_of


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


def check_tokens(model: Model, ids: Sequence[int]) -> None:
    """Raise if some id is none of the model's."""
    size = vocabulary_size(model)
    wrong = [token for token in ids if not 0 <= token < size]
    if wrong:
        raise ValueError(
            f"token id {wrong[0]} is outside the model's vocabulary of {size}; "
            "was the text encoded by another model's tokenizer?"
        )


def check_inference(model: Model) -> None:
    """Raise if the model is in training mode."""
    if network_of(model).training:
        raise ValueError(
            "the model is in training mode, where dropout would make every pass different; "
            "call model.eval() first"
        )


def device_of(model: Model) -> torch.device:
    """Where the model computes."""
    return next(iter(network_of(model).parameters())).device


def context_length(model: Model) -> int:
    """The most tokens the model can read at once."""
    return int(model.cfg.n_ctx)


def vocabulary_size(model: Model) -> int:
    """How many logits the model gives."""
    return int(model.cfg.d_vocab)


def family(model: Model) -> str:
    """The architecture's name at Hugging Face ("gpt2", "llama"), or TransformerLens's own."""
    config = getattr(network_of(model), "config", None)
    return str(getattr(config, "model_type", None) or model.cfg.original_architecture or "unknown")


def block_name(model: Model, layer: int) -> str:
    """What Hugging Face calls a block, seen from the model without its head: "h.3", "layers.3"."""
    base = getattr(network_of(model), "base_model", None)
    for name, module in () if base is None else base.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == model.cfg.n_layers:
            return f"{name}.{layer}"
    raise ValueError("this is no Hugging Face model, so its blocks have no names there")


def end_of_text(model: Model) -> frozenset[int]:
    """The ids after which a text is over."""
    config = getattr(network_of(model), "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    found = set(ends) if isinstance(ends, list | tuple) else {ends}
    found.add(getattr(model.tokenizer, "eos_token_id", None))
    return frozenset(token for token in found if token is not None)


def identity(model: Model) -> dict[str, str]:
    """Which model this is, so that a run can say what it came from and be repeated.

    `weights` is a fingerprint of a sample of every tensor, which takes milliseconds at any size.
    """
    parameters = dict(network_of(model).named_parameters())
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
