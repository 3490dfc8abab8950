"""The kinds of SAE that benchmarks compare: what we train, and SAELens under the same names."""

from __future__ import annotations

from typing import Any

from sae_widgets.training import BatchTopK, Matryoshka, TopK

KINDS = {"TopK": TopK, "BatchTopK": BatchTopK, "Matryoshka": Matryoshka}
PARTS = (16, 8, 4, 2, 1)
"""Which share of a Matryoshka SAE each prefix is."""


def untrained(kind: str, *, d_sae: int, **options: Any) -> Any:
    """An SAE of SAELens to be trained."""
    import sae_lens

    if kind == "Matryoshka":
        kind = "MatryoshkaBatchTopK"
        options["matryoshka_widths"] = [d_sae // part for part in PARTS]
    config = getattr(sae_lens, f"{kind}TrainingSAEConfig")(d_sae=d_sae, **options)
    return getattr(sae_lens, f"{kind}TrainingSAE")(config)
