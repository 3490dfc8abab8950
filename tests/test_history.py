"""The tree of what a steering panel has written."""

import pytest

from sae_widgets.widgets.history import KEPT, History


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def asked(strength, feature=5, prompt="So"):
    return {"id": 1, "prompt": prompt, "edits": [{"feature": feature, "strength": strength}]}


class Panel:
    """Asks for runs and remembers them, some seconds after each other."""

    def __init__(self):
        self.clock = Clock()
        self.history = History(self.clock)

    def run(self, request, after=10.0, text=None):
        self.clock.now += after
        gesture = self.history.begin(request)
        arms = [
            {"name": "base", "tokens": [text or str(request["edits"])], "nll": 1.0, "met": True}
        ]
        self.history.add(request, {"arms": arms}, gesture)

    @property
    def tree(self):
        return [(state["id"], state["parent"]) for state in self.history.states]


@pytest.fixture
def panel():
    return Panel()


def test_each_state_is_a_child_of_the_one_before(panel):
    for strength in (0.1, 0.2, 0.3):
        panel.run(asked(strength))
    assert panel.tree == [(1, 0), (2, 1), (3, 2)]
    assert panel.history.here == 3
    state = panel.history.states[0]
    assert state["request"] == {k: v for k, v in asked(0.1).items() if k != "id"}
    assert state["arms"][0].keys() == {"name", "tokens", "nll"}


def test_who_goes_back_and_changes_something_begins_a_branch(panel):
    for strength in (0.1, 0.2, 0.3):
        panel.run(asked(strength))
    panel.run(asked(0.1))
    assert panel.history.here == 1
    assert len(panel.tree) == 3
    panel.run(asked(0.9))
    assert panel.tree[-1] == (4, 1)


def test_the_same_settings_with_another_text_are_another_state(panel):
    panel.run(asked(0.1), text="one")
    panel.run(asked(0.1), text="another")  # of changed weights
    assert panel.tree == [(1, 0), (2, 1)]


def test_of_a_drag_the_last_strength_is_kept(panel):
    panel.run(asked(0.1))
    for step in range(20):
        panel.run(asked(0.2 + step / 100), after=5.0 if step == 0 else 1.0)
    assert len(panel.tree) == 2
    assert panel.history.states[1]["request"]["edits"][0]["strength"] == pytest.approx(0.39)
    assert panel.history.states[1]["parent"] == 1
    panel.run(asked(0.5), after=2.0)
    assert len(panel.tree) == 3  # after a pause it is another drag


def test_another_feature_or_prompt_is_never_of_the_same_drag(panel):
    panel.run(asked(0.1))
    panel.run(asked(0.1, feature=6), after=0.1)
    panel.run(asked(0.1, feature=6, prompt="Then"), after=0.1)
    assert panel.tree == [(1, 0), (2, 1), (3, 2)]


def test_a_drag_that_begins_right_after_going_back_does_not_replace_what_was_gone_back_to(panel):
    panel.run(asked(0.1))
    panel.run(asked(0.2))
    panel.run(asked(0.1), after=5.0)
    panel.run(asked(0.3), after=0.1)
    panel.run(asked(0.4), after=0.1)
    assert [s["request"]["edits"][0]["strength"] for s in panel.history.states] == [0.1, 0.2, 0.4]
    assert panel.history.states[-1]["parent"] == 1


def test_the_oldest_are_forgotten_and_their_children_take_their_place(panel):
    for strength in range(KEPT + 2):
        panel.run(asked(strength))
    assert len(panel.tree) == KEPT
    assert panel.tree[0] == (3, 0)
    assert panel.tree[-1] == (KEPT + 2, KEPT + 1)
