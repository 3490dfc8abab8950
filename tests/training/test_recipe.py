"""What a recipe fills in, and what it refuses before any work is done."""

import math

import pytest

from sae_widgets.training.objectives import BatchTopK, Matryoshka, TopK, check_k
from sae_widgets.training.penalties import L1, JumpReLU
from sae_widgets.training.recipe import Recipe


def test_the_default_rate_falls_with_the_root_of_the_width():
    assert Recipe("h", steps=160_000).rate(2**14, 64) == pytest.approx(2e-4)
    assert Recipe("h", steps=160_000).rate(2**12, 64) == pytest.approx(4e-4)
    assert Recipe("h", lr=0.1).rate(4, 64) == 0.1


def test_a_short_run_takes_longer_steps_with_rows_held_at_unit_norm():
    assert Recipe("h", steps=1600).rate(2**14, 64) == pytest.approx(2e-3)
    assert Recipe("h", steps=200_000).rate(2**14, 64) == pytest.approx(2e-4)
    assert Recipe("h", objective=L1(1.0), steps=1000).rate(2**12, 64) == pytest.approx(4e-4)
    assert Recipe("h", objective=L1(1.0), steps=1000).rate(4, 64) == 2e-3
    assert Recipe("h", objective=JumpReLU(l0=4.0), steps=100).rate(4, 64) == 8e-3
    assert Recipe("h", steps=160_000).rate(4, 64) == 2e-3
    assert Recipe("h", steps=1000, frozen=True).rate(2**12, 64) == pytest.approx(4e-4)


@pytest.mark.parametrize(
    ("k", "d_model", "share"),
    [(16, 64, 1.0), (40, 64, 1.0), (9, 64, 0.75), (4, 64, 0.5), (1, 64, 0.5)],
)
def test_the_ceiling_of_short_runs_is_lower_where_few_features_fire(k, d_model, share):
    for objective, most in ((TopK(k), 1.6e-2), (BatchTopK(k), 1.25e-2), (Matryoshka(k), 6e-3)):
        rate = Recipe("h", objective=objective, steps=100).rate(4, d_model)
        assert rate == pytest.approx(share * most)


def test_what_is_not_said_follows_from_the_width_of_the_activations():
    filled = Recipe("h").filled(64, processes=4)
    assert (filled.d_sae, filled.shards, filled.name) == (1024, 4, "h")
    assert filled.objective == Matryoshka(8)
    assert filled.lr == pytest.approx(6e-3 / 2**0.5)  # half of a quarter of 64 fire
    assert Recipe("h").filled(4096).objective == Matryoshka(32)


def test_what_is_said_stays():
    recipe = Recipe("h", 48, BatchTopK(5), lr=1e-3, shards=2, name="mine")
    assert recipe.filled(64, processes=4) == recipe


def test_a_feature_is_dead_after_a_share_of_the_run_or_ten_million_vectors():
    assert Recipe("h", steps=1000, batch=1024).silence == 50
    assert Recipe("h", steps=100_000, batch=4000).silence == 2500
    assert Recipe("h", steps=3).silence == 1


def test_all_of_it_is_json():
    told = Recipe("h", 48, BatchTopK(5)).to_json()
    assert told["objective"] == {"name": "BatchTopK", "k": 5, "rescue": 1 / 32}
    assert told["steps"] == 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps and batch must be at least 1; got 0"),
        ({"batch": 0}, "at least 1; got 1000, 0"),
        ({"d_sae": 0}, "at least one feature; got d_sae=0"),
        ({"d_sae": 8, "objective": BatchTopK(9)}, "k = 9 features cannot fire"),
        ({"d_sae": 64, "objective": Matryoshka(4, (8, 32))}, "last Matryoshka prefix is 32"),
        ({"warmup": 0.5, "decay": 0.6}, "together at most 1; got 0.5 and 0.6"),
        ({"warmup": math.nan}, "together at most 1; got nan and 0.2"),
        ({"decay": math.nan}, "together at most 1; got 0.05 and nan"),
        ({"precision": "float16"}, "'float32' or 'bfloat16'; got 'float16'"),
        ({"lr": -1e-3}, "more than 0; got -0.001"),
        ({"lr": math.nan}, "more than 0; got nan"),
        ({"beta1": 1.0}, "from 0 to below 1; got 1.0"),
        ({"patience": -0.1}, "from 0; got -0.1"),
        ({"patience": math.nan}, "from 0; got nan"),
        ({"patience": math.inf}, "finite share of the run, from 0; got inf"),
        ({"buffer": 0}, "at least 1; got 256, 0 and None"),
        ({"shards": 0}, "at least 1; got 256, 131072 and 0"),
        ({"name": "../x"}, "'../x' can name none"),
        ({"name": "checkpoint-3"}, "'checkpoint-3' can name none"),
        ({"name": "run.json"}, "'run.json' can name none"),
        ({"name": ".."}, "'..' can name none"),
        ({"clip": 0.0}, "clip is the longest gradient, more than 0; got 0.0"),
        ({"clip": math.inf}, "got inf. A large number, such as 1e9, clips none"),
    ],
)
def test_a_contradiction_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Recipe("h", **options)


def test_a_number_of_features_is_a_whole_one():
    with pytest.raises(ValueError, match=r"a whole number from 1; got 16\.0"):
        check_k(16.0)
    with pytest.raises(ValueError, match=r"prefixes must grow.* got \(0, 64\)"):
        Matryoshka(k=4, prefixes=(0, 64))


def test_a_contradiction_that_the_width_brings_is_refused_too():
    with pytest.raises(ValueError, match="k = 200 features cannot fire of a dictionary of 128"):
        Recipe("h", objective=BatchTopK(200)).filled(8)
