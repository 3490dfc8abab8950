"""Edits are values: they check themselves, print as code and go through JSON."""

import json
import math
import operator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sae_widgets as sw
from sae_widgets.steering.edits import edit_from_json

numbers = st.floats(allow_nan=False, allow_infinity=False)
spans = st.builds(sw.Span, st.integers(0, 9), st.none() | st.integers(10, 99), st.integers(1, 5))
places = st.sampled_from(["all", "prompt", "generated", "last"]) | spans
counts = st.integers(1, 50)
schedules = st.one_of(
    st.none(),
    st.tuples(st.just(sw.Ramp), counts),
    st.tuples(st.just(sw.Decay), st.floats(0.1, 50)),
    st.tuples(st.just(sw.Pulse), counts, counts),
    st.tuples(st.just(sw.Values), st.lists(numbers, min_size=1, max_size=4)),
)
features = st.integers(0, 10**6)
vectors = st.lists(numbers, min_size=1, max_size=5).filter(any)
senses = st.one_of(
    st.builds(sw.Fires, features, numbers, over=st.sampled_from(["token", "prompt"])),
    st.builds(sw.Fires, features, sae=st.text(max_size=4)),
    st.builds(sw.Near, vectors, numbers, hook=st.none() | st.text(max_size=4)),
)
conditions = st.none() | st.recursive(
    senses,
    lambda inner: st.one_of(
        st.builds(operator.and_, inner, inner),
        st.builds(operator.or_, inner, inner),
        st.builds(operator.invert, inner),
    ),
    max_leaves=3,
)
common = {
    "when": conditions,
    "where": places,
    "schedule": schedules,
    "sae": st.none() | st.text(max_size=5),
    "on": st.booleans(),
}
units = st.sampled_from(["peak", "norm", "raw"])


def makes(kind, *arguments, **options):
    """The parts of an edit: it is made in the test, where its own checks may use chance."""
    return st.tuples(
        st.just(kind), st.tuples(*arguments), st.fixed_dictionaries({**common, **options})
    )


edits = st.one_of(
    makes(sw.Add, features, numbers, unit=units),
    makes(sw.Add, vectors, numbers, unit=st.sampled_from(["norm", "raw"])),
    makes(sw.Set, features, numbers, unit=units),
    makes(sw.Floor, features, numbers, unit=units),
    makes(sw.Ceiling, features, numbers, unit=units),
    makes(sw.Replace, features, numbers, unit=units),
    makes(sw.Scale, features, numbers),
    makes(sw.Rotate, features | vectors, numbers),
    makes(sw.Ablate, features | vectors),
    makes(sw.ProjectOut, features | vectors),
)


@settings(max_examples=60)
@given(edits)
def test_an_edit_goes_through_json_and_prints_as_the_code_that_makes_it(parts):
    kind, arguments, options = parts
    if options["schedule"] is not None:
        schedule, *numbers = options["schedule"]
        options = {**options, "schedule": schedule(*numbers)}
    edit = kind(*arguments, **options)
    assert edit_from_json(json.loads(json.dumps(edit.to_json()))) == edit
    assert eval(repr(edit), vars(sw) | {name: getattr(sw, name) for name in sw.__all__}) == edit


def test_defaults_are_not_printed():
    assert repr(sw.Add(123, 0.5)) == "Add(123, 0.5)"
    assert repr(sw.Set(7, 2, unit="raw", where="generated")) == (
        "Set(7, 2.0, where='generated', unit='raw')"
    )
    assert repr(sw.Ablate(7, on=False)) == "Ablate(7, on=False)"
    assert repr(sw.Add(range(1, 5000), 1, unit="raw")) == (
        "Add([1.0, 2.0, 3.0, … 4999 numbers], 1.0, unit='raw')"
    )


def test_the_json_is_what_the_browser_sends():
    assert sw.Add(131, 0.48, sae="topk-256").to_json() == {
        "op": "add",
        "feature": 131,
        "strength": 0.48,
        "unit": "peak",
        "where": "all",
        "sae": "topk-256",
        "on": True,
    }
    sent = {"op": "scale", "feature": 2, "strength": 0, "unit": "peak", "sae": None, "on": True}
    assert edit_from_json(sent) == sw.Scale(2, 0)
    assert edit_from_json({"op": "ablate", "feature": 2, "strength": 1.0}) == sw.Ablate(2)


