"""The plotly figure of a training: the same numbers as its log."""

import sys

import pytest
from test_from_texts import HEADS, HOOK, TEXTS, recipe

import sae_widgets as sw
from sae_widgets.training.folder import history, last_checkpoint


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "run"
    widget = sw.training(model, TEXTS, recipe(), folder=folder)
    widget.result()
    return widget, folder


def test_a_figure_holds_the_figures_of_the_log_and_the_target(run):
    pytest.importorskip("plotly")
    _, folder = run
    logged = history(last_checkpoint(folder))
    figure = sw.training_figure(folder)
    *curves, heat = figure.data
    names = ("loss", "fvu", "l0", "dead", "learning_rate", "grad_norm")
    for curve, name in zip(curves, names, strict=True):
        assert list(curve.x) == list(range(1, 13))
        assert list(curve.y) == [line[name] for line in logged]
    assert [list(column) for column in zip(*heat.z, strict=True)] == [
        line["densities"] for line in logged
    ]
    assert (heat.y[0], heat.y[1], heat.y[-1]) == ("never", "from 10^-6", "from 10^-0.5")
    assert [shape.y0 for shape in figure.layout.shapes] == [3]
    assert figure.layout.title.text == "Training of blocks.0.hook_resid_post"


def test_the_figure_of_a_widget_is_that_of_its_folder(run):
    pytest.importorskip("plotly")
    widget, folder = run
    for one, other in zip(
        sw.training_figure(widget).data, sw.training_figure(folder).data, strict=True
    ):
        assert list(one.x) == list(other.x)
        if one.type == "scatter":
            assert list(one.y) == pytest.approx(list(other.y), rel=1e-6)


def test_of_several_saes_each_has_a_line_in_every_chart_and_a_place_in_the_legend(model, tmp_path):
    pytest.importorskip("plotly")
    both = [recipe(), recipe(HEADS)]
    sw.train_several(model, TEXTS, both, folder=tmp_path / "two", progress=False)
    (*_, last) = history(last_checkpoint(tmp_path / "two"))
    curves = sw.training_figure(tmp_path / "two").data
    assert [curve.name for curve in curves] == [HOOK, HEADS] * 7
    assert [curve.name for curve in curves if curve.showlegend] == [HOOK, HEADS]
    assert curves[2].y[-1] == last[f"{HOOK}/fvu"] != curves[3].y[-1] == last[f"{HEADS}/fvu"]
    assert list(curves[13].y) == last[f"{HEADS}/densities"]
    assert curves[0].line.color != curves[1].line.color == curves[3].line.color


def test_what_holds_no_figures_is_refused(tmp_path):
    pytest.importorskip("plotly")
    with pytest.raises(FileNotFoundError, match="no training run with a checkpoint"):
        sw.training_figure(tmp_path)


def test_without_plotly_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(ImportError, match=r"pip install 'sae-widgets\[plot\]'"):
        sw.training_figure("anywhere")
