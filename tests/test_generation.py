"""Runs: arms side by side, one token at a time, repeatable, stoppable, nothing left behind."""

import json
import math
import threading
from dataclasses import replace

import pytest
import tiny
import torch

import sae_widgets as sw
from sae_widgets.model import Reading, activations, attached, lock
from sae_widgets.steering import Arm, Run, controls, generate
from sae_widgets.steering.generation import Stop, _check_until, _Chooser
from sae_widgets.steering.prompts import Prompts

PROMPT = [0, 30, 41, 52]
PUSH = Arm("push", (sw.Add(5, 4.0, unit="raw"),))
BASE = Arm("base")


def go(model, sae, *arms, prompt=PROMPT, **options):
    return generate(model, sae, prompt, arms, **{"max_new_tokens": 8, **options})


def greedy_by_hand(model, ids, steps):
    """The likeliest token again and again, reading the whole text each time."""
    text = list(ids)
    for _ in range(steps):
        reading = Reading(model, cache=False)
        with torch.inference_mode():
            token = int(reading.advance(torch.tensor([text]))[0].argmax())
        text.append(token)
        if token == 0:
            break
    return tuple(text[len(ids) :])


def test_without_edits_the_model_writes_what_it_would(any_model, sae):
    run = go(any_model, sae, BASE)
    assert run.tokens[0] == greedy_by_hand(any_model, PROMPT, 8)
    assert run.stopped == ("end" if run.tokens[0][-1] == 0 else "length")


def test_cache_or_none_and_one_row_or_nine_write_the_same(any_model, sae):
    late = sw.Rotate(9, 40.0, where="last", schedule=sw.Ramp(3))
    waiting = sw.Floor(3, 1.0, when=sw.Fires(7) | sw.Fires(9, over="prompt"))
    arms = [
        BASE,
        PUSH,
        Arm("set", (sw.Set(9, 3.0, where="generated"), sw.Scale(2, 2.0))),
        Arm("late", (late, waiting), restore_norm=True),
        Arm("target", (sw.Target(4, 1.5), sw.Target(8, 0.5))),
        Arm("ceiling", (sw.Ceiling(6, 0.2), sw.ProjectOut(11))),
        Arm("instead", (sw.Replace(12, 3.0, unit="norm", where=sw.Span(3)),)),
        Arm("without", (sw.Ablate(1), sw.Ablate([1.0] * 16, where="prompt"))),
        *controls(PUSH, "random"),
    ]
    assert len(arms) == 9
    together = go(any_model, sae, *arms)
    again = go(any_model, sae, *arms, cache=False)
    assert together.tokens == again.tokens
    assert len(set(together.tokens)) > 4  # else the edits do little, and this test says little
    for row, arm in enumerate(arms):
        alone = go(any_model, sae, arm, cache=row % 2 == 0)
        assert alone.tokens[0] == together.tokens[row]
    torch.testing.assert_close(
        torch.tensor(together.ratio), torch.tensor(again.ratio), atol=1e-4, rtol=1e-4
    )
    assert together.positions == again.positions


@pytest.mark.parametrize("cache", [True, False])
def test_every_decoded_token_is_edited_as_if_the_text_were_read_at_once(any_model, sae, cache):
    """Hook calls are counted: one for the prompt, one for each step. And each token has the
    probability that one pass over the finished text under the same edits gives it."""
    seen = []
    arm = Arm("set", (sw.Set(5, 3.0, unit="raw"),))
    with attached(any_model, {"blocks.1.hook_resid_pre": lambda _: seen.append(1)}):
        run = go(any_model, sae, arm, temperature=1.0, seed=3, cache=cache)
    written = len(run.tokens[0])
    assert run.hook_calls == {"prefill": 1, "steps": written - 1}
    assert len(seen) == written
    assert run.positions == ((3, written - 1),)

    text = torch.tensor([[*PROMPT, *run.tokens[0]]])
    with sw.steering(any_model, sae, arm.edits), torch.inference_mode():
        logits = any_model(text)
    logits = getattr(logits, "logits", logits)[0].log_softmax(-1)
    expected = [float(logits[3 + i, token]) for i, token in enumerate(run.tokens[0])]
    torch.testing.assert_close(
        torch.tensor(run.logprob[0]), torch.tensor(expected), atol=1e-4, rtol=1e-4
    )


