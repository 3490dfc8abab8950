"""Every kind of model: hooks, the lock, reading on, and what it says about itself."""

import threading

import pytest
import tiny
import torch

from sae_widgets.model import (
    Model,
    Reading,
    activations,
    attached,
    check_hook,
    check_inference,
    check_tokens,
    context_length,
    device_of,
    end_of_text,
    identity,
    load_model,
    lock,
    vocabulary_size,
    watched,
)

IDS = torch.tensor([[0, 30, 41, 52, 33], [0, 61, 30, 41, 44]])


def whole_logits(model, ids):
    with torch.inference_mode():
        output = model(ids)
    return getattr(output, "logits", output)


def test_all_kinds_of_models_meet_the_protocol(any_model):
    assert isinstance(any_model, Model)
    assert context_length(any_model) == tiny.CONTEXT
    assert vocabulary_size(any_model) == len(any_model.tokenizer)
    assert device_of(any_model) == torch.device("cpu")
    assert end_of_text(any_model) == {0}
    check_inference(any_model)


def test_reading_on_with_a_cache_gives_the_logits_of_the_whole_text(any_model):
    expected = whole_logits(any_model, IDS)
    for cache in (True, False):
        reading = Reading(any_model, cache=cache)
        with torch.inference_mode():
            prompt = reading.advance(IDS[:, :3])
            fourth = reading.advance(IDS[:, 3:4])
            fifth = reading.advance(IDS[:, 4:])
        for position, found in ((2, prompt), (3, fourth), (4, fifth)):
            torch.testing.assert_close(found, expected[:, position], atol=1e-4, rtol=1e-4)


def test_activations_are_those_of_the_hook_and_nothing_above_runs(any_model):
    _, cache = any_model.run_with_cache(IDS)
    above = []
    with attached(any_model, {"blocks.1.hook_resid_post": above.append}):
        for hook in ("blocks.0.hook_resid_post", "blocks.0.attn.hook_z"):
            found = activations(any_model, IDS, hook)
            torch.testing.assert_close(found, cache[hook])
    assert above == []


def test_a_wrong_hook_is_answered_with_the_nearest(any_model):
    with pytest.raises(ValueError, match=r"no hook point 'blocks\.0\.resid_post'.*hook_resid_post"):
        check_hook(any_model, "blocks.0.resid_post")
    with pytest.raises(ValueError, match="Nearest names: none"):
        check_hook(any_model, "???")


def test_a_hook_that_exists_but_does_not_run_is_an_error(model):
    with pytest.raises(RuntimeError, match=r"'blocks.0.attn.hook_result' exists but did not run"):
        activations(model, IDS, "blocks.0.attn.hook_result")


def test_hooks_go_when_the_block_ends_even_in_an_error(any_model):
    plain = whole_logits(any_model, IDS)
    with (
        pytest.raises(RuntimeError, match="stop"),
        attached(any_model, {tiny.HOOK: lambda x: x * 0}),
    ):
        assert not torch.equal(whole_logits(any_model, IDS), plain)
        raise RuntimeError("stop")
    assert torch.equal(whole_logits(any_model, IDS), plain)


def test_hooks_of_the_user_stay(model):
    seen = []
    point = model.hook_dict[tiny.HOOK]
    point.add_hook(lambda x, hook: seen.append(hook.name))  # noqa: ARG005
    with attached(model, {tiny.HOOK: lambda _: None}):
        pass
    activations(model, IDS, tiny.HOOK)
    assert len(seen) == 1
    point.remove_hooks()


def test_ids_and_cached_positions_of_any_pass_are_seen(any_model):
    seen = []

    def see(ids, past):
        seen.append((ids.tolist(), past))

    with watched(any_model, see):
        reading = Reading(any_model)
        with torch.inference_mode():
            reading.advance(IDS[:, :3])
            reading.advance(IDS[:, 3:4])
    if reading.rereads:
        assert seen[-1] == (IDS[:, :4].tolist(), 0)
    else:
        assert seen[-1] == (IDS[:, 3:4].tolist(), 3)
    assert (IDS[:, :3].tolist(), 0) in seen


def test_there_is_one_lock_a_model_and_it_can_be_taken_twice(model, tokenizer):
    assert lock(model) is lock(model)
    other = tiny.gpt2(tokenizer)
    assert lock(model) is not lock(other)
    same_network = load_model(other.original_model, tokenizer)
    assert lock(same_network) is lock(other)
    taken = []
    with lock(model), lock(model):
        thread = threading.Thread(target=lambda: taken.append(lock(model).acquire(blocking=False)))
        thread.start()
        thread.join()
    assert taken == [False]


def test_a_model_object_needs_its_tokenizer(model):
    with pytest.raises(ValueError, match=r"pass it too: load_model\(model, tokenizer\)"):
        load_model(model.original_model)
    assert load_model(model) is model


def test_a_tokenizer_made_in_memory_is_fine():
    loaded = tiny.gpt2(tiny.byte_level(bos_token="<|endoftext|>", eos_token="<|endoftext|>"))
    assert loaded.tokenizer.bos_token_id == 0


@pytest.mark.parametrize("special", [{}, {"eos_token": "<|endoftext|>"}])
def test_a_tokenizer_without_bos_is_given_none(special):
    """TransformerLens makes one up, for some tokenizers with an id that the model does not have."""
    loaded = tiny.gpt2(tiny.byte_level(**special))
    assert loaded.tokenizer.bos_token_id is None
    assert loaded.to_tokens("the").shape == (1, 1)


def test_a_saved_folder_loads_in_float32(tmp_path, tokenizer):
    network = tiny.gpt2(tokenizer).original_model
    from transformers import GPT2LMHeadModel

    plain = GPT2LMHeadModel(network.config).half()
    plain.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert identity(loaded)["dtype"] == "float32"
    assert loaded.tokenizer.bos_token_id == tokenizer.bos_token_id
    with pytest.raises(FileNotFoundError, match="no model folder"):
        load_model(tmp_path / "nowhere")


def test_training_mode_is_refused(tokenizer):
    model = tiny.gpt2(tokenizer)
    model.original_model.train()
    with pytest.raises(ValueError, match=r"call model\.eval\(\)"):
        check_inference(model)


def test_ids_of_another_vocabulary_are_refused(model):
    with pytest.raises(ValueError, match="token id 5000 is outside the model's vocabulary of 280"):
        check_tokens(model, [0, 5000])


def test_the_identity_tells_weights_apart(model, tokenizer):
    same, other = tiny.gpt2(tokenizer), tiny.gpt2(tokenizer)
    with torch.no_grad():
        next(other.original_model.parameters())[0, 0] += 1
    assert identity(model)["weights"] == identity(same)["weights"]
    assert identity(model)["weights"] != identity(other)["weights"]
