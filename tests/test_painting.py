"""Painted edits: strengths on the tokens of a text, as an edit, and read off it again."""

import math

import pytest
import tiny
import torch

import sae_widgets as sw
from sae_widgets.model import activations
from sae_widgets.steering.painting import painted, repainted
from sae_widgets.wire import told_painted

SHARES = sw.Values((0.0, 1.0, 0.5, 2.0))
FIRST = sw.Add(5, 1.0, where=sw.Span())


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (sw.Add(5, -0.5, schedule=SHARES), [0.0, -0.5, -0.25, -1.0]),
        (sw.Add(5, 3.0, where="prompt", schedule=SHARES), [0.0, 3.0, 1.5, 6.0]),
        # Of another operation it is how much of it is done that is painted.
        (sw.Set(5, 3.0, schedule=SHARES), [0.0, 1.0, 0.5, 2.0]),
        (sw.Ablate(5, schedule=SHARES), [0.0, 1.0, 0.5, 2.0]),
        # A span counts from where it starts, leaves places out, and stops.
        (sw.Add(5, 1.0, where=sw.Span(2), schedule=SHARES), [0.0, 0.0, 0.0, 1.0, 0.5, 2.0]),
        (sw.Add(5, 1.0, where=sw.Span(1, 4, 2), schedule=SHARES), [0.0, 0.0, 0.0, 0.5]),
        # What is written begins somewhere else in every text.
        (sw.Add(5, 1.0, where="generated", schedule=SHARES), None),
        (sw.Add(5, 1.0, where="last", schedule=SHARES), None),
        (sw.Add(5, 1.0, schedule=sw.Decay(6)), None),
        (sw.Add(5, 1.0), None),
    ],
)
def test_what_is_painted_is_what_an_edit_does_at_each_token_of_a_text(edit, expected):
    assert painted(edit) == expected


def test_an_edit_is_painted_with_strengths_up_to_the_last_that_is_any():
    made = repainted(FIRST, [0, 0.25, 0, -1.5, 0, 0])
    shares = (0.25 / -1.5, 0.0, 1.0)
    assert made == sw.Add(5, -1.5, where=sw.Span(1, 4), schedule=sw.Values(shares))
    assert painted(made) == [0.0, 0.25, 0.0, -1.5]


def test_what_is_painted_alike_reads_as_it_was_painted():
    """0.5 × peak on the tokens 1 to 8."""
    made = repainted(FIRST, [0, *[0.5] * 8, 0])
    assert (made.strength, made.where) == (0.5, sw.Span(1, 9))
    assert made.schedule == sw.Values((1.0,) * 8)


@pytest.mark.parametrize("nothing", [[], [0, 0.0]])
def test_nothing_is_left_of_an_edit_that_is_painted_over_with_nothing(nothing):
    assert repainted(FIRST, nothing) is None


def test_painting_over_changes_the_strengths_and_nothing_else():
    old = sw.Set(5, 3.0, where="prompt", schedule=SHARES, when=sw.Fires(2), sae="x", on=False)
    new = repainted(old, [0, 0, 0.5])
    assert new == sw.Set(
        5,
        3.0,
        where="prompt",
        schedule=sw.Values((0.0, 0.0, 0.5)),
        when=sw.Fires(2),
        sae="x",
        on=False,
    )
    # The slider of an Add moved all that was painted: what is painted now is meant as it is.
    moved = sw.Add(5, 0.5, unit="norm", where=sw.Span(3), schedule=SHARES)
    assert painted(repainted(moved, [0, 0.5])) == [0.0, 0.5]
    assert repainted(moved, [0, 0.5]).unit == "norm"


@pytest.mark.parametrize("bad", [[0, math.nan], [math.inf]])
def test_what_is_no_strength_cannot_be_painted(bad):
    with pytest.raises(ValueError, match="finite values"):
        repainted(FIRST, bad)


def test_each_token_is_pushed_as_it_is_painted_and_a_special_one_is_not(any_model, sae):
    ids = torch.tensor([[0, 30, 41, 52, 0, 33]])  # 0 is special
    edit = repainted(FIRST, [9, 0.5, 0, 1.5, 9, 0])
    plain = activations(any_model, ids, tiny.HOOK)
    with sw.steering(any_model, sae, [edit]):
        steered = activations(any_model, ids, tiny.HOOK)
    moved = (steered - plain)[0]
    expected = torch.zeros(6, 16)
    expected[:, 5] = 1.5 * torch.tensor([0, 0.5, 0, 1.5, 0, 0])  # feature 5 is axis 5, its peak 1.5
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=1e-5)


def test_the_heatmap_is_told_of_painted_features_and_of_no_vector():
    vector = sw.Add([1.0, 0.0], 1.0, unit="raw", schedule=SHARES)
    ablated = sw.Ablate(7, schedule=SHARES, sae="x", on=False)
    assert told_painted([vector, sw.Add(3, 1.0), ablated, sw.Add(5, 2.0, schedule=SHARES)]) == [
        {
            "sae": "x",
            "feature": 7,
            "op": "ablate",
            "unit": "",
            "on": False,
            "values": [0, 1, 0.5, 2],
        },
        {
            "sae": None,
            "feature": 5,
            "op": "add",
            "unit": "peak",
            "on": True,
            "values": [0, 2, 1, 4],
        },
    ]
