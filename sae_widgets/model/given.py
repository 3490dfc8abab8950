"""A model object that somebody gives: what cannot be taken, and a twin that leaves it whole."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

INSIDE = {
    "_orig_mod": "model._orig_mod",  # torch.compile
    "merge_and_unload": "model.merge_and_unload()",  # PEFT
    "module": "model.module",  # DataParallel, DistributedDataParallel and others
}
"""What wrappers are known by, and how to get at the model within."""


def twin(given: nn.Module) -> Any:
    """A model of the same weights, in evaluation mode, whose modules may be replaced.

    TransformerLens puts modules of its own into the model that it is given, which could no longer
    be saved then. The weights are shared, and take no memory again. A model that is in a bridge
    already is taken as it is.
    """
    check_given(given)
    if any(type(module).__module__.startswith("transformer_lens") for module in given.modules()):
        return given
    shared: dict[int, Any] = {}
    for weight in given.parameters():
        # Of their own, so that moving one model does not move half of the other. Quantized ones
        # are of other types, which know themselves how they are made.
        plain = type(weight) is nn.Parameter
        shared[id(weight)] = (
            nn.Parameter(weight.detach(), weight.requires_grad) if plain else weight
        )
    made: Any = copy.deepcopy(given, shared)
    # One that was made from a configuration, and not read from a file, does not say what it is.
    classes = [each.__name__ for each in type(given).__mro__ if issubclass(each, nn.Module)]
    made.config.architectures = [*classes, *(made.config.architectures or ())]
    return made.eval()


def check_given(given: nn.Module) -> None:
    """Raise unless this is a language model of Hugging Face that computes logits itself."""
    kind = type(given).__name__
    for mark, inside in INSIDE.items():
        if hasattr(given, mark):
            raise ValueError(
                f"this {kind} is wrapped around a model; pass what is inside: "
                f"load_model({inside}, tokenizer)"
            )
    head: Any = getattr(given, "get_output_embeddings", None)
    if head is None or not hasattr(given, "config"):
        raise ValueError(
            f"{kind} is no model of Hugging Face's transformers and no TransformerBridge; pass one "
            "of these, or a name or a folder"
        )
    if head() is None:
        raise ValueError(
            f"this {kind} has no head that predicts tokens; load it with one: "
            "AutoModelForCausalLM.from_pretrained(...)"
        )
