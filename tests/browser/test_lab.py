"""The main journey in a real JupyterLab: open, run, type, steer, stop, and lose the kernel."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import pytest
from jupyter import Lab, server
from playwright.sync_api import expect

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    shutil.copy(NOTEBOOKS / "quickstart.ipynb", notebooks)
    with server(folder, notebooks) as address:
        lab = Lab(browser, address)
        lab.open("quickstart.ipynb")
        lab.run_all()
        expect(lab.page.locator(".sae-steering").first).to_be_visible(timeout=90_000)
        lab.wait_idle()
        yield lab
        lab.page.close()


def heatmap(lab):
    return lab.page.locator(".sae-heatmap").first


def steering(lab):
    return lab.page.locator(".sae-steering").first


def steered_text(lab) -> str:
    return steering(lab).locator(".sae-pane").nth(1).inner_text()


def test_running_the_quickstart_shows_the_heatmap_and_the_two_texts(lab):
    expect(heatmap(lab).get_by_role("grid")).to_be_visible()
    expect(steering(lab)).to_contain_text("unsteered")
    expect(steering(lab)).to_contain_text("applied at")


def test_a_typed_text_is_read_when_enter_is_pressed(lab):
    box = heatmap(lab).get_by_label("text to read")
    box.fill("Zoé 🌊")
    box.press("Enter")
    grid = heatmap(lab).get_by_role("grid")
    columns = lab.python("print(len(session.features('Zoé 🌊').ids))").strip()
    # One more column: the names of the rows.
    expect(grid).to_have_attribute("aria-colcount", str(int(columns) + 1))
    assert lab.python("print(heatmap.text)").strip() == "Zoé 🌊"


def test_letters_typed_in_a_widget_do_not_reach_the_notebook(lab):
    cells = lab.page.locator(".jp-Cell").count()
    box = heatmap(lab).get_by_label("text to read")
    box.press("End")
    box.press_sequentially("abdd")
    slider = steering(lab).get_by_role("slider").first
    slider.focus()
    slider.press("b")
    assert box.input_value() == "Zoé 🌊abdd"
    assert lab.page.locator(".jp-Cell").count() == cells


def test_dragging_a_strength_changes_the_steered_text_and_the_session_follows(lab):
    before = steered_text(lab)
    strength = float(lab.python("print(session.edits[0].strength)"))
    slider = steering(lab).get_by_role("slider").first
    slider.scroll_into_view_if_needed()
    edge = slider.bounding_box()
    middle = edge["y"] + edge["height"] / 2
    lab.page.mouse.move(edge["x"] + edge["width"] * 0.6, middle)
    lab.page.mouse.down()
    for step in range(10):
        lab.page.mouse.move(edge["x"] + edge["width"] * (0.6 - 0.04 * step), middle)
    lab.page.mouse.up()
    expect(steering(lab).locator(".sae-pane").nth(1)).not_to_have_text(before, timeout=20_000)
    expect(steering(lab)).to_contain_text("applied at", timeout=20_000)
    assert float(lab.python("print(session.edits[0].strength)")) < strength


def test_a_feature_is_painted_and_dragged_from_one_output_into_another(lab):
    edits = "print([(e.feature, type(e.schedule).__name__) for e in session.edits])"
    before = lab.python(edits)
    lab.page.set_viewport_size({"width": 1400, "height": 2600})  # both outputs at once
    grid = heatmap(lab).get_by_role("grid")
    grid.scroll_into_view_if_needed()
    grid.press("p")
    for key in ("ArrowRight", "Space"):
        grid.press(key)
    expect(steering(lab).locator(".sae-name")).to_have_count(2)
    cell = heatmap(lab).locator("[role=gridcell]").inner_text()
    added = [*ast.literal_eval(before), (int(re.search(r"feature (\d+)", cell)[1]), "Values")]
    assert ast.literal_eval(lab.python(edits)) == added
    start = grid.bounding_box()
    lab.page.mouse.click(start["x"] + 290, start["y"] + start["height"] - 40, button="right")
    expect(lab.page.locator(".lm-Menu")).to_have_count(0)  # it erases, and asks for no menu
    grid.press("Escape")

    end = steering(lab).locator(".sae-adding").bounding_box()
    lab.page.mouse.move(start["x"] + 60, start["y"] + start["height"] - 40)
    lab.page.mouse.down()
    lab.page.mouse.move(start["x"] + 90, start["y"] + start["height"] - 30)
    lab.page.mouse.move(end["x"] + 60, end["y"] + 10)
    lab.page.mouse.move(end["x"] + 62, end["y"] + 10)
    expect(steering(lab).locator(".sae-dropping")).to_be_visible()
    lab.page.mouse.up()
    expect(steering(lab).locator(".sae-name")).to_have_count(3)
    expect(steering(lab).locator(".sae-name").last).to_have_attribute("aria-pressed", "true")
    chosen = int(lab.python("print(session.selected)"))
    assert ast.literal_eval(lab.python(edits))[-1][0] == chosen
    lab.python("session.edits = session.edits[:1]")
    lab.page.set_viewport_size({"width": 1400, "height": 1000})


def test_a_run_can_be_stopped_and_keeps_what_it_has_written(lab):
    tokens = steering(lab).get_by_label("tokens to write")
    tokens.fill("230")
    tokens.press("Enter")
    stop = steering(lab).get_by_role("button", name="Stop")
    # A run that is stopped before its first token leaves the one before it in its place.
    expect(steering(lab).locator(".sae-caret").first).to_be_visible(timeout=10_000)
    stop.click()
    expect(steering(lab)).to_contain_text("stopped", timeout=20_000)
    for _ in range(50):
        if lab.python("print(steering.run['ended'])").strip() == "stopped":
            break
        lab.page.wait_for_timeout(100)
    else:
        raise AssertionError("the run that was stopped is not the one that Python sees")
    assert 0 < int(lab.python("print(len(steering.run['arms'][0]['tokens']))")) < 230


def test_a_restarted_kernel_is_said_within_seconds_and_nothing_is_lost_from_the_screen(lab):
    # Up to here nothing may have gone wrong in the page; JupyterLab itself complains of a restart.
    assert lab.errors == []
    heatmap(lab).scroll_into_view_if_needed()  # a widget that nobody sees does not ask
    lab.restart_kernel()
    expect(heatmap(lab).get_by_role("alert")).to_contain_text("run this cell again", timeout=5_000)
    expect(heatmap(lab).get_by_role("button", name="Read")).to_be_disabled()
    expect(heatmap(lab).get_by_role("grid")).to_be_visible()
    steering(lab).scroll_into_view_if_needed()
    expect(steering(lab).get_by_role("alert")).to_contain_text("run this cell again")
