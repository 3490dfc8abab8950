"""Transcoders, SAEs that normalise activations and SAEs of SAELens, in use."""

import pytest
import tiny
import torch

import sae_widgets as sw
from sae_widgets.explain import logit_lens
from sae_widgets.model import activations
from sae_widgets.sae import SAE, Centred, ConstantNorm, LayerNorm
from sae_widgets.steering.receipt import receipt

IDS = torch.tensor([[0, 30, 41, 52, 0, 33]])  # 0 is special
ORDINARY = [1, 2, 3, 5]
INTO, OUT = "blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"


def change(model, sae, edit, hook):
    plain = activations(model, IDS, hook)
    with sw.steering(model, sae, [edit]):
        return (activations(model, IDS, hook) - plain)[0]


@pytest.fixture
def transcoder():
    """Writes along axis f what it reads along axis f + 1."""
    sae = SAE(16, 16, INTO, hook_out=OUT, pre_bias=False, name="between")
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(16).roll(1, 0))
        sae.W_dec.copy_(3 * torch.eye(16))
        sae.b_dec.copy_(torch.linspace(-0.3, 0.5, 16))
    return sae.requires_grad_(False)


def test_a_transcoder_s_feature_is_pushed_where_it_is_written(model, transcoder):
    moved = change(model, transcoder, sw.Add(5, 2.0, unit="raw"), OUT)
    torch.testing.assert_close(moved[ORDINARY], 6 * torch.eye(16)[5].expand(4, 16))
    gone = activations(model, IDS, OUT)[0, 1, 5]
    left = change(model, transcoder, sw.ProjectOut(5), OUT)[1]
    torch.testing.assert_close(left, -gone * torch.eye(16)[5])


def test_an_edit_may_wait_for_what_a_transcoder_reads(model, transcoder):
    values = transcoder.encode(activations(model, IDS, INTO))[0, :, 5]
    bound = float(values[ORDINARY].sort().values[1:3].mean())
    edit = sw.Add(5, 1.0, unit="raw", when=sw.Fires(5, bound))
    moved = change(model, transcoder, edit, OUT)[ORDINARY].norm(dim=1)
    assert ((moved > 0) == (values[ORDINARY] > bound)).all()
    assert 0 < (moved > 0).sum() < 4


@pytest.mark.parametrize("edit", [sw.Set(5, 1.0, unit="raw"), sw.Scale(5, 2.0), sw.Ablate(5)])
def test_what_needs_a_transcoder_s_value_where_it_is_written_is_refused(model, transcoder, edit):
    with pytest.raises(ValueError, match=r"reads it at 'blocks\.1\.mlp\.hook_in' and writes it at"):
        change(model, transcoder, edit, OUT)


def test_what_a_transcoder_explains_is_what_it_is_to_write(model, transcoder):
    found = sw.capture(model, transcoder, IDS[0].tolist())
    x, y = activations(model, IDS, INTO)[0], activations(model, IDS, OUT)[0]
    values = transcoder.encode(x)
    missing = (y - transcoder(x)).square().sum(-1)
    expected = 1 - missing / (y - transcoder.b_dec).square().sum(-1)
    torch.testing.assert_close(found.explained[ORDINARY], expected[ORDINARY])
    assert (found.explained[[0, 4]] == 0).all()
    torch.testing.assert_close(found.column(7)[ORDINARY], values[ORDINARY, 7])


def test_a_transcoder_that_reads_the_heads_is_read_through_the_same_door(model):
    sae = SAE(16, 8, "blocks.0.attn.hook_z", hook_out="blocks.0.hook_attn_out", pre_bias=False)
    sae.requires_grad_(False)
    found = sw.capture(model, sae, IDS[0].tolist())
    z = activations(model, IDS, "blocks.0.attn.hook_z")[0].flatten(1)
    torch.testing.assert_close(found.column(3)[ORDINARY], sae.encode(z)[ORDINARY, 3])


@pytest.mark.parametrize("hook", ["blocks.0.attn.hook_z", "blocks.0.mlp.hook_post"])
def test_a_condition_on_what_a_transcoder_reads_knows_its_width(tokenizer, hook):
    """Four heads of six entries, and an MLP of as many: not the 16 of what is written."""
    model = tiny.llama(tokenizer, head_dim=6)
    sae = SAE(16, 8, hook, d_in=24, hook_out="blocks.0.hook_mlp_out", pre_bias=False)
    sae.requires_grad_(False)
    every = sae.encode(activations(model, IDS, hook)[0].flatten(1))
    feature = int(every[ORDINARY].std(0).argmax())
    values = every[:, feature]
    bound = float(values[ORDINARY].mean())
    edit = sw.Add(5, 1.0, unit="raw", when=sw.Fires(feature, bound))
    moved = change(model, sae, edit, "blocks.0.hook_mlp_out")[ORDINARY].norm(dim=1)
    assert ((moved > 0) == (values[ORDINARY] > bound)).all()
    assert 0 < (moved > 0).sum() < 4


def test_the_lens_looks_at_what_a_transcoder_writes(model, transcoder):
    plain = SAE(16, 16, OUT).requires_grad_(False)
    plain.W_dec.copy_(transcoder.W_dec)
    assert logit_lens(model, transcoder, [3]) == logit_lens(model, plain, [3])