def test_tensors_and_arrays_are_targets():
    assert sw.Add(torch.tensor([1.0, 2.5]), 1, unit="raw").target == (1.0, 2.5)
    assert sw.Ablate(np.int64(7)) == sw.Ablate(7) == sw.Ablate(torch.tensor(7))
    assert len({sw.Add(1, 2), sw.Add(1, 2.0), sw.Add(1, 3)}) == 2


@pytest.mark.parametrize("strength", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", [sw.Add, sw.Set, sw.Scale])
def test_a_strength_must_be_finite(kind, strength):
    with pytest.raises(ValueError, match="a strength must be finite; got"):
        kind(3, strength)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: sw.Add(-1, 1), ValueError, "numbered from 0; got -1"),
        (lambda: sw.Add(1.5, 1), TypeError, "a feature's number or a vector of d_model; got 1.5"),
        (lambda: sw.Add(True, 1), TypeError, "got True"),
        (lambda: sw.Add("sea", 1), TypeError, "got 'sea'"),
        (lambda: sw.Add(1, "strong"), TypeError, "a strength is a number; got 'strong'"),
        (lambda: sw.Add(1, True), TypeError, "a strength is a number; got True"),
        (lambda: sw.Add(1, 1, unit="peaks"), ValueError, "unit is one of 'peak', 'norm', 'raw'"),
        (lambda: sw.Set(1, 1, where="end"), ValueError, "where is one of 'all', .* or a Span; got"),
        (lambda: sw.Ablate(1, schedule=3), TypeError, "a schedule is a Ramp, Decay, Pulse or Val"),
        (lambda: sw.Ablate(1, when=True), TypeError, "when is a condition, such as Fires"),
        (lambda: sw.Fires(-1), ValueError, "a feature is a number from 0; got -1"),
        (lambda: sw.Fires(1, math.nan), ValueError, "threshold is a finite number; got nan"),
        (lambda: sw.Fires(1, over="text"), ValueError, "over is one of 'token', 'prompt'"),
        (lambda: sw.Near([0.0]), ValueError, "needs finite entries, not all zero"),
        (lambda: sw.Span(3, 3), ValueError, "stops after it starts"),
        (lambda: sw.Span(step=0), ValueError, "takes steps of 1 or more"),
        (lambda: sw.Ramp(0), ValueError, "over of a Ramp is a whole number of tokens from 1"),
        (lambda: sw.Pulse(4, True), ValueError, "width of a Pulse is a whole number"),
        (lambda: sw.Decay(0), ValueError, "half-life of a decay is above 0"),
        (lambda: sw.Values([]), ValueError, "needs finite values, at least one"),
        (lambda: sw.Values([1.0, math.nan]), ValueError, "needs finite values"),
        (lambda: sw.Add([1.0, math.nan], 1, unit="raw"), ValueError, "needs finite entries"),
        (lambda: sw.Ablate([0.0, 0.0]), ValueError, "not all zero"),
        (lambda: sw.Add([1.0], 1), ValueError, "a vector has no peak"),
        (lambda: sw.Add(1, 1, hook="x"), ValueError, "only a vector takes hook=, got 'x'"),
    ],
)
def test_a_wrong_edit_says_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"op": "push", "feature": 1},
            "op is one of add, set, target, floor, .*; got 'push'",
        ),
        ({"op": "add", "feature": 1}, "op 'add' needs a strength"),
        ({"op": "add", "strength": 1}, "either a feature or a vector"),
        ({"op": "ablate", "feature": 1, "vector": [1.0]}, "either a feature or a vector"),
        ({"op": "ablate", "feature": 1, "colour": "red"}, "an edit has no 'colour'"),
        ({"op": "ablate", "feature": 1, "where": {"end": 3}}, "a Span has no 'end'; it has"),
        (
            {"op": "ablate", "feature": 1, "schedule": {"kind": "wave"}},
            "one of ramp, decay",
        ),
    ],
)
def test_a_wrong_record_says_what_is_wrong(record, message):
    with pytest.raises(ValueError, match=message):
        edit_from_json(record)
