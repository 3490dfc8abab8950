"""Does a dictionary have a feature for a concept of the world? Every answer is exact.

A feature speaks about a sentence by the largest value it takes there. Which feature stands for a
concept, and from which value on, is chosen on one half of the documents; what is reported is
Matthews' correlation (MCC) with the truth on the other half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

# Thresholds that are tried, as shares of a feature's largest value.
SHARES = (0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8)
COVERED = 0.8  # a concept counts as covered from this MCC on


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known about held-out text: rows are either sentences or tokens."""

    concepts: tuple[str, ...]
    truth: Bool[Tensor, "row concept"]
    choosing: Bool[Tensor, " row"]  # rows for choosing; the others are for scoring


@dataclass(frozen=True)
class Detector:
    """The feature that stands for a concept. It says yes above `threshold`."""

    concept: str
    feature: int
    threshold: float
    mcc: float  # on the rows for scoring
    chosen_mcc: float  # on the rows for choosing: flattered by the choice
    precision: float
    recall: float


@dataclass(frozen=True, eq=False)
class Agreement:
    """How well every feature agrees with every concept, on the rows for choosing."""

    mcc: Float[Tensor, "concept feature"]
    threshold: Float[Tensor, "concept feature"]


def pool(
    values: Float[Tensor, "token feature"], sentence: Int[Tensor, " token"], sentences: int
) -> Float[Tensor, "sentence feature"]:
    """The largest value of each feature in each sentence (zero where it never fires)."""
    pooled = torch.zeros(sentences, values.shape[1])
    return pooled.scatter_reduce(0, sentence[:, None].expand_as(values), values, "amax")


def agreement(values: Float[Tensor, "row feature"], evidence: Evidence) -> Agreement:
    """Try every feature at every threshold for every concept, on the rows for choosing."""
    values = values[evidence.choosing]
    truth = evidence.truth[evidence.choosing].float()
    peak = values.amax(0)
    best = torch.full((truth.shape[1], values.shape[1]), -1.0)
    threshold = torch.zeros_like(best)
    for share in SHARES:
        mcc = correlation(truth, (values > share * peak).float())
        better = mcc > best
        best = torch.where(better, mcc, best)
        threshold = torch.where(better, (share * peak).expand_as(best), threshold)
    return Agreement(best, threshold)


def correlation(
    truth: Float[Tensor, "row concept"], said: Float[Tensor, "row feature"]
) -> Float[Tensor, "concept feature"]:
    """Matthews' correlation of every concept with every feature; 0 where either is constant."""
    rows = truth.shape[0]
    hits = (truth.T @ said).double()
    true, yes = truth.sum(0).double()[:, None], said.sum(0).double()[None]
    spread = (true * (rows - true) * yes * (rows - yes)).sqrt()
    return torch.where(spread > 0, (rows * hits - true * yes) / spread, 0.0).float()


def detectors(
    values: Float[Tensor, "row feature"], evidence: Evidence, found: Agreement
) -> list[Detector]:
    """The best single feature of every concept, scored on rows that had no say in the choice."""
    chosen = found.mcc.argmax(1)
    return [
        detector(values, evidence, found, concept, int(feature))
        for concept, feature in enumerate(chosen)
    ]


def detector(
    values: Float[Tensor, "row feature"],
    evidence: Evidence,
    found: Agreement,
    concept: int,
    feature: int,
) -> Detector:
    """Score one feature for one concept on the rows for scoring."""
    threshold = found.threshold[concept, feature].item()
    said = (values[~evidence.choosing, feature] > threshold).float()
    truth = evidence.truth[~evidence.choosing, concept].float()
    hits = (said * truth).sum().item()
    return Detector(
        concept=evidence.concepts[concept],
        feature=feature,
        threshold=threshold,
        mcc=correlation(truth[:, None], said[:, None]).item(),
        chosen_mcc=found.mcc[concept, feature].item(),
        precision=hits / max(1.0, said.sum().item()),
        recall=hits / max(1.0, truth.sum().item()),
    )


def grouped(found: Sequence[Detector], groups: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """The mean scored MCC of each group of concepts."""
    mcc = {one.concept: one.mcc for one in found}
    return {
        name: sum(mcc[concept] for concept in members) / len(members)
        for name, members in groups.items()
    }


def coverage(found: Sequence[Detector]) -> int:
    """How many concepts have a feature that agrees with them at `COVERED` or better."""
    return sum(one.mcc >= COVERED for one in found)


def assigned(
    values: Float[Tensor, "row feature"], evidence: Evidence, found: Agreement
) -> list[Detector]:
    """One feature a concept, no feature twice, chosen together (Hungarian assignment).

    Falls below `detectors` where concepts have to share a feature.
    """
    concept, feature = linear_sum_assignment(found.mcc.numpy(), maximize=True)
    return [
        detector(values, evidence, found, int(c), int(f))
        for c, f in zip(concept, feature, strict=True)
    ]


def split(found: Agreement, share: float = 0.5) -> Float[Tensor, " concept"]:
    """Into how many features a concept is split: those with at least `share` of the best MCC."""
    return (found.mcc >= share * found.mcc.amax(1, keepdim=True)).sum(1).float()


@dataclass(frozen=True)
class Absorption:
    """What happens to a general feature where a special case of its concept occurs.

    missed: share of the child's tokens at which the parent's feature is silent.
    absorbed: share at which it is silent and the child's own feature fires in its place.
    """

    parent: str
    child: str
    missed: float
    absorbed: float


def absorption(
    values: Float[Tensor, "token feature"],
    evidence: Evidence,
    found: Agreement,
    children: Mapping[str, Sequence[str]],
) -> list[Absorption]:
    """Measure absorption exactly: rows are tokens, and the truth says where each child occurs.

    A probe, which papers need in its place, is not needed in a world that one has made oneself.
    Features are chosen on the rows for choosing, and counted on the others. A child counts as
    absorbing only through a feature that is not the parent's.
    """
    index = {name: place for place, name in enumerate(evidence.concepts)}
    values, truth = values[~evidence.choosing], evidence.truth[~evidence.choosing]
    results = []
    for parent, names in children.items():
        if parent not in index:
            continue
        general = int(found.mcc[index[parent]].argmax())
        fires = values[:, general] > found.threshold[index[parent], general]
        for child in names:
            if child not in index or not truth[:, index[child]].any():
                continue
            mcc = found.mcc[index[child]].clone()
            mcc[general] = -1
            special = int(mcc.argmax())
            instead = values[:, special] > found.threshold[index[child], special]
            here = truth[:, index[child]]
            silent = ~fires[here]
            results.append(
                Absorption(
                    parent,
                    child,
                    missed=silent.float().mean().item(),
                    absorbed=(silent & instead[here]).float().mean().item(),
                )
            )
    return results


def likeness(
    one: Float[Tensor, "feature d_model"], other: Float[Tensor, "feature d_model"]
) -> float:
    """Seed stability: the mean, over features of `one`, of the largest cosine with `other`."""
    cosine = (
        torch.nn.functional.normalize(one, dim=1) @ torch.nn.functional.normalize(other, dim=1).T
    )
    return cosine.amax(1).mean().item()


def both_ways(x: Float[Tensor, "row direction"]) -> Float[Tensor, "row feature"]:
    """Positive and negative parts side by side: a fair dictionary made of plain directions."""
    return torch.cat([x.relu(), (-x).relu()], dim=1)
