"""The arithmetic of edits, where they act, and that nothing stays behind."""

from dataclasses import replace

import pytest
import tiny
import torch

import sae_widgets as sw
from sae_widgets.model import activations, attached
from sae_widgets.sae import SAE, JumpReLU, TopK
from sae_widgets.steering.hooks import Passes, compile_arms

IDS = torch.tensor([[0, 30, 41, 52, 0, 33]])  # 0 is special: positions 0 and 4
ORDINARY = [1, 2, 3, 5]
SPECIAL = [0, 4]


def change(model, sae, *edits, ids=IDS):
    """What the edits add to the activations."""
    plain = activations(model, ids, tiny.HOOK)
    with sw.steering(model, sae, list(edits)):
        steered = activations(model, ids, tiny.HOOK)
    return (steered - plain)[0]


def values(model, sae, *edits):
    """The features as the SAE finds them in the edited activations."""
    with sw.steering(model, sae, list(edits)):
        return sae.encode(activations(model, IDS, tiny.HOOK))[0]


def row(**entries):
    """A vector of 16 with these entries: row(a3=2.0) has 2 in place 3."""
    vector = torch.zeros(16)
    for name, value in entries.items():
        vector[int(name[1:])] = value
    return vector


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        # feature 5 is axis 5; feature 20 is axis 4 backwards
        (sw.Add(5, 2.5, unit="raw"), row(a5=2.5)),
        (sw.Add(20, 2.5, unit="raw"), row(a4=-2.5)),
        # peaks go from 1 to 4.1 in 31 steps of .1: feature 5 has 1.5
        (sw.Add(5, 2.0), row(a5=3.0)),
        # the mean norm is 3
        (sw.Add(5, -2.0, unit="norm"), row(a5=-6.0)),
        (sw.Add(row(a2=3.0, a3=4.0), 2.0, unit="raw"), row(a2=6.0, a3=8.0)),
        (sw.Add(row(a2=3.0, a3=4.0), 2.0, unit="norm"), row(a2=3.6, a3=4.8)),
    ],
)
def test_add_moves_every_ordinary_position_and_no_special_one(any_model, sae, edit, expected):
    moved = change(any_model, sae, edit)
    torch.testing.assert_close(moved[ORDINARY], expected.expand(4, 16), atol=1e-5, rtol=1e-5)
    assert (moved[SPECIAL] == 0).all()


def test_norm_counts_mean_norms_whatever_the_length_of_the_direction(model, sae):
    sae.W_dec *= 0.25
    moved = change(model, sae, sw.Add(5, 2.0, unit="norm"))
    torch.testing.assert_close(moved[ORDINARY], row(a5=6.0).expand(4, 16))


def test_set_makes_the_value_what_was_asked(any_model, sae):
    before = values(any_model, sae)
    active = int(before[1:4].min(0).values.argmax())  # fires on all three
    after = values(any_model, sae, sw.Set(active, 2.0, unit="raw"))
    asked = torch.full((3,), 2.0)
    torch.testing.assert_close(after[1:4, active], asked, atol=1e-4, rtol=1e-4)
    assert torch.equal(after[SPECIAL], before[SPECIAL])
    others = [f for f in range(32) if f % 16 != active % 16]
    torch.testing.assert_close(after[:, others], before[:, others])


def test_set_in_peaks_keeps_what_the_sae_does_not_explain(model, sae):
    sae.W_dec *= 0.5  # now the reconstruction misses half of everything
    f = values(model, sae)[:, 7]
    moved = change(model, sae, sw.Set(7, 0.5))  # peak 1.7, so the value is to be .85
    expected = torch.zeros(6, 16)
    expected[ORDINARY, 7] = 0.5 * (0.85 - f[ORDINARY])
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=1e-5)


def test_scale_acts_only_where_the_feature_fires(model, sae):
    f = values(model, sae)[:, 7]
    assert 0 < (f[ORDINARY] > 0).sum() < 4  # else this test says nothing
    expected = torch.zeros(6, 16)
    expected[ORDINARY, 7] = 2 * f[ORDINARY]
    torch.testing.assert_close(change(model, sae, sw.Scale(7, 3)), expected, atol=1e-5, rtol=1e-5)


