"""What edits leave alone is read once: for all arms, and for all runs of a session."""

from contextlib import contextmanager

import pytest
import tiny
import torch
import transformers

import sae_widgets as sw
from sae_widgets.model import Reading, attached, load_model, state
from sae_widgets.steering import Arm, generate
from sae_widgets.steering.prompts import Prompts
from sae_widgets.steering.receipt import receipt

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


@pytest.mark.parametrize("token", PROMPT)
def test_a_row_of_the_embedding_that_is_changed_behind_torch_s_back_is_noticed(
    tokenizer, sae, token
):
    prompts, model = Prompts(), tiny.gpt2(tokenizer)
    before = go(model, sae, BASE, prompts=prompts)
    model.original_model.transformer.wte.weight.data[token] += 1.0
    after = go(model, sae, BASE, prompts=prompts)
    assert after == go(model, sae, BASE)
    assert after.logprob != before.logprob


def test_so_is_a_row_or_column_of_any_weight_and_any_number_that_is_no_weight(any_model):
    """Of every weight each row, each column, and each number of a vector."""
    network = getattr(any_model, "original_model", any_model)
    before, looked = state(any_model), 0
    for tensor in (*network.parameters(), *network.buffers()):
        if not tensor.ndim or not tensor.is_floating_point():
            continue
        whole = (tensor.data if tensor.ndim > 1 else tensor.data[:, None]).flatten(0, -2)
        for lines in (whole, whole.T)[: 1 + (whole.shape[1] > 1)]:
            for line in lines[:: max(1, len(lines) // 40)]:
                kept = line.clone()
                line += 1.0
                assert state(any_model) != before
                line.copy_(kept)
                looked += 1
    assert state(any_model) == before
    assert looked > 400


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


def test_only_the_newest_prompts_are_kept(model, sae):
    prompts = Prompts(kept=2)
    for prompt in ([0, 1], [0, 2], [0, 3], [0, 2]):
        generate(model, sae, prompt, [BASE], max_new_tokens=1, prompts=prompts)
    assert [key[1] for key in prompts._known] == [(0, 3), (0, 2)]


# Edits on the prompt: only the blocks that they reach read it for every arm

LONG = [0, 30, 41, 52, 7, 30, 9, 61, 12, 30]  # more tokens than a model is tried with
MIDDLE = "blocks.2.hook_resid_post"


def push(strength=4.0, feature=5, name="push", **options):
    return Arm(name, (sw.Add(feature, strength, unit="raw", **options),))


def write(model, *arms, sae=None, **options):
    sae = sae or tiny.make_sae(MIDDLE)
    return generate(model, sae, LONG, arms, **{"max_new_tokens": 4, **options})


def assert_same(run, whole):
    """The same run, but for rounding and for how much of the model it took."""
    assert run.tokens == whole.tokens
    assert run.positions == whole.positions
    assert run.met == whole.met
    for name in ("logprob", "moved"):
        one, other = ([x for arm in getattr(each, name) for x in arm] for each in (run, whole))
        assert one == pytest.approx(other, abs=1e-4, rel=1e-4)


@pytest.fixture
def ran(deep_model):
    """In how many rows each block ran, pass by pass. Seen inside of it, at the attention."""
    rows = [[] for _ in deep_model.blocks]

    def noting(place):
        def note(_module, args, kwargs):
            rows[place].append(len(next(v for v in (*args, *kwargs.values()) if v is not None)))

        return note

    handles = [
        block.attn.register_forward_pre_hook(noting(place), with_kwargs=True)
        for place, block in enumerate(deep_model.blocks)
    ]
    yield rows
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(
    ("hook", "first"),
    [
        ("blocks.0.hook_resid_post", 1),
        ("blocks.2.hook_resid_pre", 2),
        ("blocks.2.hook_resid_post", 3),
        ("blocks.3.hook_attn_out", 3),
        ("blocks.4.hook_resid_post", 5),
    ],
)
def test_a_moved_slider_runs_only_the_blocks_above_it_on_the_prompt(deep_model, ran, hook, first):
    if Reading(deep_model).rereads:
        first = 0
    prompts, sae = Prompts(), tiny.make_sae(hook)
    for strength in (4.0, -3.0):
        for rows in ran:
            rows.clear()
        arms = [BASE, push(strength)]
        run = write(deep_model, *arms, sae=sae, prompts=prompts, max_new_tokens=1)
        assert run.read_from == first
        assert run.hook_calls == {"prefill": 1, "steps": 0}
    assert ran == [[]] * first + [[2]] * (5 - first)
    assert_same(run, write(deep_model, *arms, sae=sae, cache=False, max_new_tokens=1))


def test_a_new_prompt_is_read_in_one_row_below_the_edit_and_in_all_above(deep_model, ran):
    if Reading(deep_model).rereads:
        pytest.skip("this model has no key-value cache")
    write(deep_model, push())  # what a model can do is tried at its first run
    for rows in ran:
        rows.clear()
    write(deep_model, BASE, push(), push(-2.0, name="pull"), max_new_tokens=2)
    assert ran == [[1, 3]] * 3 + [[3, 3]] * 2


ARMS = {
    "everywhere": push(),
    "prompt": push(where="prompt"),
    "last": push(where="last"),
    "span": push(where=sw.Span(3, 8, step=2)),
    "across the end": push(where=sw.Span(8), schedule=sw.Decay(3)),
    "asks about the prompt": push(where="generated", when=sw.Fires(3, over="prompt")),
    "asks about tokens": push(when=~sw.Fires(3)),
    "norms restored": Arm("norms", (sw.Set(9, 3.0, unit="raw"), sw.Floor(2, 1.0)), True),
    "two hook points": Arm(
        "two",
        (
            sw.Add([1.0] * 7 + [-2.0] * 9, 2.0, unit="raw", hook="blocks.3.attn.hook_z"),
            sw.Add([0.0, 3.0] * 8, 1.0, unit="raw", hook="blocks.1.hook_resid_post"),
        ),
    ),
    "waits for a block below": push(when=sw.Near([1.0] * 16, 0.05, hook="blocks.1.hook_resid_pre")),
}


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)
def test_edits_do_what_they_do_when_the_whole_prompt_is_read(deep_model, arm):
    prompts = Prompts()
    for arms in ([arm], [BASE, arm, *(push(0.5 * i, i, str(i)) for i in range(7))]):
        run = write(deep_model, *arms, prompts=prompts)
        assert_same(run, write(deep_model, *arms, cache=False))
        assert bool(run.read_from) != Reading(deep_model).rereads
    assert any(moved for moved in run.moved[1])


def test_each_token_has_the_probability_of_a_plain_pass_over_the_edited_text(deep_model):
    prompts = Prompts()
    write(deep_model, push(), prompts=prompts)
    pull = push(-3.0, feature=20)  # axis 4 backwards
    run = write(deep_model, BASE, pull, prompts=prompts, temperature=1.0, seed=3)
    text = torch.tensor([[*LONG, *run.tokens[1]]])
    up = (text != 0)[..., None] * 3.0 * torch.eye(16)[4]
    with torch.no_grad(), attached(deep_model, {MIDDLE: lambda x: x + up}):
        logprob = deep_model(text)[0].log_softmax(-1)
    expected = [float(logprob[9 + i, token]) for i, token in enumerate(run.tokens[1])]
    assert run.logprob[1] == pytest.approx(expected, abs=1e-4)


def test_a_run_ends_where_a_condition_below_its_edits_is_met(deep_model):
    low = tiny.make_sae("blocks.0.hook_resid_post", name="low")
    saes, until = {"signed": tiny.make_sae(MIDDLE), "low": low}, sw.Fires(3, 0.5, sae="low")
    runs = [write(deep_model, BASE, push(), sae=saes, until=until, cache=c) for c in (True, False)]
    assert_same(*runs)
    assert [run.read_from for run in runs] == [int(not Reading(deep_model).rereads), 0]


def test_blocks_that_hand_on_a_tuple_rest_as_others_do(tokenizer):
    """GPT-J's do, and have attention and MLP side by side."""
    model = random_model(
        tokenizer, "GPTJ", n_embd=16, n_layer=4, n_head=2, rotary_dim=4, n_positions=48
    )
    run = write(model, BASE, push())
    assert run.read_from == 3
    assert_same(run, write(model, BASE, push(), cache=False))


def random_model(tokenizer, kind, **options):
    torch.manual_seed(5)
    marks = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer), initializer_range=0.5, **marks, **options
    )
    config.architectures = [f"{kind}ForCausalLM"]
    return load_model(getattr(transformers, f"{kind}ForCausalLM")(config), tokenizer)