def test_set_is_found_again_at_every_decoded_token(model, sae):
    """Each step's edited activation, encoded again, has the value that was asked for."""
    values = []
    sae.b_enc[5] = 50.0  # feature 5 always fires, so that Set is exact
    arm = Arm("set", (sw.Set(5, 3.0, unit="raw"),))
    # blocks.1 is the last: its output goes to the final norm, where it is seen as edited.
    with attached(model, {"ln_final.hook_in": lambda x: values.append(sae.encode(x)[..., 5])}):
        run = go(model, sae, arm, temperature=1.0, seed=3)
    assert len(values) == len(run.tokens[0]) > 2
    ordinary = torch.tensor(PROMPT) != 0
    torch.testing.assert_close(values[0][0][ordinary], torch.full((3,), 3.0), atol=1e-4, rtol=0)
    for step in values[1:]:
        torch.testing.assert_close(step, torch.full((1, 1), 3.0), atol=1e-4, rtol=0)


def test_edits_on_generated_tokens_leave_the_first_token_alone(model, sae):
    strong = [sw.Add(5, 40.0, unit="raw", where=where) for where in ("prompt", "generated")]
    run = go(model, sae, BASE, *(Arm(edit.where, (edit,)) for edit in strong))
    base, prompt, generated = run.tokens
    assert generated[0] == base[0]
    assert prompt[0] != base[0]
    assert run.positions == ((0, 0), (3, 0), (0, len(generated) - 1))


# Chance


def test_the_same_seed_repeats_a_run_and_another_does_not(any_model, sae):
    runs = [go(any_model, sae, BASE, PUSH, temperature=1.5, seed=s) for s in (7, 7, 8)]
    assert runs[0].tokens == runs[1].tokens
    assert runs[0] == runs[1]
    assert runs[0].tokens != runs[2].tokens


def test_a_further_arm_never_changes_what_the_others_write(model, sae):
    alone = go(model, sae, BASE, temperature=1.0, seed=5)
    other = Arm("push", (sw.Add(5, 60.0, unit="raw"),))
    beside = go(model, sae, BASE, other, Arm("same"), temperature=1.0, seed=5)
    assert beside.tokens[0] == beside.tokens[2] == alone.tokens[0]
    assert beside.fork is not None


def test_samples_follow_the_distribution_at_their_temperature():
    """1,500 samples of five tokens at temperature 2, by a chi-square of 4 degrees of freedom."""
    logits = torch.tensor([[0.0, 1.0, -1.0, 3.0, 2.0]])
    choose = _Chooser(2.0, seed=11)
    counts = torch.zeros(5)
    for _ in range(1500):
        chosen, logprob = choose(logits)
        counts[chosen] += 1
    wanted = 1500 * (logits[0] / 2).softmax(-1)
    assert float(((counts - wanted) ** 2 / wanted).sum()) < 18.5  # more once in 1,000
    # The log-probability is the model's own, at temperature 1.
    assert float(logprob) == pytest.approx(float(logits[0].log_softmax(-1)[chosen]))


# Ends


def test_an_arm_ends_at_the_end_of_text_and_the_run_when_all_have(model, sae):
    unembedding = model.original_model.lm_head.weight[0]
    toward_end = tuple(unembedding.tolist())
    end = Arm("end", (sw.Add(toward_end, 400.0, unit="norm", where="prompt"),))
    steps = []
    run = go(model, sae, end, BASE, on_step=steps.append)
    assert run.tokens[0] == (0,)
    assert run.texts[0] == ""
    assert len(run.tokens[1]) > 1
    assert steps[0][0] == 0
    assert all(step[0] is None for step in steps[1:])
    assert go(model, sae, end).stopped == "end"


def test_an_arm_ends_with_the_token_on_which_its_condition_holds(any_model, sae):
    free = go(any_model, sae, BASE, PUSH)
    features = [
        sae.encode(activations(any_model, torch.tensor([[*PROMPT, *arm]]), sae.hook)[0])
        for arm in free.tokens
    ]
    # A feature that fires on a written token of the base arm, and not on one before it.
    written = features[0][len(PROMPT) : len(PROMPT) + 7]
    feature, first = next(
        (f, int(fires.nonzero()[0]))
        for f in range(32)
        if (fires := written[:, f] > 1e-3).any() and fires.nonzero()[0] > 0
    )
    for cache in (True, False):
        run = go(any_model, sae, BASE, PUSH, until=sw.Fires(feature, 1e-3), cache=cache)
        assert run.met[0]
        assert run.tokens[0] == free.tokens[0][: first + 1]
        assert run.tokens[1] == free.tokens[1][: len(run.tokens[1])]
        assert run.stopped == ("end" if all(run.met) else "length")
        assert len(run.moved[0]) == len(PROMPT) + first