def test_ablate_is_scale_by_nothing(model, sae):
    ablated, scaled = change(model, sae, sw.Ablate(7)), change(model, sae, sw.Scale(7, 0))
    assert torch.equal(ablated, scaled)
    assert values(model, sae, sw.Ablate(7))[ORDINARY, 7].abs().max() < 1e-5


def overlapping(threshold=0.0):
    """An SAE whose directions are not at right angles: moving one value moves others."""
    torch.manual_seed(8)
    sae = SAE(16, 24, tiny.HOOK, JumpReLU(torch.full((24,), threshold)), name="overlapping")
    sae.W_enc.data += 0.1 * torch.randn(16, 24)
    return sae.requires_grad_(False)


def test_targets_are_met_together_where_sets_disturb_each_other(any_model):
    sae = overlapping()
    asked = {3: 2.0, 8: 0.5, 14: 0.0}
    found = {}
    for kind in (sw.Target, sw.Set):
        edits = [kind(feature, value, unit="raw") for feature, value in asked.items()]
        found[kind] = values(any_model, sae, *edits)[:, list(asked)]
    expected = torch.tensor(list(asked.values())).expand(4, 3)
    torch.testing.assert_close(found[sw.Target][ORDINARY], expected, atol=1e-4, rtol=1e-4)
    assert (found[sw.Set][ORDINARY] - expected).abs().max() > 0.1
    assert torch.equal(found[sw.Target][SPECIAL], values(any_model, sae)[SPECIAL][:, list(asked)])


def test_a_target_of_nothing_leaves_alone_what_is_silent(model):
    sae = overlapping()
    silent = values(model, sae)[ORDINARY, 5] == 0
    assert 0 < silent.sum() < 4  # else this test says nothing
    moved = change(model, sae, sw.Target(5, 0.0, unit="raw"))[ORDINARY].abs().amax(-1)
    assert torch.equal(moved == 0, silent)


def test_each_arm_solves_for_its_own_targets(model):
    sae = overlapping()
    arms = [
        sw.Arm("one", (sw.Target(3, 2.0, unit="raw"),)),
        sw.Arm("two", (sw.Target(8, 1.0, unit="raw"), sw.Target(3, 0.5, unit="raw"))),
    ]
    compiled = compile_arms(model, sae, arms)[tiny.HOOK]
    passes = Passes(model)
    x = activations(model, IDS, tiny.HOOK).repeat(2, 1, 1)
    passes.begin(IDS.repeat(2, 1), past=0, prompt=6)
    found = sae.encode(compiled.during(passes)(x))[:, ORDINARY]
    torch.testing.assert_close(found[0, :, 3], torch.full((4,), 2.0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        found[1][:, [8, 3]], torch.tensor([[1.0, 0.5]] * 4), atol=1e-4, rtol=0
    )


def test_targets_that_nothing_could_meet_are_refused(model):
    sae = overlapping(threshold=0.4)
    with pytest.raises(ValueError, match=r"value of 0.3, but feature 5 .* fires only above 0.4"):
        change(model, sae, sw.Target(5, 0.3, unit="raw"))
    sae.W_dec[6], sae.W_enc[:, 6] = sae.W_dec[5], sae.W_enc[:, 5]
    with pytest.raises(ValueError, match=r"features \[5, 6\] .* almost the same"):
        change(model, sae, sw.Target(5, 1.0, unit="raw"), sw.Target(6, 2.0, unit="raw"))
    sae.W_enc[:, 7] = 0  # nothing moves what is not read
    with pytest.raises(ValueError, match=r"features \[7\] .* hardly move what the encoder reads"):
        change(model, sae, sw.Target(7, 1.0, unit="raw"))
    with pytest.raises(ValueError, match="give them the same where, schedule and when"):
        change(model, sae, sw.Target(5, 1.0), sw.Target(8, 1.0, where="generated"))


def test_floor_and_ceiling_move_only_what_lies_beyond_them(model, sae):
    f = values(model, sae)[:, 7]
    bound = float(f[ORDINARY].sort().values[1:3].mean())  # two of the four lie on each side
    for kind, expected in ((sw.Floor, f.clamp(min=bound)), (sw.Ceiling, f.clamp(max=bound))):
        moved = torch.zeros(6, 16)
        moved[ORDINARY, 7] = (expected - f)[ORDINARY]
        assert 0 < (moved != 0).sum() < 4
        edit = kind(7, bound, unit="raw")
        torch.testing.assert_close(change(model, sae, edit), moved, atol=1e-5, rtol=1e-5)
    both = [sw.Floor(7, bound / 2, unit="raw"), sw.Ceiling(7, bound, unit="raw")]
    moved = change(model, sae, *both)[:, 7]
    found = (f + moved)[ORDINARY]
    torch.testing.assert_close(found, f[ORDINARY].clamp(bound / 2, bound), atol=1e-5, rtol=1e-5)


def test_projected_out_nothing_is_left_along_the_direction(any_model, sae):
    sae.W_dec *= 0.25
    x = activations(any_model, IDS, tiny.HOOK)[0]
    moved = change(any_model, sae, sw.ProjectOut(5))
    expected = torch.zeros(6, 16)
    expected[ORDINARY, 5] = -x[ORDINARY, 5]
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("degrees", [20.0, -35.0, 170.0])
def test_a_turn_keeps_the_length_and_changes_the_angle_by_what_was_asked(any_model, sae, degrees):
    vector = row(a2=3.0, a3=4.0)
    x = activations(any_model, IDS, tiny.HOOK)[0][ORDINARY]
    turned = x + change(any_model, sae, sw.Rotate(vector, degrees))[ORDINARY]
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))

    def angle(x):
        return torch.rad2deg(torch.arccos(torch.cosine_similarity(x, vector, dim=-1)))

    expected = (angle(x) - degrees).clamp(0, 180)  # never beyond the direction
    torch.testing.assert_close(angle(turned), expected, atol=0.1, rtol=0)
    # It stays in the plane of the activation and the direction.
    basis = torch.linalg.qr(torch.stack([x, vector.expand_as(x)], -1)).Q
    left = turned - (basis @ (basis.mT @ turned[..., None]))[..., 0]
    assert left.abs().max() < 1e-4