def test_once_weights_have_changed_the_blocks_below_read_the_prompt_again(tokenizer):
    prompts, model = Prompts(), tiny.llama(tokenizer, layers=3)
    before = write(model, push(), prompts=prompts)
    with torch.no_grad():
        next(iter(model.blocks[1].parameters())).mul_(-2.0)
    after = write(model, push(), prompts=prompts)
    assert after.logprob != before.logprob
    assert_same(after, write(model, push(), cache=False))


def test_an_error_above_leaves_the_blocks_below_as_they_were(deep_model):
    before = write(deep_model, BASE)
    with pytest.raises(FloatingPointError):
        write(deep_model, Arm("huge", (sw.Add(5, 3e38, unit="raw"), sw.Add(5, 3e38, unit="raw"))))
    wide = sw.Add([1.0] * 12, 1.0, unit="raw", hook="blocks.3.hook_resid_pre")
    with pytest.raises(ValueError, match="12 entries, but the activations there have 16"):
        write(deep_model, Arm("wide", (wide,)))
    assert write(deep_model, BASE) == before


# Where the whole prompt is read for every arm, the run says so


def hooked_from_outside(model):
    return attached(model, {"blocks.4.hook_resid_pre": lambda x: 1.5 * x})


@contextmanager
def block_hooked_from_outside(model):
    handle = model.blocks[1].register_forward_pre_hook(lambda *_: None)
    yield
    handle.remove()


