"""Whether an SAE belongs to a model: it is tried on a little text, and what may be wrong is named.

A wrong hook, a missing scale or missing centring leaves an SAE that runs and says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from sae_widgets.features import check_width
from sae_widgets.model import (
    Model,
    Reading,
    activations,
    attached,
    begins,
    context_length,
    device_of,
    inferring,
    lock,
)
from sae_widgets.sae import SAE
from sae_widgets.tokens import encode, special_mask

POOR = 0.5
"""If more of the variance than this is unexplained, it is looked for a cause."""

HOPELESS = 0.9
"""If more is, the SAE is refused even where none is found."""


def check_fit(model: Model, sae: SAE, sample: str | None) -> None:
    """Raise if the SAE was plainly not trained on what this model has at the SAE's hook.

    `sample`: ordinary text. None: only the length of the activations is looked at.
    """
    text = "A" if sample is None else sample
    limit = min(128, context_length(model))
    ids = encode(model.tokenizer, text, limit=limit, begin=begins(model)).ids
    x, y = _read(model, sae, ids, sae.hook)
    check_width(sae, x.shape[-1])
    if sample is None or len(x) < 2:
        return
    reason = _misfit(sae, x, y) or _unexplained(model, sae, ids, x, y)
    if reason:
        raise ValueError(
            f"SAE {sae.name!r} does not fit this model at {sae.hook!r}. On ordinary text {reason}. "
            "If the text is what is unusual, pass sample= with text of the model's own kind, or "
            "sample=None to go on without this check."
        )
    _check_splice(model, sae, ids)


def _read(
    model: Model, sae: SAE, ids: Sequence[int], hook: str
) -> tuple[Float[Tensor, "position d_in"], Float[Tensor, "position d_model"]]:
    """The activations at `hook`, and those that the SAE is to write; without special tokens."""
    batch = torch.tensor([ids], device=device_of(model))
    ordinary = ~torch.tensor(special_mask(model.tokenizer, ids))
    x = activations(model, batch, hook)[0].flatten(1)
    y = activations(model, batch, sae.hook_out)[0].flatten(1) if sae.is_transcoder else x
    return x[ordinary.to(x.device)].float(), y[ordinary.to(y.device)].float()


def _misfit(sae: SAE, x: Float[Tensor, "position d_in"], y: Float[Tensor, "position d"]) -> str:
    """What of the activations contradicts what is known of the SAE; or nothing."""
    with inferring():
        active = float((sae.encode(x.to(sae.W_enc)) > 0).sum(-1).float().mean())
    norm = float(y.norm(dim=-1).mean())
    known = norm if sae.stats is None else sae.stats.norm
    usual, who = float(sae.provenance.get("l0", active)), "name"
    if sae.stats is not None:
        usual, who = float(sae.stats.density.sum()), "statistics"
    if not known / 3 <= norm <= known * 3:
        return (
            f"activations have a mean length of {norm:.3g} where its statistics say "
            f"{known:.3g}: another hook or model, or a scale that is missing"
        )
    if not usual / 5 <= active <= usual * 5:
        return (
            f"{active:.1f} features fire on a token where its {who} say{'s' * (who == 'name')} "
            f"{usual:.1f}: another hook or model, or activations that were centred or scaled for "
            "training"
        )
    return ""


def _unexplained(
    model: Model,
    sae: SAE,
    ids: list[int],
    x: Float[Tensor, "position d_in"],
    y: Float[Tensor, "position d_model"],
) -> str:
    """How badly the SAE does what it is for, if it does, and the likely cause."""
    fvu = _fvu(sae, x, y)
    if sae.placebo is not None or fvu <= POOR:
        return ""
    cause, best = min(_causes(model, sae, ids, x, y), key=lambda each: each[1], default=("", fvu))
    if best < min(fvu / 2, POOR):
        return f"it leaves {fvu:.0%} of the variance unexplained, but only {best:.0%} {cause}"
    if not fvu <= HOPELESS:  # or it is no number
        return (
            f"it leaves {fvu:.0%} of the variance unexplained: another hook or model, or "
            "activations that were centred or scaled for training"
        )
    return ""


def _fvu(sae: SAE, x: Tensor, y: Tensor) -> float:
    """How much of the variance of `y` the SAE leaves unexplained, reading `x`."""
    with inferring():
        missing = (y - sae(x.to(sae.W_enc)).float()).square().sum()
        return float(missing / (y - y.mean(0)).square().sum())


def _causes(
    model: Model, sae: SAE, ids: list[int], x: Tensor, y: Tensor
) -> Iterator[tuple[str, float]]:
    """What may be wrong, and what is unexplained once it is put right."""
    for hook in _neighbours(model, sae):
        there, written = _read(model, sae, ids, hook)
        if there.shape[-1] == sae.d_in:
            put = written if sae.is_transcoder else there
            yield f"at {hook!r}: pass hook={hook!r} to load_sae", _fvu(sae, there, put)
    bos = getattr(model.tokenizer, "bos_token_id", None)
    if bos is not None:
        starts = ids[0] == bos
        with_or_without = ids[1:] if starts else [bos, *ids][: context_length(model)]
        told = "without" if starts else "with"
        yield (
            f"{told} {model.tokenizer.bos_token!r} before the text: it was trained on texts "
            f"{told} it, and this tokenizer puts {'one' if starts else 'none'} there",
            _fvu(sae, *_read(model, sae, with_or_without, sae.hook)),
        )
    if sae.is_transcoder:
        return
    centred = x - x.mean(-1, keepdim=True)
    yield (
        "once the mean of each activation's entries is taken away: it was trained on a model with "
        "centred weights (TransformerLens's center_writing_weights); pass centred=True to load_sae",
        _fvu(sae, centred, centred),
    )
    scale = sqrt(sae.d_in) / float(x.norm(dim=-1).mean())
    yield (
        f"of activations multiplied by {scale:.3g}, which makes them √{sae.d_in} long: pass "
        "scale= to load_sae, with the number that its authors give",
        _fvu(sae, x * scale, y * scale),
    )


def _neighbours(model: Model, sae: SAE) -> list[str]:
    """Hooks that are easily taken for the SAE's: of the layers beside it, and beside it in its."""
    place = re.fullmatch(r"blocks\.(\d+)\.(.*)", sae.hook)
    if place is None:
        return []
    layer, name = int(place[1]), place[2]
    near = [f"blocks.{other}.{name}" for other in (layer - 1, layer + 1)]
    if name.startswith("hook_resid"):
        near += [f"blocks.{layer}.hook_resid_{where}" for where in ("pre", "mid", "post")]
    return [hook for hook in near if hook in model.hook_dict and hook != sae.hook]


def _check_splice(model: Model, sae: SAE, ids: list[int]) -> None:
    """Raise if the SAE's output and its error, put in the activation's place, are not the same."""
    batch = torch.tensor([ids], device=device_of(model))
    read: list[Tensor] = []

    def keep(x: Tensor) -> None:
        read[:] = [x]

    def splice(y: Tensor) -> Tensor:
        x = read[0] if sae.is_transcoder else y
        written = sae(sae.flatten(x).to(sae.W_enc)).float().reshape(y.shape)
        together: Tensor = written + (y.float() - written)
        return together.to(y)

    hooks = {sae.hook: keep, sae.hook_out: splice} if sae.is_transcoder else {sae.hook: splice}
    with lock(model), inferring(model):
        plain = Reading(model).advance(batch).float()
        with attached(model, hooks):
            spliced = Reading(model).advance(batch).float()
    if not (spliced - plain).abs().max() <= 1e-2 * plain.abs().max():  # or it is no number
        raise ValueError(
            f"what SAE {sae.name!r} writes at {sae.hook_out!r}, together with its error, is not "
            "the activation again: its weights are too large, or hold NaN"
        )