def test_replaced_is_the_direction_alone_and_further_edits_are_added(model, sae):
    x = activations(model, IDS, tiny.HOOK)[0]
    moved = change(model, sae, sw.Replace(5, 2.0), sw.Add(9, 1.0, unit="raw"))
    expected = row(a5=3.0, a9=1.0).expand(4, 16)  # feature 5 has its peak at 1.5
    torch.testing.assert_close((x + moved)[ORDINARY], expected, atol=1e-5, rtol=1e-5)
    assert (moved[SPECIAL] == 0).all()
    moved = change(model, sae, sw.Replace(row(a2=3.0, a3=4.0), 2.0, unit="norm"))
    torch.testing.assert_close((x + moved)[1], row(a2=3.6, a3=4.8), atol=1e-5, rtol=1e-5)


def test_several_turns_of_one_row_each_start_from_the_same_activation(model, sae):
    one, two = sw.Rotate(5, 30.0), sw.Rotate(9, 10.0)
    together = change(model, sae, one, two)
    apart = change(model, sae, one) + change(model, sae, two)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)


def test_with_the_norm_restored_activations_keep_their_length(any_model, sae):
    plain = activations(any_model, IDS, tiny.HOOK)[0]
    with sw.steering(any_model, sae, [sw.Add(5, 2.0)], restore_norm=True):
        kept = activations(any_model, IDS, tiny.HOOK)[0]
    torch.testing.assert_close(kept.norm(dim=-1), plain.norm(dim=-1))
    pushed = (plain + row(a5=3.0))[ORDINARY]
    cosine = torch.cosine_similarity(kept[ORDINARY], pushed, dim=-1)
    torch.testing.assert_close(cosine, torch.ones(4))
    assert torch.equal(kept[SPECIAL], plain[SPECIAL])


@pytest.mark.parametrize(
    ("where", "positions"),
    [
        (sw.Span(2), [2, 3, 5]),
        (sw.Span(1, 3), [1, 2]),
        (sw.Span(step=2), [2]),  # 0 and 4 are special
        (sw.Span(1, None, 2), [1, 3, 5]),
        ("last", [5]),
    ],
)
def test_an_edit_acts_at_the_positions_of_its_span(any_model, sae, where, positions):
    moved = change(any_model, sae, sw.Add(5, 2.0, unit="raw", where=where))
    assert (moved.abs() > 1e-3).any(-1).nonzero()[:, 0].tolist() == positions


