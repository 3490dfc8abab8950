"""The training widget in a real browser: the real Python half, a training that only counts."""

import math

import pytest
from playwright.sync_api import expect

from sae_widgets.widgets import Training

SAE = {"name": "mine", "hook": "blocks.3.hook_resid_post", "d_sae": 256, "target": 16}
RUN = {"steps": 100, "batch": 1024, "folder": "runs/mine", "saes": [SAE]}


def line(step):
    """A plausible line of the log."""
    done = step / 100
    return {
        "step": step,
        "loss": 0.06 + 0.9 * math.exp(-8 * done),
        "fvu": 0.05 + 0.8 * math.exp(-7 * done),
        "l0": 16 + 3 * math.exp(-9 * done),
        "dead": 0.08 * math.exp(-3 * done),
        "learning_rate": 1.6e-3 * min(1, done / 0.05, (1 - done) / 0.2),
        "grad_norm": 0.012 + 0.2 * math.exp(-12 * done),
        "densities": [7, 0, 0, 0, 1, 4, 9, 20, 44, 80, 62, 25, 4],
    }


def train(widget):
    """Pauses after step 60."""
    widget.begin(0, [])
    for step in range(1, 101):
        widget.add(line(step))
        if step == 60:
            widget.paused = True
        while (order := widget.after(step)) == "save":
            widget.kept(step)
        if order == "stop":
            break
    return step


PAIR = [SAE, {"name": "wide", "hook": "blocks.1.hook_mlp_out", "d_sae": 1024, "target": 32}]


def train_pair(widget):
    """The second has twice the L0 and half the FVU of the first."""
    widget.begin(0, [])
    for step in range(1, 101):
        one = line(step)
        other = {**one, "l0": 2 * one["l0"], "fvu": one["fvu"] / 2}
        named = [("mine", one), ("wide", other)]
        told = {f"{name}/{figure}": x for name, each in named for figure, x in each.items()}
        widget.add({"step": step, "loss": 2 * one["loss"], **told})
        if step == 60:
            widget.paused = True
        if widget.after(step) == "stop":
            break
    return step


@pytest.fixture
def pair(bridge):
    widget = Training(train_pair, {**RUN, "saes": PAIR})
    bridge.until(lambda: widget.at["state"] == "paused", "it pauses")
    yield widget
    widget.close()


def fail(widget):
    widget.begin(0, [])
    widget.add(line(1))
    widget.add(line(2))
    raise FloatingPointError("the loss is nan. The last good checkpoint is runs/mine/checkpoint-2.")


@pytest.fixture
def paused(bridge):
    widget = Training(train, RUN)
    bridge.until(lambda: widget.at["state"] == "paused", "it pauses")
    yield widget
    widget.close()


def press(root, name):
    root.get_by_role("button", name=name).click()


