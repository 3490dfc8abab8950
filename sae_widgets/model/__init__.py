"""The language model: loading it, its hook points, its lock, one forward pass after another.

This is the only room that knows TransformerLens. It takes a TransformerBridge (TransformerLens 3.9
and 4) and the HookedTransformer of TransformerLens 3; everything else sees the `Model` protocol.
"""

from sae_widgets.model.below import lowest_block, read_below
from sae_widgets.model.blocks import Below, resting
from sae_widgets.model.bridge import Model, load_model, without_bars
from sae_widgets.model.directions import logits
from sae_widgets.model.facts import (
    block_name,
    check_hook,
    check_inference,
    check_tokens,
    context_length,
    device_of,
    end_of_text,
    family,
    fingerprint,
    identity,
    nameless,
    vocabulary_size,
)
from sae_widgets.model.hooks import HookFunction, attached, lock, silent_hook, watched
from sae_widgets.model.reading import Reading, activations, activations_at
from sae_widgets.model.unchanged import state

__all__ = [
    "Below",
    "HookFunction",
    "Model",
    "Reading",
    "activations",
    "activations_at",
    "attached",
    "block_name",
    "check_hook",
    "check_inference",
    "check_tokens",
    "context_length",
    "device_of",
    "end_of_text",
    "family",
    "fingerprint",
    "identity",
    "load_model",
    "lock",
    "logits",
    "lowest_block",
    "nameless",
    "read_below",
    "resting",
    "silent_hook",
    "state",
    "vocabulary_size",
    "watched",
    "without_bars",
]