def test_the_receipt_of_a_transcoder_tells_how_far_along_its_direction(model, transcoder):
    edit = sw.Add(5, 2.0, unit="raw")
    arms = [sw.Arm("base"), sw.Arm("steered", (edit,))]
    run = sw.generate(model, transcoder, [0, 30, 41], arms, max_new_tokens=2)
    (entry,) = receipt(model, transcoder, run).entries
    assert entry.tokens == 3
    assert entry.found - entry.before == pytest.approx(6.0, abs=1e-4)


@pytest.mark.parametrize("norm", [LayerNorm(), ConstantNorm()])
def test_edits_of_an_sae_that_normalises_count_in_what_it_sees(model, norm):
    sae = tiny.make_sae()
    sae.normalization = norm
    x = activations(model, IDS, tiny.HOOK)[0]
    size = norm.size(x)[ORDINARY]
    axis = torch.eye(16)[5]
    moved = change(model, sae, sw.Add(5, 2.0), tiny.HOOK)  # its peak is 1.5
    torch.testing.assert_close(moved[ORDINARY], 3 * size * axis)
    values = sae.encode(x)[ORDINARY, 5, None]
    moved = change(model, sae, sw.Set(5, 4.0, unit="raw"), tiny.HOOK)
    torch.testing.assert_close(moved[ORDINARY], (4 - values) * size * axis)
    moved = change(model, sae, sw.Add(5, 2.0, unit="norm"), tiny.HOOK)  # the mean norm is 3
    torch.testing.assert_close(moved[ORDINARY], (6 * axis).expand(4, 16))
    gone = change(model, sae, sw.Replace(5, 2.0, unit="raw"), tiny.HOOK)
    torch.testing.assert_close(gone[ORDINARY], 2 * size * axis - x[ORDINARY])


def test_edits_of_an_sae_of_centred_activations_are_those_of_any_other(model, tmp_path):
    sae = tiny.make_sae()
    sae.normalization = Centred()
    x = activations(model, IDS, tiny.HOOK)[0]
    axis = torch.eye(16)[5]
    moved = change(model, sae, sw.Add(5, 2.0), tiny.HOOK)[ORDINARY]
    torch.testing.assert_close(moved, (3 * axis).expand(4, 16))
    values = sae.encode(x)[ORDINARY, 5, None]
    moved = change(model, sae, sw.Set(5, 2.0, unit="norm"), tiny.HOOK)[ORDINARY]
    torch.testing.assert_close(moved, (6 - values) * axis)
    sw.Session(model, sae, sample=None).export(tmp_path / "a.pt", [sw.Add(5, 1.0)])


def test_what_cannot_be_worked_out_where_activations_are_normalised_is_refused(model, tmp_path):
    sae = tiny.make_sae()
    sae.normalization = LayerNorm()
    for edit in (sw.Target(5, 1.0, unit="raw"), sw.Set(5, 1.0, unit="norm")):
        with pytest.raises(ValueError, match="normalises every activation"):
            change(model, sae, edit, tiny.HOOK)
    session = sw.Session(model, sae, sample=None)
    with pytest.raises(ValueError, match=r"cannot be exported; one in unit='norm' can be"):
        session.export(tmp_path / "a.pt", [sw.Add(5, 1.0)])
    with pytest.raises(ValueError, match="has no short form in plain code"):
        session.to_hook_code([sw.Add(5, 1.0)])
    session.export(tmp_path / "a.pt", [sw.Add(5, 1.0, unit="norm")])


def test_what_the_features_of_a_normalising_sae_explain_does_not_depend_on_the_size(model):
    sae = tiny.make_sae()
    sae.normalization = LayerNorm()
    found = sw.capture(model, sae, IDS[0].tolist())
    torch.testing.assert_close(found.explained[ORDINARY], torch.ones(4))


# SAELens's own


class Theirs(torch.nn.Module):
    """What an SAE of SAELens in memory looks like from outside."""

    def __init__(self, ours):
        super().__init__()
        metadata = {"hook_name": ours.hook, "model_name": "tiny"}
        config = {"architecture": "standard", "metadata": metadata}
        self.cfg = type("Config", (), {"to_dict": lambda _self: config})()
        for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
            setattr(self, name, torch.nn.Parameter(getattr(ours, name).clone()))

    def encode(self, x):
        raise NotImplementedError


def test_an_sae_of_saelens_is_used_as_it_is(model):
    ours = tiny.make_sae()
    theirs = Theirs(ours)
    session = sw.Session(model, theirs)
    assert list(session.saes) == [tiny.HOOK]
    edit = sw.Add(5, 2.0, unit="raw")
    expected = change(model, ours, edit, tiny.HOOK)
    torch.testing.assert_close(change(model, theirs, edit, tiny.HOOK), expected)
    torch.testing.assert_close(change(model, {"a": theirs}, edit, tiny.HOOK), expected)
    arms = [sw.Arm("base"), sw.Arm("steered", (edit,))]
    run = sw.generate(model, theirs, [0, 30, 41], arms, max_new_tokens=3)
    assert run.tokens == sw.generate(model, ours, [0, 30, 41], arms, max_new_tokens=3).tokens
    text = "the sea"
    assert session.features(text).strongest(3) == sw.Session(model, ours, sample=None).features(
        text
    ).strongest(3)


def test_two_saes_of_saelens_at_one_hook_need_names(model):
    theirs = Theirs(tiny.make_sae())
    with pytest.raises(ValueError, match="need names of their own"):
        sw.Session(model, theirs, saes=[theirs])
    second = sw.load_sae(theirs, name="second")
    assert list(sw.Session(model, theirs, saes=[second]).saes) == [tiny.HOOK, "second"]