def test_the_buttons_hold_the_run_let_it_go_on_and_keep_a_checkpoint(bridge, paused):
    root = bridge.show(paused)
    bridge.sees("paused at step 60 of 100")
    press(root, "Save now")
    bridge.sees("checkpoint 60")
    assert paused.at["state"] == "paused"
    press(root, "Go on")
    bridge.sees("done: 100 steps")
    assert paused.result() == 100
    expect(root.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    assert root.get_by_role("button").count() == 0


def test_stop_gives_what_there_is(bridge, paused):
    root = bridge.show(paused)
    press(root, "Stop")
    bridge.sees("stopped at step 60 of 100")
    assert paused.result() == 60
    assert root.get_by_role("img").count() == 7


def test_pointing_at_a_curve_reads_all_charts_at_that_step_and_sends_nothing(bridge, paused):
    root = bridge.show(paused)
    curve = root.locator("svg").nth(1)
    box = curve.bounding_box()
    curve.hover(position={"x": 0.3 * box["width"], "y": 20})
    wanted = [f"loss: {line(30)['loss']:.3g} at step 30", f"FVU: {line(30)['fvu']:.3g} at step 30"]
    for chart, says in enumerate(wanted):
        expect(root.get_by_role("img").nth(chart)).to_have_attribute("aria-label", says)
    expect(root.locator(".sae-scrub")).to_contain_text("step 30")
    bridge.page.mouse.move(0, 0)
    expect(root.locator(".sae-scrub")).to_contain_text("step 60, the newest")
    sent = bridge.page.evaluate("() => host.take()")
    assert [data for _, data in sent if data.get("content", {}).get("kind") != "ping"] == []


def test_the_keyboard_alone_pauses_and_reads_steps(bridge, paused):
    root = bridge.show(paused)
    keys = bridge.page.keyboard
    keys.press("Tab")
    expect(root.get_by_role("button", name="Go on")).to_be_focused()
    for _ in range(3):
        keys.press("Tab")
    slider = root.get_by_role("slider")
    expect(slider).to_be_focused()
    keys.press("Home")
    keys.press("ArrowRight")
    expect(root.locator(".sae-scrub")).to_contain_text("step 2")
    expect(root.get_by_role("img").first).to_have_attribute(
        "aria-label", f"loss: {line(2)['loss']:.3g} at step 2"
    )
    keys.press("Escape")
    expect(root.locator(".sae-scrub")).to_contain_text("the newest")


def test_an_error_is_said_in_words_above_the_figures_there_are(bridge):
    widget = Training(fail, RUN)
    with pytest.raises(FloatingPointError):
        widget.result()
    root = bridge.show(widget)
    expect(root.get_by_role("alert")).to_contain_text("last good checkpoint is runs/mine")
    assert root.get_by_role("img").count() == 7
    bridge.sees("ended at step 0 of 100")


def test_a_kernel_that_is_silent_is_said_to_be_with_what_is_left(bridge, paused):
    root = bridge.show(paused)
    bridge.die()
    bridge.sees("If the kernel was restarted, the training ended with it", 10)
    expect(root.get_by_role("button", name="Go on")).to_have_attribute("aria-disabled", "true")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_narrow_window_cuts_nothing_off(bridge, paused, theme):
    bridge.page.set_viewport_size({"width": 400, "height": 900})
    bridge.theme(theme)
    root = bridge.show(paused)
    expect(root).to_have_attribute("data-theme", theme)
    page = bridge.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert page[0] <= page[1]
    left, right = root.evaluate("(e) => [e.scrollWidth, e.clientWidth]")
    assert left <= right
    for chart in root.get_by_role("img").all():
        box = chart.bounding_box()
        assert box["x"] >= 8
        assert box["x"] + box["width"] <= 392
        assert box["height"] > 90


def test_of_several_saes_the_chosen_one_is_read_and_the_kernel_knows_which(bridge, pair):
    root = bridge.show(pair)
    fvu = root.get_by_role("img").nth(1)
    assert fvu.locator(".sae-curve").count() == 2
    expect(fvu).to_have_attribute("aria-label", f"FVU of mine: {line(60)['fvu']:.3g} at step 60")
    root.get_by_role("button", name="wide").click()
    half = f"FVU of wide: {line(60)['fvu'] / 2:.3g} at step 60"
    expect(fvu).to_have_attribute("aria-label", half)
    bridge.until(lambda: pair.sae == "wide", "the kernel hears which is chosen")
    expect(root.locator(".sae-foot")).to_contain_text("blocks.1.hook_mlp_out · 1024 features")
    pair.sae = "mine"
    bridge.sees("blocks.3.hook_resid_post · 256 features")
    expect(root.get_by_role("button", name="mine")).to_have_attribute("aria-pressed", "true")
    press(root, "Stop")
    bridge.sees("stopped at step 60 of 100")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1200])
def test_the_lines_of_several_saes_have_colours_of_their_own_in_every_theme(
    bridge, pair, theme, width
):
    bridge.page.set_viewport_size({"width": width, "height": 900})
    bridge.theme(theme)
    root = bridge.show(pair)
    expect(root).to_have_attribute("data-theme", theme)
    stroke = "(lines) => lines.map((line) => getComputedStyle(line).stroke)"
    strokes = root.locator("figure").first.locator(".sae-curve").evaluate_all(stroke)
    wanted = {
        "light": ["rgb(255, 68, 0)", "rgb(8, 67, 130)"],
        "dark": ["rgb(243, 132, 41)", "rgb(83, 121, 255)"],
    }
    assert strokes == wanted[theme]  # that which is chosen is drawn last
    left, right = root.evaluate("(e) => [e.scrollWidth, e.clientWidth]")
    assert left <= right


def test_it_leaves_nothing_behind_and_works_in_a_shadow_root(bridge, paused):
    bridge.show(paused, shadow=True)
    id = paused.model_id
    assert bridge.page.evaluate("(id) => host.close(id)", id) == 0
    assert bridge.page.evaluate("(id) => host.listeners(id)", id) == 0