@pytest.mark.parametrize(
    ("schedule", "where", "shares"),
    [
        (sw.Ramp(4), "all", [0, 0.25, 0.5, 0.75, 0, 1]),
        (sw.Ramp(2), sw.Span(2), [0, 0, 0, 0.5, 0, 1]),
        (sw.Decay(2), "prompt", [0, 0.5**0.5, 0.5, 0.5**1.5, 0, 0.5**2.5]),
        (sw.Pulse(3, 2), "all", [0, 1, 0, 1, 0, 0]),
        (sw.Values([9, -1, 0.5]), "all", [0, -1, 0.5, 0, 0, 0]),
    ],
)
def test_a_schedule_says_how_much_is_done_at_each_token(model, sae, schedule, where, shares):
    edit = sw.Add(5, 2.0, unit="raw", where=where, schedule=schedule)
    expected = torch.tensor(shares)[:, None] * row(a5=2.0)
    torch.testing.assert_close(change(model, sae, edit), expected, atol=1e-5, rtol=1e-5)


def acts(model, sae, edit, ids=IDS):
    """At which positions an edit changes anything."""
    return (change(model, sae, edit, ids=ids).abs() > 1e-3).any(-1).nonzero()[:, 0].tolist()


def test_an_edit_may_wait_for_a_feature_on_the_token(any_model, sae):
    found = values(any_model, sae)
    feature = next(i for i in range(16) if 0 < (found[ORDINARY, i] > 0).sum() < 4)
    fires = sw.Fires(feature)
    above = [i for i in ORDINARY if found[i, feature] > 0]
    below = [i for i in ORDINARY if found[i, feature] == 0]
    add = {"strength": 2.0, "unit": "raw"}
    assert acts(any_model, sae, sw.Add(5, when=fires, **add)) == above
    assert acts(any_model, sae, sw.Add(5, when=~fires, **add)) == below
    never = sw.Fires(feature, 1e9)
    assert acts(any_model, sae, sw.Add(5, when=never | fires, **add)) == above
    assert acts(any_model, sae, sw.Add(5, when=never & fires, **add)) == []


def test_an_edit_may_wait_for_the_prompt_and_then_acts_on_all_that_is_written(model, sae):
    f = values(model, sae)[:, 7]
    strongest = int(f[[1, 2, 3]].argmax()) + 1
    bound = float(f[strongest]) - 1e-3
    text = IDS[:, :4]
    when = sw.Fires(7, bound, over="prompt")
    edit = sw.Add(5, 2.0, unit="raw", when=when)
    assert acts(model, sae, edit, ids=text) == [1, 2, 3]
    without = text[:, [i for i in range(4) if i != strongest]]
    if values_of(model, sae, without)[1:, 7].max() <= bound:
        assert acts(model, sae, edit, ids=without) == []
    seen, plain = [], []
    with sw.steering(model, sae, [edit]), logits_hidden(model, seen):
        written = model.generate(
            text, max_new_tokens=3, do_sample=False, stop_at_eos=False, verbose=False
        )
    with logits_hidden(model, plain):
        model(text)
    assert len(seen) == 3
    assert written.shape[1] == 7
    # A cached step has no prompt of its own: what the prompt said still holds.
    step = sw.Add(5, 2.0, unit="raw", when=when, where="generated")
    after = []
    with sw.steering(model, sae, [step]), logits_hidden(model, after):
        model(text)
        model(written)
    moved = (after[1] - seen_alone(model, written))[0].abs().amax(-1) > 1e-3
    assert moved[4:].tolist() == [bool(token) for token in written[0, 4:]]


def values_of(model, sae, ids):
    return sae.encode(activations(model, ids, tiny.HOOK))[0]


def seen_alone(model, ids):
    return activations(model, ids, tiny.HOOK)


