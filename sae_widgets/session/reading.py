"""What a heatmap is told: which features fire on a text, and what one of them stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from sae_widgets.explain import Lens, logit_lens
from sae_widgets.features import Features, capture
from sae_widgets.model import Model, begins, context_length
from sae_widgets.sae import SAE
from sae_widgets.session.catalogue import Catalogue, digits
from sae_widgets.tokens import Encoded, encode, pieces, shown
from sae_widgets.widgets import FeatureRow, HeatmapView

ROWS = 200
"""The most features a heatmap is sent: more than a person will scroll through."""


def read(
    model: Model, sae: SAE, text: str, catalogue: Catalogue, check: Callable[[], None]
) -> HeatmapView:
    """What a heatmap shows of a text, which is cut where the model's context ends."""
    check()
    limit = context_length(model)
    encoded = encode(model.tokenizer, text, limit=limit, begin=begins(model))
    features = capture(model, sae, encoded.ids)
    check()
    spelled = pieces(model.tokenizer, encoded.ids)
    rows = _rows(features)
    place = torch.full((sae.d_sae,), -1)
    place[rows] = torch.arange(len(rows))
    row = place[features.feature]
    sent = row >= 0
    return HeatmapView(
        text=text,
        sae=sae.name,
        tokens=[piece.shown for piece in spelled],
        special=[i for i, piece in enumerate(spelled) if piece.special],
        part=[i for i, piece in enumerate(spelled) if piece.part],
        features=[_row(catalogue.about(sae, feature), features) for feature in rows],
        row=row[sent].numpy(),
        column=features.position[sent].numpy(),
        value=features.value[sent].numpy(),
        active=len(features.summary.feature),
        note=_note(encoded, context_length(model)),
        model=str(model.cfg.model_name),
        hook=sae.hook,
        width=sae.d_sae,
        explained=[round(float(x), 4) for x in features.explained.clamp(0, 1)],
    )


def describe(
    model: Model, sae: SAE, features: Sequence[int], catalogue: Catalogue
) -> list[dict[str, Any]]:
    """What the card of each feature shows. What all of them make likely is one product."""
    stats = sae.stats
    lenses, note = [Lens((), ())] * len(features), ""
    try:
        lenses = logit_lens(model, sae, features)
    except ValueError as error:  # a hook that does not write into the residual stream
        note = str(error)

    def readable(side: Sequence[tuple[int, float]]) -> list[list[Any]]:
        return [[shown(model.tokenizer, token), round(x, 3)] for token, x in side]

    return [
        {
            **catalogue.about(sae, feature),
            "histogram": None if stats is None else stats.histogram[feature].tolist(),
            "likely": readable(lens.likely),
            "unlikely": readable(lens.unlikely),
            "note": note,
        }
        for feature, lens in zip(features, lenses, strict=True)
    ]


def _row(about: dict[str, Any], features: Features) -> FeatureRow:
    known = {name: value for name, value in about.items() if name != "sae"}
    summary = features.summary
    place = int(torch.searchsorted(summary.feature, about["feature"]))
    return FeatureRow(
        **known,
        max=digits(summary.max[place]),
        mean=digits(summary.mean[place]),
        share=digits(summary.share[place]),
    )


def _rows(features: Features) -> list[int]:
    """The features worth sending: the strongest by each measure, in order of their maximum."""
    if len(features.summary.feature) <= ROWS:
        return features.strongest(ROWS)
    wanted = {
        feature for by in ("mean", "share") for feature in features.strongest(ROWS // 5, by=by)
    }
    order = features.strongest(len(features.summary.feature))
    for feature in order:
        if len(wanted) == ROWS:
            break
        wanted.add(feature)
    return [feature for feature in order if feature in wanted]


def _note(encoded: Encoded, limit: int) -> str:
    if encoded.dropped:
        return (
            f"This model reads {limit} tokens at once: the first {len(encoded.ids)} of "
            f"{len(encoded.ids) + encoded.dropped} are shown."
        )
    return ""
