"""An SAE that does not belong to a model is refused, with what is likely to be wrong."""

import pytest
import tiny
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from sae_widgets.fit import _causes, check_fit
from sae_widgets.model import activations, load_model
from sae_widgets.sae import SAE, Centred, JumpReLU
from sae_widgets.session import SAMPLE
from sae_widgets.tokens import encode


def read(model, hook, bos=True):
    """The activations of the sample, but for those of special tokens."""
    ids = encode(model.tokenizer, SAMPLE, limit=tiny.CONTEXT).ids
    assert ids[0] == model.tokenizer.bos_token_id
    x = activations(model, torch.tensor([ids if bos else ids[1:]]), hook)[0].flatten(1).clone()
    return x[1:] if bos else x


def knows(x, hook, rank=5):
    """An SAE that can write what varies most in `x`, and nothing else."""
    mean = x.mean(0)
    axes = torch.linalg.svd(x - mean, full_matrices=False).Vh[:rank]
    sae = SAE(x.shape[1], 2 * rank, hook, name="knowing")
    with torch.no_grad():
        sae.W_dec.copy_(torch.cat([axes, -axes]))
        sae.W_enc.copy_(sae.W_dec.T)
        sae.b_dec.copy_(mean)
    return sae.requires_grad_(False)


def quiet(tokenizer):
    """A model whose activations are short."""
    torch.manual_seed(5)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=tiny.CONTEXT,
        n_embd=16,
        n_layer=2,
        n_head=2,
        initializer_range=0.01,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return load_model(GPT2LMHeadModel(config), tokenizer)


def test_an_sae_that_belongs_to_the_model_passes(model):
    check_fit(model, knows(read(model, tiny.HOOK), tiny.HOOK, rank=12), SAMPLE)


def test_a_hook_that_is_off_by_one_is_named(model):
    there, here = "blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"
    sae = knows(read(model, there), here)
    with pytest.raises(ValueError, match=rf"only \d+% at '{there}': pass hook='{there}'"):
        check_fit(model, sae, SAMPLE)


def test_a_scale_that_is_missing_is_named(tokenizer):
    model = quiet(tokenizer)
    x = read(model, tiny.HOOK)
    scale = 4 / float(x.norm(dim=1).mean())
    assert scale > 20
    sae = tiny.make_sae()
    sae.stats = None
    sae.b_dec.zero_()
    sae.activation = JumpReLU(torch.full((32,), 0.4))
    with pytest.raises(ValueError, match=rf"multiplied by {scale:.3g}.*pass scale= to load_sae"):
        check_fit(model, sae, SAMPLE)


def test_centring_that_is_missing_is_named(tokenizer):
    model = tiny.gpt2(tokenizer)
    with torch.no_grad():  # what a layer norm takes away again
        rows = model.original_model.transformer.wte.weight
        rows += 20 * torch.randn(len(rows), 1)
    x = read(model, tiny.HOOK)
    sae = knows(x - x.mean(-1, keepdim=True), tiny.HOOK, rank=14)
    with pytest.raises(ValueError, match=r"entries is taken away.*pass centred=True"):
        check_fit(model, sae, SAMPLE)
    sae.normalization = Centred()
    check_fit(model, sae, SAMPLE)


def test_text_with_and_without_the_first_token_is_tried(model):
    sae = knows(read(model, tiny.HOOK, bos=False), tiny.HOOK)
    ids = list(encode(model.tokenizer, SAMPLE, limit=tiny.CONTEXT).ids)
    with_it, without = read(model, tiny.HOOK), read(model, tiny.HOOK, bos=False)
    found = dict(_causes(model, sae, ids, with_it, with_it))
    (cause,) = (cause for cause in found if "texts" in cause)
    assert "without '<|endoftext|>' before the text" in cause
    missing = (without - sae(without)).square().sum()
    assert found[cause] == pytest.approx(
        float(missing / (without - without.mean(0)).square().sum()), rel=1e-4
    )
    (cause,) = (c for c, _ in _causes(model, sae, ids[1:], without, without) if "texts" in c)
    assert "with '<|endoftext|>' before the text" in cause


def test_how_many_fire_is_compared_with_what_the_name_says(model):
    sae = knows(read(model, tiny.HOOK), tiny.HOOK, rank=12)
    sae.provenance["l0"] = 82
    with pytest.raises(ValueError, match=r"12\.0 features fire .* where its name says 82\.0"):
        check_fit(model, sae, SAMPLE)


def test_weights_that_are_no_numbers_are_refused(model):
    sae = knows(read(model, tiny.HOOK), tiny.HOOK, rank=12)
    sae.b_dec[3] = torch.nan
    with pytest.raises(ValueError, match=r"leaves nan% of the variance unexplained"):
        check_fit(model, sae, SAMPLE)


def test_an_output_that_drowns_the_activation_is_refused(model):
    sae = knows(read(model, tiny.HOOK), tiny.HOOK, rank=12)
    sae.placebo = "for the test"
    sae.W_dec *= 1e12
    with pytest.raises(ValueError, match=r"with its error, is not the activation again"):
        check_fit(model, sae, SAMPLE)


def test_a_transcoder_is_judged_by_what_it_is_to_write(model):
    into, out = "blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"
    x, y = read(model, into), read(model, out)
    mean = y.mean(0)
    linear = torch.linalg.lstsq(x - x.mean(0), y - mean).solution.T
    sae = SAE(16, 4, into, hook_out=out, pre_bias=False, skip=True, name="skipping")
    with torch.no_grad():
        sae.W_skip.copy_(linear)
        sae.b_dec.copy_(mean - linear @ x.mean(0))
    check_fit(model, sae.requires_grad_(False), SAMPLE)
    sae.W_skip *= -1
    with pytest.raises(ValueError, match=r"of the variance unexplained"):
        check_fit(model, sae, SAMPLE)
