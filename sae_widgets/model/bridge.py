"""What sae_widgets asks of a language model, and loading one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
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
    try:
        with _readable(tokenizer, name) as readable:
            bos = readable.bos_token
            bridge = TransformerBridge.boot_transformers(
                name, tokenizer=readable, device=device, trust_remote_code=False, **network
            )
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError(
            f"{name!r} brings code of its own, which load_model does not run. Where you trust it, "
            "load it with transformers and pass what you get: load_model(model, tokenizer)"
        ) from error
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
        yield AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    elif tokenizer.name_or_path:
        yield tokenizer
    else:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            yield AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def network_of(model: Model) -> nn.Module:
    """The network that computes: inside a bridge, or the HookedTransformer itself."""
    network: Any = getattr(model, "original_model", model)
    assert isinstance(network, nn.Module)
    return network
