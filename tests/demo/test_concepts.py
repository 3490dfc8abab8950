"""Concept recovery, on a handful of rows whose answers were counted by hand."""

import pytest
import torch

from sae_widgets.demo.concepts import (
    Evidence,
    absorption,
    agreement,
    assigned,
    both_ways,
    correlation,
    coverage,
    detectors,
    grouped,
    likeness,
    pool,
    split,
)


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float32)[:, None]


def test_pooling_takes_the_largest_value_of_a_sentence_and_zero_where_nothing_fires():
    values = torch.tensor([[0.5, 0.0], [2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
    pooled = pool(values, torch.tensor([0, 0, 2, 2]), 3)
    assert pooled.tolist() == [[2.0, 0.0], [0.0, 0.0], [1.0, 3.0]]


def test_correlation_is_matthews():
    # Of 8: 3 hits, 1 false alarm, 1 miss, 3 correct rejections: (9 - 1) / (4 * 4) = 0.5.
    truth = column(1, 1, 1, 1, 0, 0, 0, 0)
    said = column(1, 1, 1, 0, 1, 0, 0, 0)
    assert correlation(truth, said).item() == pytest.approx(0.5)


def test_a_constant_answer_correlates_with_nothing():
    assert correlation(column(1, 0, 1), column(1, 1, 1)).item() == 0.0


@pytest.fixture
def world():
    """Feature 0 is concept `a` with noise below a tenth; feature 1 is right only while choosing."""
    truth = torch.tensor([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [0, 1]]).bool()
    choosing = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]).bool()
    values = torch.tensor(
        [
            [9.0, 0.0],
            [0.5, 4.0],
            [8.0, 0.0],
            [0.4, 4.0],
            [7.0, 4.0],
            [0.3, 4.0],
            [10.0, 0.0],
            [0.1, 0.0],
        ]
    )
    return values, Evidence(("a", "b"), truth, choosing)


def test_choice_and_score_use_different_rows(world):
    values, evidence = world
    found = agreement(values, evidence)
    first, second = detectors(values, evidence, found)
    assert (first.feature, first.mcc, first.chosen_mcc) == (0, 1.0, 1.0)
    assert 0.5 < first.threshold < 7
    assert (second.feature, second.chosen_mcc, second.mcc) == (1, 1.0, 0.0)
    assert (second.precision, second.recall) == (0.5, 0.5)


def test_groups_and_coverage_are_counted_on_scored_values(world):
    values, evidence = world
    found = detectors(values, evidence, agreement(values, evidence))
    assert grouped(found, {"both": ("a", "b"), "first": ("a",)}) == {"both": 0.5, "first": 1.0}
    assert coverage(found) == 1


def test_two_concepts_cannot_be_assigned_the_same_feature():
    truth = torch.tensor([[1, 1], [1, 1], [0, 0], [0, 1]] * 2).bool()
    choosing = torch.tensor([True] * 4 + [False] * 4)
    values = torch.tensor([[5.0, 0.0], [5.0, 0.0], [0.0, 5.0], [0.0, 0.0]] * 2)
    evidence = Evidence(("a", "b"), truth, choosing)
    found = agreement(values, evidence)
    assert [one.feature for one in detectors(values, evidence, found)] == [0, 0]
    assert sorted(one.feature for one in assigned(values, evidence, found)) == [0, 1]


def test_splitting_counts_the_features_at_least_half_as_good():
    found = agreement(
        torch.tensor([[5.0, 4.0, 0.0], [5.0, 0.0, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, 1.0]]),
        Evidence(("a",), torch.tensor([[True], [True], [False], [False]]), torch.ones(4).bool()),
    )
    assert split(found).tolist() == [2.0]


def test_absorption_is_a_silent_parent_beside_a_loud_child():
    # Animal: rows 0-3. Cat: rows 2-3. The parent's feature misses both cats; the cat's feature
    # fires on one of them.
    truth = torch.tensor([[1, 0], [1, 0], [1, 1], [1, 1], [0, 0], [0, 0]]).bool().repeat(2, 1)
    choosing = torch.tensor([True] * 6 + [False] * 6)
    while_choosing = torch.tensor([[3.0, 0.0], [3.0, 0.0], [3.0, 2.0], [3.0, 2.0], [0, 0], [0, 0]])
    while_scoring = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 0.0], [0, 0], [0, 0]])
    values = torch.cat([while_choosing, while_scoring])
    evidence = Evidence(("animal", "animal:cat"), truth, choosing)
    found = agreement(values, evidence)
    (one,) = absorption(values, evidence, found, {"animal": ["animal:cat", "animal:unicorn"]})
    assert (one.parent, one.child, one.missed, one.absorbed) == ("animal", "animal:cat", 1.0, 0.5)


def test_likeness_looks_for_the_nearest_direction_whatever_its_length():
    one = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    other = torch.tensor([[0.0, 5.0], [3.0, 4.0]])
    assert likeness(one, other) == pytest.approx((0.6 + 1.0) / 2)


def test_a_direction_makes_two_features():
    assert both_ways(torch.tensor([[-2.0, 3.0]])).tolist() == [[0.0, 3.0, 2.0, 0.0]]
