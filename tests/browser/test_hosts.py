"""What a shared notebook shows in a real JupyterLab: to its author, to a stranger, and twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter import Lab, server
from playwright.sync_api import expect

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
STATE = "application/vnd.jupyter.widget-state+json"
SAYS = "A picture of the widget"


@pytest.fixture(scope="module")
def shared(browser, tmp_path_factory):
    """A JupyterLab on the quickstart as its author left it, and as strangers get it."""
    folder = tmp_path_factory.mktemp("hosts")
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    for name in ("foreign", "trusted", "bare", "live"):
        shutil.copy(NOTEBOOKS / "quickstart.ipynb", notebooks / f"{name}.ipynb")
    # JupyterLab as it comes saves no state of widgets.
    bare = nbformat.read(notebooks / "bare.ipynb", 4)
    del bare.metadata["widgets"]
    nbformat.write(bare, notebooks / "bare.ipynb")
    # What is trusted is a content, wherever it is: a stranger's has to be another.
    foreign = nbformat.read(notebooks / "foreign.ipynb", 4)
    foreign.cells.append(nbformat.v4.new_markdown_cell("From far away."))
    nbformat.write(foreign, notebooks / "foreign.ipynb")
    settings = {**os.environ, "JUPYTER_DATA_DIR": str(folder / "data")}
    ours = [str(notebooks / f"{name}.ipynb") for name in ("trusted", "bare")]
    trust = [sys.executable, "-m", "jupyter", "trust", *ours]
    subprocess.run(trust, env=settings, check=True, capture_output=True)
    with server(folder, notebooks) as address:
        yield Lab(browser, address)


def pictures(page):
    # JupyterLab gives its pictures no alternative text: the words are above.
    return page.locator(".jp-RenderedImage img")


def opened(shared, name):
    """The outputs of a notebook that was opened and of which no cell was run."""
    shared.open(f"{name}.ipynb")
    page = shared.page
    # Outputs that are out of sight are not rendered: a high window holds them all.
    page.set_viewport_size({"width": 1400, "height": 4000})
    expect(page.locator(".jp-OutputArea-output").first).to_be_visible(timeout=30_000)
    return page.locator(".jp-NotebookPanel")


def test_an_author_who_reopens_a_notebook_sees_pictures_and_no_error(shared):
    notebook = opened(shared, "bare")
    expect(pictures(notebook)).to_have_count(2)
    for picture, words in zip(
        pictures(notebook).all(), notebook.get_by_text(SAYS).all(), strict=True
    ):
        expect(picture).to_be_visible()
        expect(words).to_be_visible()
    notebook.get_by_text(SAYS).first.click()
    expect(notebook.get_by_text("When its cell had run: Feature heatmap of")).to_be_visible()
    for error in notebook.get_by_text("Error displaying widget").all():
        expect(error).to_be_hidden()
    assert notebook.locator(".sae-root").count() == 0


def test_a_stranger_who_trusts_nothing_sees_pictures(shared):
    notebook = opened(shared, "foreign")
    expect(pictures(notebook)).to_have_count(2)
    for picture, words in zip(
        pictures(notebook).all(), notebook.get_by_text(SAYS).all(), strict=True
    ):
        expect(picture).to_be_visible()
        expect(words).to_be_visible()
    notebook.get_by_text(SAYS).first.click()
    expect(notebook.get_by_text("When its cell had run: Feature heatmap of")).to_be_visible()
    assert notebook.locator(".sae-root").count() == 0


def test_in_a_trusted_notebook_that_has_its_state_the_widgets_are_there_and_say_they_are_recorded(
    shared,
):
    notebook = opened(shared, "trusted")
    heatmap = notebook.locator(".sae-heatmap")
    expect(heatmap.get_by_role("grid")).to_be_visible(timeout=30_000)
    expect(heatmap.locator(".sae-note").first).to_contain_text("Recorded")
    expect(heatmap.get_by_role("button", name="Read")).to_be_disabled()
    heatmap.get_by_label("Sort").select_option("by number")
    expect(notebook.locator(".sae-steering")).to_contain_text("unsteered")
    for twin in (*pictures(notebook).all(), *notebook.get_by_text(SAYS).all()):
        expect(twin).to_be_hidden()


def test_two_views_of_a_widget_agree_and_one_outlives_the_cell_of_the_other(shared):
    notebook = opened(shared, "live")
    shared.run_all()
    steering = notebook.locator(".sae-steering")
    expect(steering.first).to_be_visible(timeout=90_000)
    shared.wait_idle()
    # The views are live, so their twins are not in sight.
    expect(pictures(notebook).first).to_be_hidden()
    shared.page.evaluate(
        """async () => {
            const { content, sessionContext } = window.jupyterapp.shell.currentWidget;
            content.activeCellIndex = content.widgets.length - 1;
            await window.jupyterapp.commands.execute("notebook:insert-cell-below");
            content.activeCell.model.sharedModel.setSource("steering");
            await window.jupyterapp.commands.execute("notebook:run-cell");
        }"""
    )
    expect(steering).to_have_count(2, timeout=30_000)
    names = steering.nth(0).locator(".sae-name")
    rows = names.count()
    shared.python("session.edits = []")
    for view in (steering.nth(0), steering.nth(1)):
        expect(view.locator(".sae-name")).to_have_count(0)
    assert rows > 0
    shared.command("notebook:delete-cell")
    expect(steering).to_have_count(1)
    box = steering.get_by_label("tokens to write")
    box.fill("12")
    box.press("Enter")
    shared.wait_idle()
    assert shared.python("print(steering.length)").strip() == "12"
    assert shared.errors == []


def test_after_its_kernel_has_gone_a_saved_notebook_shows_pictures_of_what_was_last_seen(shared):
    """The author changes a widget, saves, shuts the kernel down, and opens the notebook again."""
    page, steered = shared.page, pictures(shared.page).last
    before = steered.get_attribute("src")
    shared.python("session.edits = [sw.Add(5, 1.25)]")
    expect(steered).not_to_have_attribute("src", before, timeout=30_000)
    last = steered.get_attribute("src")
    page.evaluate(
        """async () => {
            await window.jupyterapp.commands.execute("docmanager:save");
            await window.jupyterapp.shell.currentWidget.sessionContext.shutdown();
        }"""
    )
    notebook = opened(shared, "live")
    expect(pictures(notebook).last).to_be_visible()
    expect(pictures(notebook).last).to_have_attribute("src", last)
    for error in notebook.get_by_text("Error displaying widget").all():
        expect(error).to_be_hidden()
