"""A small model runs on one of torch's threads, and leaves as many as there were."""

import threading

import pytest
import tiny
import torch

import sae_widgets as sw
from sae_widgets.model import threads


@pytest.fixture(autouse=True)
def three():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def seen_while(model, act):
    """How many threads there were in the passes of the model that `act` makes."""
    seen = set()
    handle = model.embed.register_forward_pre_hook(lambda *_: seen.add(torch.get_num_threads()))
    try:
        act()
    finally:
        handle.remove()
    return seen


@pytest.fixture
def acts(model, sae):
    session = sw.Session(model, sae, sample=None)
    edits = [sw.Add(5, 1.0, unit="raw")]
    return {
        "generate": lambda: session.generate("the sea", edits, max_new_tokens=3),
        "features": lambda: session.features("the sea"),
        "effects": lambda: session.effects("the sea", edits),
        "sweep": lambda: session.sweep("the sea", edits, factors=[0, 1], max_new_tokens=2),
    }


@pytest.mark.parametrize("name", ["generate", "features", "effects", "sweep"])
def test_a_small_model_runs_on_one_thread_and_the_others_are_there_again(model, acts, name):
    assert seen_while(model, acts[name]) == {1}
    assert torch.get_num_threads() == 3


def test_a_large_model_runs_on_all_of_them(model, acts, monkeypatch):
    monkeypatch.setattr(threads, "SMALL", 100)
    assert seen_while(model, acts["generate"]) == {3}


def test_whoever_has_set_one_thread_is_not_given_more(model, acts):
    torch.set_num_threads(1)
    assert seen_while(model, acts["generate"]) == {1}
    assert torch.get_num_threads() == 1


def test_after_an_error_and_in_a_block_of_a_block_they_are_there_again(model):
    with pytest.raises(ZeroDivisionError), threads.inferring(model), threads.inferring(model):
        assert torch.get_num_threads() == 1
        _ = 1 / 0
    assert torch.get_num_threads() == 3


def test_another_thread_of_python_has_its_own(model):
    """torch keeps the number for each: a worker's jobs do not slow a cell down."""
    inside, done = threading.Event(), threading.Event()

    def work():
        with threads.inferring(model):
            inside.set()
            assert done.wait(10)

    torch.get_num_threads()
    worker = threading.Thread(target=work)
    worker.start()
    assert inside.wait(10)
    assert torch.get_num_threads() == 3
    done.set()
    worker.join()


def test_how_large_a_model_is_is_counted_once():
    model = tiny.gpt2(tiny.byte_level())
    with threads.inferring(model):
        pass
    network = next(n for n in threads._counted if n is model.original_model)
    assert threads._counted[network] == sum(p.numel() for p in network.parameters())
