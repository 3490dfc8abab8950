"""What the pictures of a notebook keep of its widgets, and who reads it."""

import base64
import io
import json
import struct
import zlib

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image
from test_share import bared, pixels, written
from test_widgets import heatmap

import sae_widgets as sw
from sae_widgets.share import kept
from sae_widgets.share.clean import STATE, cleaned
from sae_widgets.share.exporter import SaeHTMLExporter
from sae_widgets.share.kept import view_in, with_view, without_view
from sae_widgets.share.picture import Picture
from sae_widgets.share.recording import MARK, Recorded, data, script, style
from sae_widgets.share.stored import VIEW, stored_widgets
from sae_widgets.share.twin import Twin, picture_output

WIDGET = Recorded("heatmap", {"text": "é </script>\ud800", "row": b"\x00\xff", "token": None})


@pytest.fixture(scope="module")
def png():
    return Picture.of(heatmap("one two")).png


def chunks(png):
    """Name and data of each chunk of a PNG, read by hand; its checksums are right."""
    at, found = 8, []
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        name, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(name + body),)
        found.append((name, body))
        at += 12 + length
    return found


# The picture


@pytest.mark.parametrize("carrier", [True, False])
def test_a_picture_gives_back_the_widget_it_keeps_and_shows_the_same(png, carrier):
    both = with_view(png, WIDGET, carrier=carrier)
    assert view_in(both) == WIDGET
    assert (pixels(both) == pixels(png)).all()
    assert without_view(both) == png
    assert view_in(png) is None


def test_the_script_is_in_the_picture_of_a_carrier_and_is_the_packages(png):
    names = [name for name, _ in chunks(with_view(png, WIDGET, carrier=False))]
    assert names[-2:] == [b"saEv", b"IEND"]
    (packed,) = [b for name, b in chunks(with_view(png, WIDGET, carrier=True)) if name == b"saEs"]
    assert json.loads(zlib.decompress(packed)) == {"script": script(), "style": style()}
    assert len(packed) < 50_000


def test_a_picture_that_another_program_has_written_anew_keeps_nothing(png):
    made = io.BytesIO()
    Image.open(io.BytesIO(with_view(png, WIDGET, carrier=True))).save(made, "PNG")
    assert view_in(made.getvalue()) is None


def keeping(text):
    """A PNG of one pixel with `text`, packed, as the widget."""
    packed = zlib.compress(text) if isinstance(text, bytes) else zlib.compress(text.encode())
    made = io.BytesIO()
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(made, "PNG")
    end = made.getvalue()[:-12]
    return end + struct.pack(">I", len(packed)) + b"saEv" + packed + b"\x00" * 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"values": [], "widgets": []}',
        '{"values": [], "widgets": [{"name": "heatmap", "traits": {"a": 3}, "bytes": []}]}',
        '{"values": [1], "widgets": [{"name": "heatmap", "traits": {"a": "0"}, "bytes": []}]}',
        '{"values": [1], "widgets": [{"name": "evil", "traits": {}, "bytes": []}]}',
        '{"values": [1], "widgets": [{"name": ["heatmap"], "traits": {}, "bytes": []}]}',
        '{"values": [], "widgets": [{"name": "heatmap"}]}',
        '{"values": 3, "widgets": 4}',
        "[" * 100_000,
        b"\xff\xfe",
        data([WIDGET, WIDGET]),
    ],
)
def test_what_makes_no_sense_in_a_picture_is_no_widget(text):
    assert view_in(keeping(text)) is None


def test_a_picture_that_is_cut_short_or_garbled_is_no_widget(png):
    both = with_view(png, WIDGET, carrier=False)
    start = both.index(b"saEv")
    for end in (0, 4, 20, start, start + 10, len(both) - 20):
        assert view_in(both[:end]) is None
    assert view_in(both[: start + 4] + b"\x00" * 30 + both[start + 34 :]) is None
    assert view_in(b"GIF89a" + both) is None


def test_a_widget_that_would_fill_the_memory_when_unpacked_is_no_widget(monkeypatch):
    monkeypatch.setattr(kept, "MOST", 1000)
    assert view_in(keeping(data([Recorded("heatmap", {"text": "a"})]))) is not None
    assert view_in(keeping(data([Recorded("heatmap", {"text": "a" * 1000})]))) is None


