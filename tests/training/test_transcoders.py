"""Transcoders: a planted linear map and planted features are found, and folded to what is read."""

import pytest
import torch
from planted import planted

import sae_widgets as sw
from sae_widgets.training import penalties
from sae_widgets.training.activations import Rows
from sae_widgets.training.from_texts import train
from sae_widgets.training.objectives import Batch, BatchTopK, TopK
from sae_widgets.training.penalties import L1, Gated
from sae_widgets.training.recipe import Recipe
from sae_widgets.training.trainer import (
    Learner,
    Learners,
    SAETrainer,
    arguments,
    fit,
    initial,
    started,
)

HEADS = "blocks.1.attn.hook_z"  # what is read here, W_O brings linearly to
OUT = "blocks.1.hook_attn_out"
TEXTS = [
    " ".join(chr(ord("a") + (n * n + 3 * i * n) % 19) for i in range(4 + n % 9)) for n in range(60)
]


class Batches:
    """Vectors to read and to write, in turn."""

    def __init__(self, x, y, size=256):
        self.x, self.y, self.size = x, y, size

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        while True:
            order = torch.randperm(len(self.x), generator=generator)
            for rows in order[: len(order) // self.size * self.size].view(-1, self.size):
                yield {"in": self.x[rows], "out": self.y[rows]}


def taught(x, y, objective, folder, **options):
    told = {"steps": 300, "batch": 256, "lr": 1e-2, "hook_out": "out"} | options
    recipe = Recipe("in", 24, objective, **told).filled(y.shape[1])
    learner = started(recipe, {"in": x, "out": y})
    settings = arguments(recipe, str(folder), streaming=True)
    SAETrainer(Learners([learner]), Batches(x, y), settings, progress=False).train()
    return learner.finished()


def unexplained(sae, x, y):
    return float((y - sae(x)).square().sum() / (y - y.mean(0)).square().sum())


def test_features_that_are_read_in_one_place_are_written_in_another(tmp_path):
    _, read = planted()
    generator = torch.Generator().manual_seed(5)
    written = torch.nn.functional.normalize(torch.randn(12, 10, generator=generator), dim=1)
    chosen = torch.rand(6000, 12, generator=generator).topk(2).indices
    codes = torch.zeros(6000, 12).scatter(1, chosen, 1 + torch.rand(6000, 2, generator=generator))
    x, y = 20 * (codes @ read) + 5.0, 0.3 * (codes @ written) - 2.0
    sae = taught(x, y, BatchTopK(2), tmp_path)
    assert unexplained(sae, x, y) < 0.2
    assert (written @ sae.W_dec.T).amax(1).min() > 0.8
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(24))


def test_the_skip_connection_finds_a_linear_map(tmp_path):
    x, _ = planted()
    generator = torch.Generator().manual_seed(5)
    linear = torch.randn(3, 8, generator=generator)
    y = 0.1 * x @ linear.T + torch.tensor([1.0, -7.0, 2.0])
    sae = taught(x, y, BatchTopK(1, rescue=0.0), tmp_path, skip=True, steps=600)
    assert unexplained(sae, x, y) < 1e-3
    without = sae.decode(torch.zeros(1, 24), torch.zeros(1, 8)) - sae.b_dec
    assert not without.any()
    torch.testing.assert_close(sae.W_skip, 0.1 * linear, atol=0.03, rtol=0)