def test_a_run_cannot_wait_for_what_its_prompt_says(model, sae):
    with pytest.raises(ValueError, match="asks about the prompt; leave over='prompt' out"):
        go(model, sae, BASE, until=sw.Fires(5, over="prompt"))


def test_what_is_fed_to_an_arm_that_has_ended_is_not_counted_as_edited(model, sae):
    unembedding = model.original_model.lm_head.weight[0]
    end = Arm("end", (sw.Add(tuple(unembedding.tolist()), 400.0, unit="norm"),))
    run = go(model, sae, end, BASE)
    assert run.tokens[0] == (0,)
    assert len(run.tokens[1]) > 1
    assert run.positions[0] == (len(run.ids) - 1, 0)


def test_a_run_ends_where_the_context_is_full(model, sae):
    run = go(model, sae, BASE, prompt=[0] + [30] * 43, max_new_tokens=9)
    assert len(run.tokens[0]) == 4
    assert run.stopped == "context"


def test_a_prompt_that_leaves_no_room_is_refused_with_how_much_fits(model, sae):
    with pytest.raises(
        ValueError, match=r"has 50 tokens.*at most 48.*47 tokens of prompt fit, 3 to"
    ):
        go(model, sae, BASE, prompt=[0] + [30] * 49)


def test_a_run_is_stopped_between_tokens_and_keeps_what_it_wrote(model, sae):
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 4:
            raise Stop

    run = go(model, sae, BASE, PUSH, check=check, max_new_tokens=30)
    assert [len(row) for row in run.tokens] == [3, 3]
    assert run.stopped == "stopped"
    assert run.hook_calls == {"prefill": 1, "steps": 2}
    stopped = go(model, sae, BASE, check=lambda: (_ for _ in ()).throw(Stop))
    assert stopped.tokens == ((),)
    assert stopped.nll(0) is None


def test_another_error_from_check_passes_through(model, sae):
    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(model, sae, PUSH, check=check)


def test_an_error_in_the_model_passes_through_and_leaves_no_hooks(model, sae):
    def fail(_):
        raise RuntimeError("out of memory")

    with (
        attached(model, {"ln_final.hook_in": fail}),
        pytest.raises(RuntimeError, match="out of memory"),
    ):
        go(model, sae, PUSH)
    assert not model.hook_dict[tiny.HOOK].fwd_hooks


@pytest.mark.parametrize("failing", [1, 3, 5])
def test_an_error_of_some_pass_leaves_the_model_as_it_was(any_model, sae, failing):
    """In the prompt or later; where the prompt is read for all arms at once, or for each."""
    late = Arm("late", (sw.Add(5, 4.0, unit="raw", where="generated"),))
    prompts = Prompts()
    passes = []

    def fail(*_):
        passes.append(1)
        # From then on: the first passes try whether the model can go on from its middle.
        if len(passes) >= failing:
            raise RuntimeError("out of memory")

    for arm in (PUSH, late):
        expected = go(any_model, sae, BASE, arm)
        passes.clear()
        handle = any_model.ln_final.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            go(any_model, sae, BASE, arm, prompts=prompts)
        handle.remove()
        assert not any(point.fwd_hooks for point in any_model.hook_dict.values())
        assert go(any_model, sae, BASE, arm, prompts=prompts) == expected


def test_between_tokens_the_model_is_free_and_without_hooks(model, sae):
    """Another thread reads the model during a run and sees it unedited."""
    plain = activations(model, torch.tensor([PROMPT]), tiny.HOOK)
    seen = []

    def use_it():
        assert lock(model).acquire(timeout=10)
        seen.append(activations(model, torch.tensor([PROMPT]), tiny.HOOK))
        lock(model).release()

    def step(_):
        thread = threading.Thread(target=use_it)
        thread.start()
        thread.join()

    run = go(model, sae, PUSH, on_step=step)
    undisturbed = go(model, sae, PUSH)
    assert run.tokens == undisturbed.tokens
    assert len(seen) == len(run.tokens[0])
    assert all(torch.equal(each, plain) for each in seen)