@contextmanager
def blocks_that_share(model):
    """Another way from a lower block to a higher one than the residual stream."""
    left = []
    handles = [
        model.blocks[0].mlp.register_forward_hook(lambda *_: left.append(_[-1])),
        model.blocks[3].mlp.register_forward_hook(lambda *_: _[-1] + left[-1]),
    ]
    yield
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(
    "circumstance", [hooked_from_outside, block_hooked_from_outside, blocks_that_share]
)
def test_a_model_that_cannot_go_on_from_its_middle_reads_the_whole_prompt(tokenizer, circumstance):
    model, prompts = tiny.gpt2(tokenizer, layers=5), Prompts()
    assert write(model, push(), prompts=prompts).read_from == 3
    with circumstance(model):
        for strength in (4.0, -3.0):
            run = write(model, BASE, push(strength), prompts=prompts)
            assert run.read_from == 0
            assert_same(run, write(model, BASE, push(strength), cache=False))
    assert write(model, push(), prompts=prompts).read_from == 3


HYBRIDS = {
    "Lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "FalconH1": {"mamba_d_ssm": 16, "mamba_n_heads": 4, "mamba_d_state": 4, "mamba_chunk_size": 4},
}


@pytest.mark.parametrize("where", ["all", "generated"])
@pytest.mark.parametrize("kind", HYBRIDS)
def test_a_model_that_keeps_more_than_keys_and_values_reads_the_whole_prompt(
    tokenizer, kind, where
):
    """LFM2 has convolutions beside its attention, Falcon H1 recurrences; both keep their state."""
    model = random_model(
        tokenizer,
        kind,
        hidden_size=16,
        intermediate_size=24,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=4,
        **HYBRIDS[kind],
    )
    run = write(model, BASE, push(40.0, where=where))
    assert run.read_from == 0
    assert_same(run, write(model, BASE, push(40.0, where=where), cache=False))
    assert run.logprob[0] != run.logprob[1]


@pytest.mark.parametrize("hook", ["hook_embed", "blocks.0.hook_resid_pre"])
def test_an_edit_at_the_bottom_has_no_blocks_below(deep_model, hook):
    low = Arm("low", (sw.Add([1.0] * 16, 1.0, unit="raw", hook=hook),))
    run = write(deep_model, low, push())
    assert run.read_from == 0
    assert_same(run, write(deep_model, low, push(), cache=False))


@pytest.mark.parametrize(
    ("hook", "options", "read_from", "told"),
    [
        ("blocks.0.hook_resid_pre", {}, 0, "every block read the prompt for every arm"),
        ("blocks.0.hook_resid_post", {}, 1, "the first block read the prompt once for all arms"),
        (MIDDLE, {}, 3, "the first 3 blocks read the prompt once for all arms"),
        (MIDDLE, {"where": "generated"}, 5, "the first 5 blocks read the prompt once for all"),
    ],
)
def test_a_receipt_says_how_much_of_the_model_all_arms_share(
    tokenizer, hook, options, read_from, told
):
    model, sae = tiny.gpt2(tokenizer, layers=5), tiny.make_sae(hook)
    run = write(model, BASE, push(**options), sae=sae)
    assert run.read_from == read_from
    assert told in repr(receipt(model, sae, run))
