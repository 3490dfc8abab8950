"""The SAEs of a session and the features that a person can choose from, as widgets are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sae_widgets.sae import SAE
from sae_widgets.session.labels import Label
from sae_widgets.steering.edits import AnyEdit

LISTED = 1024
"""If the chosen SAE has at most so many features, all are listed; else only labelled ones."""


class Catalogue:
    """What is known of every feature of some SAEs, which go by their names."""

    def __init__(self, saes: Mapping[str, SAE], labels: Mapping[str, Mapping[int, Label]]) -> None:
        self._saes = saes
        self._labels = labels
        self._all_choices: dict[str, list[dict[str, Any]]] = {}

    def about(self, sae: SAE, feature: int) -> dict[str, Any]:
        """A feature's name, and how strongly and how often it fires."""
        label = self._labels[sae.name].get(feature)
        return {
            "sae": sae.name,
            "feature": feature,
            "label": "" if label is None else label.label,
            "peak": None if sae.stats is None else digits(sae.stats.peak[feature]),
            "density": None if sae.stats is None else digits(sae.stats.density[feature]),
        }

    def listed(self, chosen: str, edits: Iterable[AnyEdit]) -> list[dict[str, Any]]:
        """The features to choose from and to name: the chosen SAE's, and those being steered with.

        Every saved notebook carries this list, so it does not hold all features of all SAEs.
        """
        used = {(edit.sae, edit.feature) for edit in edits}
        others = sorted(
            (name, feature)
            for name, feature in used
            if name is not None and feature is not None and name != chosen
        )
        return [
            *self._choices(chosen),
            *(self._choice_of(self._saes[name], feature) for name, feature in others),
        ]

    def saes(self) -> list[dict[str, Any]]:
        """The SAEs to choose from."""
        return [
            {
                "name": sae.name,
                "title": sae.title,
                "placebo": sae.placebo,
                "hook": sae.hook,
                "width": sae.d_sae,
                "norm": None if sae.stats is None else digits(sae.stats.norm),
            }
            for sae in self._saes.values()
        ]

    def _choices(self, name: str) -> list[dict[str, Any]]:
        """The features of one SAE that a person can choose from."""
        if name not in self._all_choices:
            sae, known = self._saes[name], self._labels[name]
            features = range(sae.d_sae) if sae.d_sae <= LISTED else sorted(known)
            self._all_choices[name] = [
                self._choice_of(sae, feature)
                for feature in features
                # One that never fired stands for nothing.
                if feature in known or sae.stats is None or sae.stats.peak[feature]
            ]
        return self._all_choices[name]

    def _choice_of(self, sae: SAE, feature: int) -> dict[str, Any]:
        label = self._labels[sae.name].get(feature)
        push = None if label is None or label.push is None else label.push.to_json()
        return {**self.about(sae, feature), "push": push}


def digits(value: Any) -> float:
    """Five digits are more than a screen shows, and a third of what JSON would spell out."""
    return float(f"{float(value):.5g}")