# Which picture has the script


class Shown:
    """What a notebook would have: the newest picture of each twin."""

    def __init__(self, monkeypatch):
        from sae_widgets.share import twin

        self.pictures = []
        monkeypatch.setattr(twin, "display", self.display)
        monkeypatch.setattr(twin, "default_executor", lambda _: AtOnce())
        monkeypatch.setattr(Twin, "_all", [])
        self.events = self
        self.page = "a page"

    def display(self, data, **_):
        shown, place = self, len(self.pictures)

        class Handle:
            def update(self, data, **_):
                shown.pictures[place] = data["image/png"]

        if "image/png" in data:
            self.pictures.append(data["image/png"])
        return Handle()

    def get_parent(self):
        return {"header": {"session": self.page}}

    def register(self, *_): ...

    def unregister(self, *_): ...

    def carriers(self):
        return [
            i
            for i, picture in enumerate(self.pictures)
            if b"saEs" in [name for name, _ in chunks(base64.b64decode(picture))]
        ]


class AtOnce:
    def submit(self, _id, job):
        job(lambda: None)

    def close(self): ...


@pytest.fixture
def shown(monkeypatch):
    return Shown(monkeypatch)


def gone(widget):
    widget._answer(widget, {"kind": "gone"}, [])


def test_one_picture_of_a_notebook_has_the_script_and_it_is_the_first(shown):
    for text in ("one", "two", "three"):
        Twin(heatmap(text), shown)
    assert shown.carriers() == [0]


def test_when_the_cell_of_the_carrier_goes_the_next_picture_has_the_script(shown):
    first, second, third = (heatmap(text) for text in ("one", "two", "three"))
    for widget in (first, second, third):
        Twin(widget, shown)
    gone(second)
    assert shown.carriers() == [0]
    gone(first)
    assert shown.carriers() == [0, 2]  # that of the first is no longer anywhere
    Twin(heatmap("four"), shown)
    gone(third)
    assert shown.carriers() == [0, 2, 3]


def test_a_cell_that_is_run_from_another_page_leaves_the_script_there(shown):
    """Of views on a page that was closed or loaded again nobody hears that they have gone."""
    for text in ("one", "two"):
        Twin(heatmap(text), shown)
    shown.page = "another"
    for text in ("one", "two"):
        Twin(heatmap(text), shown)
    assert shown.carriers() == [0, 2]


def test_a_widget_that_is_seen_again_has_not_gone(shown):
    """One of its two views has."""
    first, second = heatmap("one"), heatmap("two")
    for widget in (first, first, second):
        Twin(widget, shown)
    gone(first)
    first._answer(first, {"kind": "ping", "id": 1}, [])
    gone(second)
    assert shown.carriers() == [0, 1, 2]


def test_when_the_only_cell_is_run_again_its_new_picture_has_the_script(shown):
    old = heatmap("one")
    Twin(old, shown)
    gone(old)  # which may be heard before the new one is there, or after
    Twin(heatmap("two"), shown)
    gone(old)
    assert shown.carriers()[-1] == 1


def test_when_the_carrier_is_closed_the_next_picture_has_the_script(shown):
    first, second = heatmap("one"), heatmap("two")
    for widget in (first, second):
        Twin(widget, shown)
    first.close()
    assert 1 in shown.carriers()
    second.close()
    assert Twin._all == []


# Notebooks of which no state was saved

CELLS = [
    f"import sys\nsys.path.insert(0, {__file__.rsplit('/', 1)[0]!r})\n"
    "from sae_widgets.share.twin import leave_twin\n"
    "from test_share import written\nfrom test_widgets import heatmap\n"
    "heat = heatmap('one two', twin=leave_twin)\nheat",
    "panel = written([' a'], [' b'], twin=leave_twin)\npanel",
    "heat.text = 'three four five'",
]