@pytest.mark.parametrize("where", ["generated", "last"])
def test_a_schedule_goes_on_over_cached_steps(model, sae, where):
    """Steps with a cache, and the same text read at once, are edited alike."""
    text = torch.tensor([[0, 30, 41, 52, 33, 61, 35]])
    edit = sw.Add(5, 2.0, unit="raw", where=where, schedule=sw.Ramp(4))
    stepped, seen = [], []
    with sw.steering(model, sae, [edit]), logits_hidden(model, stepped):
        cache = None
        for ids in (text[:, :3], *text[:, 3:].split(1, dim=1)):
            output = model.original_model(input_ids=ids, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
    with sw.steering(model, sae, [edit]), logits_hidden(model, seen):
        model(text[:, :3])
        model(text)
    torch.testing.assert_close(torch.cat(stepped, 1), seen[-1], atol=1e-4, rtol=1e-4)
    moved = (seen[-1] - activations(model, text, tiny.HOOK))[0, :, 5]
    expected = [0, 0, 0, 0, 0.5, 1.0, 1.5] if where == "generated" else [0, 0, 0, 0.5, 1, 1.5, 2]
    torch.testing.assert_close(moved, torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_a_condition_about_a_prompt_that_was_read_before_the_block_is_an_error(model, sae):
    first = model.original_model(input_ids=IDS[:, :3], use_cache=True)
    edit = sw.Add(5, 2.0, unit="raw", when=sw.Fires(7, over="prompt"))
    with (
        pytest.raises(RuntimeError, match="was read before this block began; read it inside"),
        sw.steering(model, sae, [edit]),
    ):
        model.original_model(input_ids=IDS[:, 3:4], past_key_values=first.past_key_values)


def test_an_edit_may_wait_for_an_activation_near_a_vector(any_model, sae):
    x = activations(any_model, IDS, tiny.HOOK)[0]
    vector = x[2]
    near = [i for i in ORDINARY if torch.cosine_similarity(x[i], vector, dim=0) > 0.9]
    assert 2 in near
    edit = sw.Add(5, 2.0, unit="raw", when=sw.Near(vector, 0.9))
    assert acts(any_model, sae, edit) == near


def test_a_condition_is_read_before_anything_is_edited_and_may_be_read_lower_down(model, sae):
    lower = tiny.make_sae("blocks.0.hook_resid_pre", name="lower")
    both = {sae.name: sae, "lower": lower}
    f = lower.encode(activations(model, IDS, lower.hook))[0][:, 3]
    expected = [i for i in ORDINARY if f[i] > 0]
    edits = [
        sw.Set(3, 50.0, unit="raw", sae="lower"),  # would make it fire everywhere
        sw.Add(5, 2.0, unit="raw", when=sw.Fires(3, sae="lower")),
    ]
    plain, seen = [], []
    with sw.steering(model, both, edits[:1]), logits_hidden(model, plain):
        model(IDS)
    with sw.steering(model, both, edits), logits_hidden(model, seen):
        model(IDS)
    moved = ((seen[0] - plain[0])[0].abs() > 1e-3).any(-1).nonzero()[:, 0].tolist()
    assert moved == expected
    upper = sw.Add(3, 1.0, unit="raw", sae="lower", when=sw.Fires(5, sae=sae.name))
    with (
        pytest.raises(RuntimeError, match="read later in the model than the edit acts"),
        sw.steering(model, both, [upper]),
    ):
        model(IDS)


def test_a_vector_s_value_is_the_length_along_it(model, sae):
    vector = row(a2=3.0, a3=4.0)
    unit = vector / 5
    x = activations(model, IDS, tiny.HOOK)[0]
    along = (x @ unit)[:, None] * unit
    torch.testing.assert_close(
        change(model, sae, sw.Ablate(vector))[ORDINARY], -along[ORDINARY], atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        change(model, sae, sw.Set(vector, 2.0, unit="raw"))[ORDINARY],
        (2 * unit - along)[ORDINARY],
        atol=1e-5,
        rtol=1e-5,
    )
    torch.testing.assert_close(
        change(model, None, sw.Scale(vector, 3.0, hook=tiny.HOOK))[ORDINARY],
        2 * along[ORDINARY],
        atol=1e-5,
        rtol=1e-5,
    )


def test_all_changes_come_from_the_same_unedited_activation(model, sae):
    torch.manual_seed(5)
    sae.W_dec.copy_(torch.randn(32, 16))  # directions that overlap
    edits = [sw.Set(7, 2.0, unit="raw"), sw.Scale(9, 3.0), sw.Add(11, 1.5, unit="raw")]
    together = change(model, sae, *edits)
    apart = sum(change(model, sae, edit) for edit in edits)
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together, change(model, sae, *reversed(edits)))


def test_topk_features_are_edited_by_their_value_among_all(model, sae):
    sae.activation = TopK(3)
    found = values(model, sae)[ORDINARY]
    some = [f for f in range(16) if 0 < (found[:, f] > 0).sum() < 4]
    feature = some[-1]  # fires on some tokens and not on others
    expected = torch.zeros(6, 16)
    expected[ORDINARY, feature] = -found[:, feature]
    moved = change(model, sae, sw.Ablate(feature))
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=1e-5)