def test_two_runs_at_once_write_what_they_write_alone(model, sae):
    other = Arm("other", (sw.Add(9, -6.0, unit="raw"),))
    expected = [go(model, sae, arm, max_new_tokens=20).tokens for arm in (PUSH, other)]
    found = [None, None]

    def work(place, arm):
        found[place] = go(model, sae, arm, max_new_tokens=20).tokens

    threads = [
        threading.Thread(target=work, args=(place, arm)) for place, arm in enumerate((PUSH, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


# The record


def test_the_fork_is_the_first_token_that_differs(model, sae):
    run = go(model, sae, BASE, PUSH)
    first = next(i for i, (a, b) in enumerate(zip(*run.tokens, strict=False)) if a != b)
    assert run.fork == first
    assert go(model, sae, BASE).fork is None
    assert go(model, sae, BASE, Arm("same")).fork is None


def test_the_ratio_is_change_by_activation_where_changed(model, sae):
    edit = sw.Add(5, 4.0, unit="raw", where="prompt")
    run = go(model, sae, BASE, Arm("push", (edit,)))
    norms = activations(model, torch.tensor([PROMPT]), tiny.HOOK)[0, 1:].norm(dim=-1)
    assert run.ratio[0] == 0
    assert run.ratio[1] == pytest.approx(float((4 / norms).mean()), rel=1e-4)


def test_a_run_goes_through_json_and_back(model, sae):
    run = go(model, sae, BASE, PUSH, temperature=0.7, seed=3)
    assert Run.from_json(json.loads(json.dumps(run.to_json()))) == run


def test_a_run_shows_its_texts_and_no_times(model, sae):
    run = go(model, sae, BASE, PUSH, temperature=0.5, seed=3)
    first, *lines = repr(run).splitlines()
    assert first == f"Run({run.prompt!r}, 8 tokens, temperature 0.5, seed 3)"
    assert lines == [f"  base  {run.text(0)!r}", f"  push  {run.text('push')!r}"]
    with pytest.raises(ValueError, match="no arm 'pull'; it has base, push"):
        run.text("pull")


def test_texts_are_what_the_tokens_add(model, sae, tokenizer):
    run = go(model, sae, BASE, PUSH, temperature=1.0, seed=1)
    for tokens, text in zip(run.tokens, run.texts, strict=True):
        assert text == tokenizer.decode([token for token in tokens if token])
    assert run.prompt == tokenizer.decode(PROMPT[1:])


# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": []}, "the prompt is empty and this model's tokenizer has no beginning"),
        ({"max_new_tokens": 0}, "at least one token; got max_new_tokens=0"),
        ({"temperature": -1.0}, "0 .greedy. or more, and finite; got -1.0"),
        ({"temperature": math.nan}, "or more, and finite; got nan"),
        ({"prompt": [0, 9999]}, "token id 9999 is outside the model's vocabulary"),
    ],
)
def test_what_cannot_be_run_says_why(model, sae, options, message):
    with pytest.raises(ValueError, match=message):
        go(model, sae, BASE, **options)


def test_a_place_that_a_run_never_comes_to_is_refused(model, sae):
    late = Arm("late", (sw.Add(5, 1.0, where=sw.Span(11)),))
    with pytest.raises(ValueError, match=r"begins at token 11, but the run reads only 11: 4 of"):
        go(model, sae, late)
    assert go(model, sae, Arm("last", (sw.Add(5, 1.0, where=sw.Span(10)),))).texts


def test_a_run_needs_an_arm(model, sae):
    with pytest.raises(ValueError, match="at least one arm"):
        go(model, sae)


def huge(**options):
    return Arm("huge", (sw.Add(5, 1e30, unit="raw", **options),))


def test_a_strength_beyond_all_numbers_ends_the_run_and_says_at_which_token(any_model, sae):
    """The layer norms after it would make each such activation 0, and every token as likely."""
    told = []
    with pytest.raises(FloatingPointError, match=r"'huge' has no .* position 4 of .* smaller st"):
        go(any_model, sae, BASE, huge(), on_step=told.append)
    assert told == []
    with pytest.raises(FloatingPointError, match="'huge' has no next token at position 7 of"):
        go(any_model, sae, BASE, huge(where=sw.Span(6)), on_step=told.append)
    assert len(told) == 3
    lost = Arm("lost", (*huge().edits, *[sw.Add(21, 3e38, unit="raw")] * 2))  # inf and -inf
    with pytest.raises(FloatingPointError, match="'lost' has no next token at position 4 of"):
        go(any_model, sae, BASE, lost)


def test_what_is_fed_to_an_arm_that_has_ended_may_overflow(model, sae):
    toward_end = sw.Add(tuple(model.original_model.lm_head.weight[0].tolist()), 400.0, unit="norm")
    ended = Arm("ended", (replace(toward_end, where="prompt"), *huge(where="generated").edits))
    run = go(model, sae, ended, BASE)
    assert run.tokens[0] == (0,)
    assert len(run.tokens[1]) > 1
    assert math.isfinite(run.ratio[0])


def test_a_model_that_computes_no_numbers_by_itself_is_told_apart(tokenizer, sae):
    model = tiny.gpt2(tokenizer)
    model.original_model.lm_head.weight.data[7, 3] = math.nan
    with pytest.raises(FloatingPointError, match=r"'base' has .* model's own output is no num"):
        go(model, sae, BASE)


SPAN = sw.Span(2, 6)


@pytest.mark.parametrize(
    ("edits", "error", "message"),
    [
        ([sw.Set(5, 1.0), sw.Set(5, 2.0, where=SPAN)], ValueError, "contradict each other"),
        ([sw.Add([1.0] * 15, 1.0, unit="raw")], ValueError, "has 15 entries, but the activations"),
        ([sw.Add(5, 1.0, when=~sw.Fires(99))], IndexError, "has no feature 99"),
        ([sw.Add(5, 1.0, when=sw.Near([1.0] * 17))], ValueError, "has 17 entries"),
        ([sw.Add(5, 1.0, schedule=sw.Values([1] * 13))], ValueError, "at most 12: the run has 4"),
        (
            [sw.Add(5, 1.0, where="prompt", schedule=sw.Values([1] * 5))],
            ValueError,
            "values for 5 tokens, but comes to at most 4",
        ),
        (
            [sw.Add(5, 1.0, where="generated", schedule=sw.Values([1] * 9))],
            ValueError,
            "values for 9 tokens, but comes to at most 8",
        ),
        (
            [sw.Add(5, 1.0, where="last", schedule=sw.Values([1] * 10))],
            ValueError,
            "values for 10 tokens, but comes to at most 9",
        ),
        (
            [sw.Add(5, 1.0, where=SPAN, schedule=sw.Values([1] * 5))],
            ValueError,
            "values for 5 tokens, but comes to at most 4",
        ),
    ],
)
def test_edits_that_cannot_be_made_are_refused_before_anything_is_read(
    model, sae, edits, error, message
):
    read, told = [], []
    with (
        attached(model, {"blocks.0.hook_resid_pre": read.append}),
        pytest.raises(error, match=message),
    ):
        go(model, sae, BASE, Arm("arm", tuple(edits)), on_step=told.append)
    assert read == told == []
    off = Arm("arm", tuple(replace(edit, on=False) for edit in edits))
    assert go(model, sae, off).positions == ((0, 0),)


def test_where_the_context_ends_so_does_what_can_be_painted(model, sae):
    prompt = [0] + [30] * 43
    painted = sw.Add(5, 1.0, schedule=sw.Values([1.0] * 49))
    with pytest.raises(ValueError, match="at most 48: the run has 44 of prompt and 4 to write"):
        go(model, sae, Arm("arm", (painted,)), prompt=prompt, max_new_tokens=99)


def test_a_run_cannot_wait_for_what_the_model_does_not_have(model, sae):
    with pytest.raises(IndexError, match="has no feature 99"):
        go(model, sae, BASE, until=sw.Fires(99))
    with pytest.raises(ValueError, match="has 15 entries, but the activations there have 16"):
        go(model, sae, BASE, until=sw.Near([1.0] * 15))
    with pytest.raises(TypeError):  # in the tests the shape checker is quicker
        go(model, sae, BASE, until=7)
    with pytest.raises(TypeError, match=r"until is a condition, such as Fires\(7\); got 7"):
        _check_until(7)
