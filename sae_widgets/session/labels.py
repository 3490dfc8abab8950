"""What people call features, and how best to steer with them where that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sae_widgets.sae import SAE
from sae_widgets.steering import Add, edit_from_json


@dataclass(frozen=True)
class Label:
    """What a person calls a feature, and how best to steer with it where that is known.

    `push`: an `Add` of that feature.
    """

    label: str
    push: Add | None = None


Labels = Mapping[str, Mapping[Any, Any]]
"""By the name of the SAE and the number of the feature: a text, or a record with a `label`. A
record may say how best to steer with it: a `strength` (× peak), and `where` and `schedule` as in
`Edit.to_json`."""


def read_labels(labels: Labels, saes: Mapping[str, SAE]) -> dict[str, dict[int, Label]]:
    """The labels of each SAE; raises if one is of no feature there is."""
    found: dict[str, dict[int, Label]] = {name: {} for name in saes}
    for name, known in labels.items():
        if name not in saes:
            raise ValueError(f"there are labels for an SAE {name!r}; there are {list(saes)}")
        for feature, entry in known.items():
            saes[name].check_feature(int(feature))
            record = {"label": entry} if isinstance(entry, str) else entry
            found[name][int(feature)] = _label(record, int(feature), saes[name])
    return found


def _label(record: Mapping[str, Any], feature: int, sae: SAE) -> Label:
    """A label from what it was given as; what else is known of the feature is left aside."""
    push = None
    if record.get("strength") is None:
        if alone := sorted({"where", "schedule"} & set(record)):
            raise ValueError(
                f"the label of feature {feature} of SAE {sae.name!r} has a {alone[0]!r} but no "
                "strength to go with it; give it one (× peak), or leave that out"
            )
    else:
        if sae.stats is None or not sae.stats.peak[feature] > 0:
            raise ValueError(
                f"a label recommends a strength for feature {feature} of SAE {sae.name!r}, × its "
                "peak, but that peak is not known: give the SAE statistics, or drop the strength"
            )
        said = {key: record[key] for key in ("strength", "where", "schedule") if key in record}
        read = edit_from_json({"op": "add", "feature": feature, "sae": sae.name, **said})
        push = cast(Add, read)
    return Label(str(record["label"]), push)