def test_heads_are_edited_through_the_same_door(any_model):
    sae = tiny.make_sae("blocks.0.attn.hook_z")
    plain = activations(any_model, IDS, sae.hook)
    with sw.steering(any_model, sae, [sw.Add(5, 2.0)]):
        steered = activations(any_model, IDS, sae.hook)
    d_head = plain.shape[-1]
    moved = (steered - plain)[0]
    head, place = divmod(5, d_head)
    torch.testing.assert_close(moved[1, head, place], torch.tensor(3.0))
    assert int((moved.abs() > 1e-6).sum()) == 4


def test_an_edit_that_is_off_does_nothing(model, sae):
    assert (change(model, sae, sw.Add(5, 2.0, on=False)) == 0).all()
    assert (change(model, sae) == 0).all()


def test_saes_are_meant_by_name_and_the_first_where_none_is(model):
    one, two = tiny.make_sae(name="one"), tiny.make_sae(name="two")
    two.W_dec *= 10
    both = {"one": one, "two": two}
    first = change(model, both, sw.Add(5, 1.0, unit="raw"))
    second = change(model, both, sw.Add(5, 1.0, unit="raw", sae="two"))
    torch.testing.assert_close(second, 10 * first, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="no SAE 'three'; there are 'one', 'two'"):
        change(model, both, sw.Add(5, 1.0, sae="three"))


# Where


def logits_hidden(model, seen):
    """Watch the activations at the hook on every pass in the block."""
    return attached(model, {tiny.HOOK: lambda x: seen.append(x.clone())})


def test_the_user_s_own_cached_generation_is_edited_at_every_token(any_model, sae):
    seen = []
    edit = sw.Add(5, 2.0, unit="raw")
    with sw.steering(any_model, sae, [edit]), logits_hidden(any_model, seen):
        any_model.generate(
            IDS[:, :4], max_new_tokens=4, do_sample=False, stop_at_eos=False, verbose=False
        )
    plain = []
    with logits_hidden(any_model, plain):
        any_model(IDS[:, :4])
    moved = (seen[0][0, :4] - plain[0][0])[1:]
    torch.testing.assert_close(moved, row(a5=2.0).expand(3, 16), atol=1e-4, rtol=1e-4)
    assert len(seen) >= 4


@pytest.mark.parametrize(("where", "on_prompt"), [("prompt", True), ("generated", False)])
def test_where_is_worked_out_in_passes_that_somebody_else_makes(any_model, sae, where, on_prompt):
    """Cached steps, and the same text read again with more behind it."""
    edit = sw.Add(5, 2.0, unit="raw", where=where)
    text = torch.tensor([[0, 30, 41, 52, 33]])

    def moved(*passes):
        steered, plain = [], []
        with sw.steering(any_model, sae, [edit]), logits_hidden(any_model, steered):
            for ids in passes:
                any_model(ids)
        with logits_hidden(any_model, plain):
            for ids in passes:
                any_model(ids)
        return [
            ((s - p)[0].abs() > 1e-3).any(-1).tolist() for s, p in zip(steered, plain, strict=True)
        ]

    prompt, longer = moved(text[:, :3], text)
    assert prompt == [False, on_prompt, on_prompt]
    assert longer == [False, on_prompt, on_prompt, not on_prompt, not on_prompt]
    # a text that does not go on is a new prompt
    _, other = moved(text, torch.tensor([[0, 41, 30, 41, 52, 61]]))
    assert other == [False, *[on_prompt] * 5]