@pytest.mark.parametrize(
    "objective",
    [BatchTopK(2), L1(0.5), Gated(0.5), penalties.JumpReLU(2.0, threshold=0.4)],
    ids=lambda each: type(each).__name__,
)
def test_scales_and_means_of_both_sides_are_folded_away(objective):
    """The trained one on x does what the one in training does on what it sees of x."""
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.randn(100, 3, generator=generator) + 50.0
    y = 0.02 * torch.randn(100, 5, generator=generator) - 9.0
    recipe = Recipe("in", 7, objective, hook_out="out", skip=True).filled(5)
    learner = started(recipe, {"in": x, "out": y})
    inner = learner.sae.requires_grad_(False)
    inner.b_enc.add_(torch.linspace(-0.3, 0.4, 7))
    inner.b_dec.add_(torch.linspace(-1, 1, 5))
    inner.W_skip.copy_(torch.randn(5, 3, generator=generator))
    learner.threshold.fill_(0.35)
    seen = learner.scale * (x - x.mean(0))
    assert seen.square().sum(1).mean().item() == pytest.approx(3, rel=1e-4)
    to_write = learner.scale_out * (y - y.mean(0))
    assert to_write.square().sum(1).mean().item() == pytest.approx(5, rel=1e-3)
    if isinstance(objective, BatchTopK):
        pre = (seen @ inner.W_enc + inner.b_enc).relu()
        guess = (pre * (pre > 0.35)) @ inner.W_dec + inner.b_dec + seen @ inner.W_skip.T
    else:
        batch = Batch(seen, y * learner.scale_out, torch.zeros(7, dtype=torch.bool))
        guess = objective(inner, batch).guess
    torch.testing.assert_close(
        learner.finished()(x), guess / learner.scale_out, rtol=1e-4, atol=1e-4
    )


def test_a_transcoder_starts_with_directions_of_its_own_to_read_and_at_the_mean_of_the_output():
    recipe = Recipe("in", 24, BatchTopK(2), hook_out="out").filled(3)
    sae = initial(recipe, torch.tensor([1.0, 2.0, 3.0]), 8)
    assert (sae.d_in, sae.d_model, sae.pre_bias) == (8, 3, False)
    torch.testing.assert_close(sae.W_enc.norm(dim=0), torch.ones(24))
    assert sae.b_dec.tolist() == [1.0, 2.0, 3.0]
    assert Learner(sae, recipe, 1.0).recipe.hooks == ("in", "out")


def test_a_transcoder_from_texts_goes_through_a_file_and_works_in_a_session(model, tmp_path):
    recipe = Recipe(
        HEADS, 24, BatchTopK(2), hook_out=OUT, skip=True, steps=150, batch=64, context=16,
        buffer=300, lr=1e-2,
    )  # fmt: skip
    made = train(model, TEXTS, recipe, folder=tmp_path / "run", progress=False)
    assert (made.hook, made.hook_out) == (HEADS, OUT)
    loaded = sw.load_sae(tmp_path / "run" / HEADS)
    for name, tensor in made.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)
    session = sw.Session(model, loaded, sample=TEXTS[5] + " " + TEXTS[7])  # which tries its fit
    assert session.features(TEXTS[5]).value.min() > 0
    run = session.generate("a b c", [sw.Add(0, 2.0, unit="norm")], max_new_tokens=3)
    assert len(run.tokens) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": True}, "say in hook_out where"),
        ({"hook_out": "in"}, "writes elsewhere than it reads"),
        (
            {"hook_out": "out", "objective": TopK(2)},
            "no transcoder with TopK; choose Batch",
        ),
    ],
)
def test_what_makes_no_transcoder_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Recipe("in", **options)


def test_vectors_to_read_alone_make_no_transcoder():
    with pytest.raises(ValueError, match="needs what it is to write beside what it reads"):
        fit(Rows(torch.randn(300, 3)), Recipe("in", 8, BatchTopK(2), hook_out="out", batch=32))


def test_activations_that_do_not_differ_are_refused():
    recipe = Recipe("in", 8, BatchTopK(2), hook_out="out").filled(5)
    with pytest.raises(ValueError, match="zero or the same"):
        started(recipe, {"in": torch.ones(50, 3), "out": torch.randn(50, 5)})


def test_a_place_to_write_that_does_not_exist_is_refused(model):
    with pytest.raises(ValueError, match="Nearest names"):
        train(model, TEXTS, Recipe(HEADS, hook_out="blocks.1.hook_attn_uot"), progress=False)
