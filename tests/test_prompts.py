"""Prompts in which nothing is edited are read once: for all arms, and for all runs of a session."""

import pytest
import tiny
import torch

import sae_widgets as sw
from sae_widgets.model import Reading, attached
from sae_widgets.steering import Arm, generate
from sae_widgets.steering.prompts import Prompts

PROMPT = [0, 30, 41, 52]
BASE = Arm("base")
LATE = Arm("late", (sw.Add(5, 4.0, unit="raw", where="generated", schedule=sw.Decay(3)),))


@pytest.fixture
def reads(any_model):
    """The shapes of the ids that the model is run on, one after another."""
    shapes = []

    def note(_module, args, kwargs):
        ids = next(v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor))
        shapes.append(tuple(ids.shape))

    handle = any_model.embed.register_forward_pre_hook(note, with_kwargs=True)
    yield shapes
    handle.remove()


def go(model, sae, *arms, **options):
    return generate(model, sae, PROMPT, arms, max_new_tokens=5, temperature=1.0, **options)


def test_a_prompt_is_read_once_for_all_arms_and_not_again_for_the_next_run(any_model, sae, reads):
    if Reading(any_model).rereads:
        pytest.skip("this model has no key-value cache: the next test")
    prompts = Prompts()
    first = go(any_model, sae, BASE, LATE, prompts=prompts)
    assert reads == [(1, 4), *[(2, 1)] * first.steps]
    reads.clear()
    again = go(any_model, sae, BASE, LATE, prompts=prompts)
    assert reads == [(2, 1)] * first.steps
    assert first == again
    assert first.hook_calls == {"prefill": 0, "steps": 4}
    assert first.positions == ((0, 0), (0, 4))
    reads.clear()
    assert go(any_model, sae, LATE, prompts=prompts).tokens[0] == first.tokens[1]
    assert reads == [(1, 1)] * 4


def test_a_model_without_a_cache_reads_everything_again(any_model, sae, reads):
    if not Reading(any_model).rereads:
        pytest.skip("this model has a key-value cache: the test before")
    run = go(any_model, sae, BASE, LATE, prompts=Prompts())
    assert reads == [(2, 4 + step) for step in range(5)]
    assert run.hook_calls == {"prefill": 1, "steps": 4}


def test_what_is_written_after_a_remembered_prompt_is_what_is_written_without(any_model, sae):
    prompts = Prompts()
    late = Arm("span", (sw.Set(9, 3.0, unit="raw", where=sw.Span(4, step=2)),))
    for arms in ((BASE, LATE), (BASE, LATE, late), (late,)):
        remembered = go(any_model, sae, *arms, prompts=prompts)
        plain = go(any_model, sae, *arms, cache=False)
        assert remembered.tokens == plain.tokens
        torch.testing.assert_close(remembered.logprob, plain.logprob, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(remembered.moved, plain.moved, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "edit",
    [
        sw.Add(5, 4.0, unit="raw"),
        sw.Add(5, 4.0, unit="raw", where="last"),
        sw.Add(5, 4.0, unit="raw", where=sw.Span(3)),
        sw.Add(5, 4.0, unit="raw", where="generated", when=sw.Fires(3, over="prompt")),
    ],
    ids=["all", "last", "span", "asks about the prompt"],
)
def test_a_prompt_that_an_edit_needs_is_read_for_every_arm(any_model, sae, reads, edit):
    run = go(any_model, sae, BASE, Arm("edited", (edit,)), prompts=Prompts())
    assert reads[0] == (2, 4)
    assert run.hook_calls["prefill"] == 1


def test_a_prompt_is_read_again_once_weights_have_changed(tokenizer, sae):
    prompts, model = Prompts(), tiny.gpt2(tokenizer)
    runs = [go(model, sae, BASE, prompts=prompts)]
    parameter = next(iter(model.blocks[0].parameters()))
    with torch.no_grad():
        parameter.mul_(3.0)
    runs.append(go(model, sae, BASE, prompts=prompts))
    parameter.data.mul_(-2.0)  # which torch does not count as a change
    runs.append(go(model, sae, BASE, prompts=prompts))
    assert runs[2] == go(model, sae, BASE)
    assert len({run.logprob for run in runs}) == 3


def test_under_other_hooks_every_prompt_is_read(any_model, sae, reads):
    """Whoever steers or watches from outside sees every text from its beginning."""
    prompts = Prompts()
    longer = [*PROMPT, 7, 9]

    def written(prompts):
        out = []
        with sw.steering(any_model, sae, LATE.edits):
            for ids in (PROMPT, longer, PROMPT):
                run = generate(any_model, sae, ids, [BASE], max_new_tokens=5, prompts=prompts)
                out.append(run.tokens)
        return out

    alone = go(any_model, sae, BASE, prompts=prompts)
    reads.clear()
    remembered = written(prompts)
    if not Reading(any_model).rereads:
        prefills = [shape for shape in reads if shape[1] > 1][:3]
        assert prefills == [(1, 4), (1, 6), (1, 4)]
    assert remembered == written(None)
    assert remembered[0] == remembered[2]
    with attached(any_model, {"blocks.0.hook_resid_pre": lambda x: 2 * x}):
        hooked = go(any_model, sae, BASE, prompts=prompts)
        assert hooked == go(any_model, sae, BASE)
        assert hooked.logprob != alone.logprob
    assert go(any_model, sae, BASE, prompts=prompts) == alone


def test_while_a_model_trains_nothing_is_remembered(any_model, sae, reads):
    prompts = Prompts()
    network = getattr(any_model, "original_model", any_model)
    network.train()
    for _ in range(2):
        assert go(any_model, sae, BASE, prompts=prompts).hook_calls["prefill"] == 1
    network.eval()
    assert reads[0] == reads[5] == (1, 4)


def test_only_the_newest_prompts_are_kept(model, sae):
    prompts = Prompts(kept=2)
    for prompt in ([0, 1], [0, 2], [0, 3], [0, 2]):
        generate(model, sae, prompt, [BASE], max_new_tokens=1, prompts=prompts)
    assert [key[1] for key in prompts._known] == [(0, 3), (0, 2)]