@pytest.fixture(scope="module")
def stateless():
    """A notebook that was run and saved as JupyterLab saves it by default."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    made = NotebookClient(notebook, timeout=120, store_widget_state=False).execute()
    assert "widgets" not in made.metadata
    return made


def test_a_notebook_without_state_is_opened_from_its_pictures_as_it_was_last_seen(
    stateless, tmp_path
):
    nbformat.write(stateless, tmp_path / "a.ipynb")
    heat, panel = stored_widgets(tmp_path / "a.ipynb")
    assert (heat.kind, panel.kind) == ("heatmap", "steering")
    assert heat.traits["text"] == "three four five"
    assert heat.traits["row"] == np.array([1, 0], "<u2").tobytes()
    assert panel.traits["run"]["arms"][1]["tokens"] == [" b"]


def test_a_notebook_with_the_state_of_another_run_is_opened_from_its_pictures(stateless, tmp_path):
    """As JupyterLab leaves one that was shipped with its state and is run and saved by default."""
    old = nbformat.from_dict(json.loads(json.dumps(stateless)))
    model = {"state": {"_anywidget_id": "sae_widgets.widgets.heatmap.Heatmap", "text": "old"}}
    old.metadata["widgets"] = {STATE: {"state": {"0" * 32: model}}}
    nbformat.write(old, tmp_path / "a.ipynb")
    assert [each.traits.get("text") for each in stored_widgets(tmp_path / "a.ipynb")] == [
        "three four five",
        None,
    ]
    # And what no view of the notebook has goes.
    mended = cleaned((tmp_path / "a.ipynb").read_bytes())
    assert mended.done == ("dropped 1 of 1 models that nothing shows",)


def test_where_state_is_saved_it_counts(stateless, tmp_path):
    both = nbformat.from_dict(json.loads(json.dumps(stateless)))
    id = both.cells[0].outputs[0].data[VIEW]["model_id"]
    model = {"state": {"_anywidget_id": "sae_widgets.widgets.heatmap.Heatmap", "text": "saved"}}
    both.metadata["widgets"] = {STATE: {"state": {id: model}}}
    nbformat.write(both, tmp_path / "a.ipynb")
    heat, panel = stored_widgets(tmp_path / "a.ipynb")
    assert heat.traits == {"text": "saved"}
    assert panel.kind == "steering"


def test_a_notebook_without_state_becomes_a_page_of_living_widgets(stateless):
    page, _ = SaeHTMLExporter().from_notebook_node(stateless)
    assert page.count('data-sae-view="') == 2
    assert page.count(script()) == 1
    assert page.count("<script") == 2
    # What the pictures keep is in the page's data, and not twice.
    for picture in page.split('src="data:image/png;base64,')[1:]:
        assert view_in(base64.b64decode(picture.split('"')[0])) is None


def test_a_notebook_of_which_nothing_was_saved_is_refused_in_words(stateless, tmp_path):
    nbformat.write(bared(stateless), tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match="neither its state, nor its picture below it"):
        stored_widgets(tmp_path / "a.ipynb")


def test_a_notebook_holds_the_script_once_and_a_widget_in_few_bytes(stateless):
    pictures = [
        base64.b64decode(output.data["image/png"])
        for cell in stateless.cells
        for output in cell.outputs
        if output.metadata.get(MARK) == "picture"
    ]
    sizes = [{name: len(body) for name, body in chunks(png)} for png in pictures]
    assert [b"saEs" in each for each in sizes] == [True, False]
    assert all(each[b"saEv"] < 3000 for each in sizes)


def test_a_widget_class_of_somebodys_own_leaves_a_picture_alone():
    widget = written([" a"], [" b"])

    class Own(type(widget)):
        pass

    picture, _ = picture_output(widget, carrier=True)
    widget.__class__ = Own
    widget._anywidget_id = "lib.Own"
    bare, _ = picture_output(widget, carrier=True)
    assert without_view(base64.b64decode(picture["image/png"])) == base64.b64decode(
        bare["image/png"]
    )


def test_a_page_shows_a_kept_widget_as_python_saw_it(tmp_path):
    widget = heatmap("one two")
    picture, _ = picture_output(widget, carrier=False)
    recorded = view_in(base64.b64decode(picture["image/png"]))
    page = sw.save_html(widget, tmp_path / "page.html").read_text(encoding="utf-8")
    assert data([recorded]) in page
