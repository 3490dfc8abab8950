"""The language model: loading it, its hook points, its lock, one forward pass after another.

This is the only room that knows TransformerLens. It takes a TransformerBridge (TransformerLens 3.9
and 4) and the HookedTransformer of TransformerLens 3; everything else sees the `Model` protocol.
"""

from sae_widgets.model.below import lowest_block, read_below
from sae_widgets.model.blocks import Below, resting
from sae_widgets.model.bridge import Model
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
    vocabulary_size,
)
from sae_widgets.model.hooks import HookFunction, attached, lock, silent_hook, watched
from sae_widgets.model.interrupts import restoring
from sae_widgets.model.load import load_model, without_bars
from sae_widgets.model.reading import Reading, activations, activations_at
from sae_widgets.model.threads import inferring
from sae_widgets.model.unchanged import state
from sae_widgets.model.vocabulary import begins, check_vocabulary, nameless

__all__ = [
    "Below",
    "HookFunction",
    "Model",
    "Reading",
    "activations",
    "activations_at",
    "attached",
    "begins",
    "block_name",
    "check_hook",
    "check_inference",
    "check_tokens",
    "check_vocabulary",
    "context_length",
    "device_of",
    "end_of_text",
    "family",
    "fingerprint",
    "identity",
    "inferring",
    "load_model",
    "lock",
    "logits",
    "lowest_block",
    "nameless",
    "read_below",
    "resting",
    "restoring",
    "silent_hook",
    "state",
    "vocabulary_size",
    "watched",
    "without_bars",
]