def test_after_cached_steps_what_was_generated_is_still_known(any_model, sae):
    seen = []
    with (
        sw.steering(any_model, sae, [sw.Add(5, 2.0, unit="raw", where="generated")]),
        logits_hidden(any_model, seen),
    ):
        text = any_model.generate(
            IDS[:, :4], max_new_tokens=3, do_sample=False, stop_at_eos=False, verbose=False
        )
        text = text.clone()  # a HookedTransformer's is an inference tensor
        any_model(text)
    plain = []
    with logits_hidden(any_model, plain):
        any_model(text)
    moved = (seen[-1] - plain[0])[0].abs().amax(-1) > 1e-3
    ordinary = text[0] != 0
    assert not moved[:4].any()
    assert torch.equal(moved[4:], ordinary[4:])
    assert moved.any()


def test_at_the_embeddings_where_is_refused_rather_than_guessed(any_model):
    vector = row(a2=1.0)
    edit = sw.Add(vector, 1.0, unit="raw", hook="hook_embed", where="generated")
    with (
        pytest.raises(RuntimeError, match=r"blocks\.0\.hook_resid_pre is the same place"),
        sw.steering(any_model, None, [edit]),
    ):
        any_model(IDS)
    seen = []
    edit = sw.Add(vector, 1.0, unit="raw", hook="hook_embed")
    with (
        sw.steering(any_model, None, [edit]),
        attached(any_model, {"hook_embed": lambda x: seen.append(x.clone())}),
    ):
        any_model(IDS)
    with attached(any_model, {"hook_embed": lambda x: seen.append(x.clone())}):
        any_model(IDS)
    moved = (seen[0] - seen[1])[0]
    torch.testing.assert_close(moved[ORDINARY], vector.expand(4, 16))
    assert (moved[SPECIAL] == 0).all()


def test_ids_must_be_known_so_that_special_tokens_are_left_alone(model, sae):
    embedded = torch.randn(1, 3, 16)
    with (
        pytest.raises(RuntimeError, match="the token ids of this forward pass are not known"),
        sw.steering(model, sae, [sw.Add(5, 1.0)]),
    ):
        model.original_model(inputs_embeds=embedded)


# Mistakes


def test_a_hook_that_never_fires_is_an_error(model):
    edit = sw.Add([1.0] * 16, 1.0, unit="raw", hook="blocks.0.attn.hook_result")
    with (
        pytest.raises(RuntimeError, match="exists but did not run"),
        sw.steering(model, None, [edit]),
    ):
        model(IDS)
    with sw.steering(model, None, [edit]):
        pass  # no pass was made, so none was missed


def test_an_error_in_the_block_passes_through_and_leaves_no_hooks(model, sae):
    plain = model(IDS)
    with pytest.raises(KeyError), sw.steering(model, sae, [sw.Add(5, 100.0)]):
        model(IDS)
        raise KeyError
    assert torch.equal(model(IDS), plain)


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (sw.Add(32, 1.0), IndexError, "no feature 32: its 32 features are numbered 0 to 31"),
        (sw.Ablate([1.0] * 15), ValueError, "has 15 entries, but the activations there have 16"),
        (sw.Ablate(5, when=sw.Near([1.0])), ValueError, "condition at 'blocks.1.*' has 1 entries"),
        (
            sw.Ablate([1.0] * 16, hook="blocks.0.attn.hook_z", when=sw.Near([1.0] * 15)),
            ValueError,
            "'blocks.1.hook_resid_post' has 15 entries, but the activations there have 16",
        ),
        (sw.Add(5, 1e39, unit="raw"), ValueError, "pushes farther than numbers go; use a smaller"),
        (sw.Add(5, 1.0, when=sw.Fires(32)), IndexError, "no feature 32: its 32 features are"),
        (sw.Add([1.0] * 16, 1.0, unit="raw", hook="nope"), ValueError, "no hook point 'nope'"),
        (
            sw.Add([1.0] * 16, 1.0, unit="norm", hook="blocks.0.hook_resid_post"),
            ValueError,
            "no SAE with statistics reads 'blocks.0.hook_resid_post'",
        ),
    ],
)
def test_an_edit_that_cannot_be_made_says_why(model, sae, edit, error, message):
    with pytest.raises(error, match=message):
        change(model, sae, edit)


def test_an_sae_without_statistics_knows_only_raw_strengths(model, sae):
    sae.stats = None
    with pytest.raises(ValueError, match="came without statistics; give the strength in unit='raw"):
        change(model, sae, sw.Add(5, 1.0))


