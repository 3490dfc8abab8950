"""Cleaning: what is mended and dropped, and that nothing else of a notebook changes by a byte."""

import json

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbconvert.filters.widgetsdatatypefilter import WidgetsDataTypeFilter

from sae_widgets.share.clean import STATE, Cleaned, cleaned, rewrite

VIEW = "application/vnd.jupyter.widget-view+json"
VERSION = {"version_major": 2, "version_minor": 0}


def view(id):
    data = {"text/plain": ["Box()"], VIEW: {"model_id": id, **VERSION}}
    return {"output_type": "display_data", "metadata": {}, "data": data}


def cell(*outputs, source="a cell"):
    return {
        "cell_type": "code",
        "execution_count": 1,
        "id": "c-1",
        "metadata": {},
        "outputs": list(outputs),
        "source": [source],
    }


def notebook(widgets, *cells, **metadata):
    if widgets is not None:
        metadata["widgets"] = widgets
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def stored(**models):
    return {STATE: {"state": models, **VERSION}}


def model(name="BoxModel", module="@jupyter-widgets/controls", view="BoxView", **traits):
    state = {"_view_name": view, **traits}
    return {"model_module": module, "model_name": name, "state": state}


def as_nbformat_writes(record, indent=1):
    text = json.dumps(record, indent=indent, sort_keys=True, ensure_ascii=False)
    return (text + "\n").encode()


def clean(record):
    """The widget metadata of a notebook after cleaning, and what was done."""
    found = cleaned(as_nbformat_writes(record))
    return json.loads(found.data)["metadata"].get("widgets"), found.done


def kept(*cells, **models):
    widgets, _ = clean(notebook(stored(**models), *cells))
    return set(widgets[STATE]["state"])


# What is mended


def test_what_colab_stores_is_put_under_the_missing_state():
    models = {"a": model(layout="IPY_MODEL_b"), "b": model(view=None)}
    widgets, done = clean(notebook({STATE: models}, cell(view("a"))))
    assert widgets == stored(**models)
    assert done == ("put 2 models under the missing 'state'",)


@pytest.mark.parametrize(
    ("widgets", "done"),
    [
        ({}, "added the missing widget state"),
        ({STATE: {}}, "put 0 models under the missing 'state'"),
        ({STATE: {"version_major": 2, "version_minor": 0}}, "put 0 models under the missing"),
        ({STATE: {"state": None, **VERSION}}, "replaced a 'state' that held no models"),
        ({STATE: None}, "removed 'application/vnd.jupyter.widget-state+json'"),
        ([], "replaced widget metadata that held nothing"),
        # ipywidgets 5
        ({"state": {"a": {"views": []}}, "version": "1.2.0"}, "removed 'version', which is no"),
    ],
)
def test_every_entry_has_a_state_afterwards_which_is_what_github_asks_for(widgets, done):
    new, said = clean(notebook(widgets, cell()))
    assert done in "; ".join(said)
    assert new == stored()
    resources = {"metadata": {"name": "n", "path": ""}}
    shown = WidgetsDataTypeFilter(notebook_metadata={"n": {"widgets": new}}, resources=resources)
    assert shown(view("a")["data"]) == ["text/plain"]


def test_what_else_has_a_state_is_kept():
    other = {"state": {"x": 1}}
    widgets, _ = clean(notebook({"other": other, STATE: {}}, cell()))
    assert widgets == {"other": other, **stored()}


@pytest.mark.parametrize("widgets", [None, stored(), stored(a=model())])
def test_a_notebook_that_is_as_it_should_be_stays_as_it_is(widgets):
    data = json.dumps(notebook(widgets, cell(view("a")))).encode()
    assert cleaned(data) == Cleaned(data, ())


# What is dropped


def test_models_that_no_output_and_no_kept_model_names_are_dropped():
    shown = model(children=["IPY_MODEL_b"], deep={"x": [{"y": "anywidget:c"}]})
    models = {"a": shown, "b": model(layout="IPY_MODEL_d"), "c": model(), "d": model()}
    orphans = {"e": model(layout="IPY_MODEL_f"), "f": model()}
    widgets, done = clean(notebook(stored(**models, **orphans), cell(), cell(view("a"))))
    assert widgets == stored(**models)
    assert done == ("dropped 2 of 6 models that nothing shows",)


def test_a_model_that_an_output_widget_shows_is_kept():
    assert kept(cell(view("a")), a=model(outputs=[view("b")]), b=model(), c=model()) == {"a", "b"}


def test_a_model_that_colab_says_a_cell_refers_to_is_kept():
    known = cell() | {"metadata": {"colab": {"referenced_widgets": ["b"]}}}
    assert kept(known, a=model(), b=model()) == {"b"}


def test_a_link_between_shown_widgets_is_kept_though_nothing_names_it():
    def link(a, b):
        ends = {"source": [f"IPY_MODEL_{a}", "value"], "target": [f"IPY_MODEL_{b}", "value"]}
        return model("LinkModel", view=None, **ends)

    models = {"a": model(), "b": model(), "c": model(), "d": model(), "e": model()}
    links = {"ab": link("a", "b"), "bc": link("b", "c"), "de": link("d", "e")}
    # What is shown through a link counts as shown: c moves with b.
    assert kept(cell(view("a"), view("b")), **models, **links) == {"a", "b", "c", "ab", "bc"}


