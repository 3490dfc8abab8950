"""Vocabularies with gaps and padding: of 48 ids, those that are tokens are 0 to 6, 40 and 41."""

import pytest
import tiny
import torch

import sae_widgets as sw
from sae_widgets.explain import logit_lens
from sae_widgets.model import load_model, nameless
from sae_widgets.steering.effects import input_score, output_score
from sae_widgets.tokens import pieces, shown

NAMED = [0, 1, 2, 3, 4, 5, 6, 40, 41]
PROMPT = [0, 1, 2]  # <s> the sea
PUSH = [sw.Add(3, 4.0, unit="raw")]


@pytest.fixture(scope="module")
def model():
    tokenizer = tiny.gapped()
    return load_model(tiny.gpt2_network(tokenizer, vocabulary=48), tokenizer)


@pytest.fixture(scope="module")
def session(model):
    return sw.Session(model, tiny.make_sae(), sample=None)


def expected(model, ids):
    """Log-probabilities after `ids` of the nine tokens alone, from the network itself."""
    with torch.inference_mode():
        return model.original_model(torch.tensor([ids])).logits[0, -1, NAMED].log_softmax(0)


def test_only_tokens_are_written_and_every_one_of_them_can_be(session):
    written = set()
    for seed in range(60):
        run = session.generate("the sea", temperature=4.0, seed=seed, max_new_tokens=8)
        written |= set(run.tokens[0])
    assert written == set(NAMED)


def test_the_log_probability_of_what_is_written_is_among_the_tokens_alone(model, session):
    run = session.generate("the sea", temperature=2.0, seed=1, max_new_tokens=6)
    for place, token in enumerate(run.tokens[0]):
        after = expected(model, [*PROMPT, *run.tokens[0][:place]])
        assert run.logprob[0][place] == pytest.approx(float(after[NAMED.index(token)]), abs=1e-4)


def test_an_end_mark_beyond_the_gap_ends_a_run(session):
    ended = [
        run
        for run in (session.generate("the", temperature=4.0, seed=n) for n in range(30))
        if run.stopped == "end"
    ]
    assert ended
    assert all(run.tokens[0].count(41) == 1 and run.tokens[0][-1] == 41 for run in ended)


def test_likelihoods_and_sweeps_of_such_texts_are_numbers(session):
    seed = next(n for n in range(60) if 40 in written(session, n))
    run = session.generate(
        "the sea", {"steered": PUSH}, temperature=4.0, seed=seed, max_new_tokens=8
    )
    found = session.likelihoods(run)
    own = sum(run.logprob[0]) / len(run.logprob[0])
    assert float(found[0, 0]) == pytest.approx(own, abs=1e-4)
    assert found.isfinite().all()
    sweep = session.sweep("the sea", PUSH, [0.5, 1.0], temperature=4.0, seed=seed, max_new_tokens=8)
    assert all(0 < point.kl < 50 for point in sweep.steered)


def written(session, seed):
    return session.generate("the sea", temperature=4.0, seed=seed, max_new_tokens=8).tokens[0]


def test_effects_are_of_the_tokens_alone(model, session):
    found = session.effects("the sea", PUSH)
    base = expected(model, PROMPT)
    with sw.steering(model, tiny.make_sae(), PUSH):
        steered = expected(model, PROMPT)
    assert float(found.kl[-1]) == pytest.approx(
        float((base.exp() * (base - steered)).sum()), abs=1e-4
    )
    best = [NAMED[place] for place in steered.topk(5).indices]
    assert found.top[-1].tolist() == best
    torch.testing.assert_close(found.top_p[-1], steered.exp().topk(5).values, atol=1e-5, rtol=1e-4)
    for named in (found.top, found.gained, found.lost):
        assert set(named.flatten().tolist()) <= set(NAMED)


def test_no_more_tokens_are_told_of_than_there_are(model):
    from sae_widgets.steering.effects import effects

    found = effects(model, tiny.make_sae(), PROMPT, PUSH, n=20)
    for named in (found.top, found.gained, found.lost):
        assert all(sorted(row) == NAMED for row in named.tolist())


def test_the_lens_names_tokens_beyond_the_gap_and_nothing_that_is_none(model):
    sae = tiny.make_sae()
    lens = logit_lens(model, sae, range(32), n=20)
    assert all({token for token, _ in each.likely} == set(NAMED) - {0, 41} for each in lens)


def test_scores_count_tokens_alone(model):
    sae = tiny.make_sae()
    scores = output_score(model, sae, range(32), PROMPT)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert input_score(model, sae, [3], [PROMPT]).shape == (1,)


def test_an_id_that_is_no_token_is_shown_by_its_number(model):
    tokenizer = model.tokenizer
    assert shown(tokenizer, 7) == "⟨id 7⟩"
    assert shown(tokenizer, 40) == "·storm"
    some = pieces(tokenizer, [1, 47, 40])
    assert [piece.shown for piece in some] == ["the", "⟨id 47⟩", "·storm"]
    assert some[1].text == ""
    assert not some[1].special


def test_nothing_is_barred_that_was_added_later():
    tokenizer = tiny.gapped()
    other = load_model(tiny.gpt2_network(tokenizer, vocabulary=48), tokenizer)
    assert (~nameless(other)).nonzero()[:, 0].tolist() == NAMED
    other.tokenizer.add_tokens(["wave"])
    assert (~nameless(other)).nonzero()[:, 0].tolist() == [*NAMED, 42]