def test_a_feature_that_never_fired_has_no_peak(model, sae):
    sae.stats.peak[5] = 0
    with pytest.raises(ValueError, match="feature 5 of SAE 'signed' never fired"):
        change(model, sae, sw.Add(5, 1.0))


def test_a_feature_needs_an_sae_and_a_vector_a_hook(model):
    with pytest.raises(ValueError, match="names a feature, so it needs an SAE"):
        change(model, None, sw.Add(5, 1.0))
    with pytest.raises(ValueError, match="does not say where to act; pass hook="):
        change(model, None, sw.Ablate([1.0]))


def test_edits_that_contradict_each_other_are_refused(model, sae):
    with pytest.raises(ValueError, match=r"Set\(5, 1.0\) and Ablate\(5\) contradict each other"):
        change(model, sae, sw.Set(5, 1.0), sw.Ablate(5))
    with pytest.raises(ValueError, match="contradict each other"):
        change(model, sae, sw.Set(5, 1.0), sw.Ablate(5, sae=sae.name))
    with pytest.raises(ValueError, match="contradict each other"):
        change(model, sae, sw.Ablate([1.0] * 16), sw.Ablate([1.0] * 16, hook=sae.hook))
    allowed = [sw.Set(5, 1.0, where="prompt"), sw.Set(5, 2.0, where="generated"), sw.Add(5, 1.0)]
    change(model, sae, *allowed)
    change(model, sae, sw.Set(5, 1.0), sw.Ablate(5, on=False))
    spans = [sw.Set(5, 1.0, where=sw.Span(0, 3)), sw.Set(5, 2.0, where=sw.Span(3))]
    change(model, sae, *spans)
    turns = [sw.Set(5, 1.0, where=sw.Span(1, step=4)), sw.Set(5, 2.0, where=sw.Span(2, step=6))]
    change(model, sae, *turns)
    waits = [sw.Set(5, 1.0, when=sw.Fires(7)), sw.Set(5, 2.0, when=~sw.Fires(7))]
    change(model, sae, *waits)


@pytest.mark.parametrize(
    "edits",
    [
        [sw.ProjectOut(5), sw.ProjectOut(5)],  # together they would mirror the activation
        [sw.ProjectOut(5), sw.Set(5, 1.0)],
        [sw.Replace(5, 1.0), sw.Replace(9, 1.0, schedule=sw.Ramp(3))],
        [sw.Floor(5, 3.0), sw.Ceiling(5, 1.0)],
        [sw.Floor(5, 3.0), sw.Ceiling(5, 1.0, unit="norm")],  # 4.5 and 3 in its own units
        [sw.Set(5, 1.0, where=sw.Span(0, 4)), sw.Set(5, 2.0, where=sw.Span(3))],
        [sw.Set(5, 1.0, where=sw.Span(1, step=4)), sw.Set(5, 2.0, where=sw.Span(3, step=6))],
        [sw.Set(5, 1.0, where="last"), sw.Set(5, 2.0, where="generated")],
        [sw.Set(5, 1.0, when=sw.Fires(7)), sw.Set(5, 2.0, when=sw.Fires(8))],
    ],
)
def test_what_cannot_be_obeyed_together_is_refused(model, sae, edits):
    with pytest.raises(ValueError, match="contradict each other"):
        change(model, sae, *edits)
    with pytest.raises(ValueError, match="contradict each other"):
        change(model, sae, *reversed(edits))


def test_vectors_of_two_lengths_at_one_hook_are_refused(model, sae):
    edits = [sw.Ablate([1.0] * 16), sw.Ablate([1.0] * 8)]
    with pytest.raises(ValueError, match="has 8 entries, but the activations there have 16"):
        compile_arms(model, sae, [sw.Arm("arm", tuple(edits))])
    inside = [replace(edit, hook="blocks.1.mlp.hook_post") for edit in edits]
    with pytest.raises(ValueError, match=r"'blocks\.1\.mlp\.hook_post' have vectors of 8"):
        compile_arms(model, sae, [sw.Arm("arm", tuple(inside))])
    with pytest.raises(ValueError, match="has 16 entries, but the activations there have 64"):
        change(model, sae, inside[0])