@pytest.mark.parametrize("kind", [{"module": "k3d"}, {"module": "anywidget"}])
def test_what_a_plot_names_by_number_is_kept_with_it(kind):
    own = {"_anywidget_id": "k3d.objects.Line"} if kind["module"] == "anywidget" else {}
    models = {
        "plot": model(object_ids=[7], layout="IPY_MODEL_l", **kind, **own),
        "line": model(id=7, **kind, **own),
        "l": model(),
        "other": model(module="anywidget", _anywidget_id="lib.Other"),
    }
    assert kept(cell(view("plot")), **models) == {"plot", "line", "l"}
    assert kept(cell(view("other")), **models) == {"other"}


# What stays


TEXTS = st.text() | st.sampled_from(["é", "\ud83d", "IPY_MODEL_a", "a", "</script>", "\\u0041"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
IDS = st.sampled_from(["a", "b", "c", "d"])
MODELS = st.builds(
    model,
    view=st.sampled_from(["BoxView", None]),
    one=st.builds("IPY_MODEL_{}".format, IDS),
    more=VALUES,
)
STATES = st.dictionaries(IDS, MODELS | VALUES)
CELLS = st.lists(st.builds(cell, st.builds(view, IDS), st.just({"x": 1}) | VALUES, source=TEXTS))
WIDGETS = st.one_of(
    STATES.map(lambda state: {STATE: {"state": state, **VERSION}}),
    STATES.map(lambda state: {STATE: state}),
    st.dictionaries(st.sampled_from([STATE, "state", "version"]), VALUES),
    VALUES,
)


def texts(record, newline="\n", end="", **style):
    """A notebook as one or another program writes it."""
    text = json.dumps(record, **style).replace("\n", newline) + end
    return text.encode("utf-8", "backslashreplace")  # half a character can only be spelled


@given(CELLS, WIDGETS, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_cells_and_outputs_are_the_same_before_and_after(cells, widgets, indent, ascii):
    record = notebook(widgets, *cells, about="é", zebra={"widgets": [1]})
    data = texts(record, indent=indent, ensure_ascii=ascii)
    found = cleaned(data)
    before, after = json.loads(data), json.loads(found.data)
    assert cleaned(found.data).done == ()  # once is enough
    for one in (before, after):
        one["metadata"].pop("widgets", None)
    assert repr(after) == repr(before)  # as text, so that NaN equals NaN


@given(CELLS, STATES)
def test_what_an_output_shows_is_never_dropped(cells, state):
    after = json.loads(cleaned(texts(notebook({STATE: {"state": state}}, *cells))).data)
    left = after["metadata"]["widgets"][STATE]["state"]
    seen = {each["outputs"][0]["data"][VIEW]["model_id"] for each in cells}
    assert {id: repr(state[id]) for id in seen & state.keys()} == {
        id: repr(left[id]) for id in seen & left.keys()
    }
    assert all(repr(left[id]) == repr(state[id]) for id in left)


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "style",
    [
        {"indent": 1, "sort_keys": True, "ensure_ascii": False},  # nbformat
        {"indent": 2},  # Colab
        {"indent": 4, "ensure_ascii": False},
        {"indent": "\t"},
        {"indent": None},
        {"indent": None, "separators": (",", ":")},
    ],
    ids=str,
)
def test_it_is_written_as_the_rest_of_the_notebook_is(style, newline, end):
    before = stored(b=model(text="é\n"), a=model(children=["IPY_MODEL_b"]), c=model())
    after = stored(b=before[STATE]["state"]["b"], a=before[STATE]["state"]["a"])

    def data(widgets):
        record = notebook(widgets, cell(view("a"), source="é"), zebra=1, about=2)
        return texts(record, newline, end, **style)

    assert cleaned(data(before)).data == data(after)


def test_what_nbformat_has_written_nbformat_would_write_so_again():
    record = nbformat.from_dict(notebook({STATE: {"a": model(size=1e-7)}}, cell(view("a"))))
    found = cleaned(nbformat.writes(record).encode())
    assert nbformat.writes(nbformat.reads(found.data.decode(), 4)).encode() == found.data


# What is no notebook


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no JSON, Expecting value"),
        (b'{"cells": [], "metadata": {}', "no JSON, Expecting"),
        (b"\xff\xfe{}", "no UTF-8 text, at byte 0"),
        (b"[1]", "it has no cells or no metadata"),
        (b'{"cells": {}, "metadata": {}}', "it has no cells or no metadata"),
        (b'{"worksheets": [], "metadata": {}, "nbformat": 3}', "not a notebook of format 4"),
        (b"[" * 100_000, "nested without end"),
        (b"1" * 5_000, "no JSON, Exceeds the limit"),
    ],
)
def test_what_is_no_notebook_is_refused_in_words(data, message):
    with pytest.raises(ValueError, match=message):
        cleaned(data)


# The file


def test_a_file_is_replaced_as_a_whole_and_keeps_its_rights_and_its_links(tmp_path):
    real, link = tmp_path / "real.ipynb", tmp_path / "link.ipynb"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    rewrite(link, b"new")
    assert (real.read_bytes(), real.stat().st_mode & 0o777) == (b"new", 0o640)
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, real]


def test_a_file_that_cannot_be_written_stays_and_nothing_is_left_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "a.ipynb"
    path.write_bytes(b"old")

    def full(_file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        rewrite(path, b"new")
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="write-protected"):
        rewrite(path, b"new")
