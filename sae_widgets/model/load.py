"""Loading a language model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sae_widgets.model.bridge import Model
from sae_widgets.model.given import twin
from sae_widgets.model.vocabulary import check_vocabulary


def load_model(source: Any, tokenizer: Any = None, device: str | torch.device | None = None) -> Any:
    """Make a TransformerBridge from a hub name, a local folder or a Hugging Face model object.

    A model object needs its `tokenizer` beside it (the two may come as one pair), and keeps its
    device and dtype; what is loaded is held in float32. The object itself is left as it is: the
    bridge is in evaluation mode, and has modules of its own with the object's weights, which take
    no memory again. A TransformerLens model comes back as it is, with `tokenizer` if it has none.
    """
    if isinstance(source, tuple | list) and len(source) == 2 and tokenizer is None:
        source, tokenizer = source
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
        network = {"hf_model": twin(source)}
        config: Any = source.config
        name = str(getattr(config, "_name_or_path", "") or type(source).__name__)
    elif not isinstance(source, str | os.PathLike):
        raise TypeError(
            "a model is loaded from a name, a folder, or a model object with its tokenizer, as in "
            f"load_model(model, tokenizer); got {type(source).__name__}"
        )
    else:
        name = os.fspath(source)
        if isinstance(source, Path) and not source.is_dir():
            raise FileNotFoundError(f"there is no model folder {name!r}")
    try:
        with _readable(tokenizer, name) as readable:
            bos = readable.bos_token
            bridge: Any = TransformerBridge.boot_transformers(
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
    if tokenizer is not None:
        bridge.tokenizer.name_or_path = tokenizer.name_or_path
    bridge.eval()
    check_vocabulary(bridge)
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
    """A tokenizer as it is in its folder or on the hub: TransformerLens reads it a second time.

    One that is given may have got tokens since it was read, and is not to be changed.
    """
    from transformers import AutoTokenizer

    if tokenizer is None:
        yield AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    else:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            yield AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
