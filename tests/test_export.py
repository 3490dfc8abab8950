"""Edits for other programs: read back with their own readers, and code that is run."""

import pytest
import tiny
import torch
from gguf import GGUFReader

import sae_widgets as sw
from sae_widgets.steering.code import to_code, to_hook_code
from sae_widgets.steering.export import export, layer_vectors

IDS = torch.tensor([[0, 30, 41, 52, 33]])
ADDS = [sw.Add(5, 2.0, unit="raw"), sw.Add(20, 1.0, unit="raw"), sw.Add(9, 9.0, on=False)]


@pytest.fixture
def edited():
    """Axis 5 by 2, and axis 4 backwards by 1."""
    vector = torch.zeros(16)
    vector[5], vector[4] = 2.0, -1.0
    return vector


def test_a_control_vector_is_what_llama_cpp_reads(model, sae, edited, tmp_path):
    reader = GGUFReader(export(tmp_path / "sea.gguf", model, sae, ADDS))
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "controlvector"
    assert fields["controlvector.model_hint"] == "gpt2"
    assert fields["controlvector.layer_count"] == 1
    (tensor,) = reader.tensors
    assert tensor.name == "direction.1"
    torch.testing.assert_close(torch.tensor(tensor.data), edited)


def test_an_lm_eval_file_adds_the_vector_to_the_block_it_names(model, sae, edited, tmp_path):
    found = torch.load(export(tmp_path / "sea.pt", model, sae, ADDS), weights_only=True)
    assert list(found) == ["h.1"]
    assert found["h.1"]["action"] == "add"
    torch.testing.assert_close(found["h.1"]["steering_vector"], edited)


def test_a_steering_vector_s_arguments_say_what_is_added_after_each_block(
    model, sae, edited, tmp_path
):
    first = sw.Add([1.0, *[0.0] * 15], 0.5, unit="raw", hook="blocks.0.hook_resid_post")
    path = export(tmp_path / "sea.steering_vectors.pt", model, sae, [*ADDS, first])
    found = torch.load(path, weights_only=True)
    assert found.keys() == {"layer_activations", "layer_type"}
    assert found["layer_type"] == "decoder_block"
    assert found["layer_activations"].keys() == {0, 1}
    torch.testing.assert_close(found["layer_activations"][1], edited)
    assert found["layer_activations"][0].tolist() == [0.5, *[0.0] * 15]


def test_edits_of_a_block_s_input_belong_to_the_block_before(sae, edited):
    sae.hook = "blocks.1.hook_resid_pre"
    found = layer_vectors(ADDS, {sae.name: sae})
    assert list(found) == [0]
    torch.testing.assert_close(found[0], edited)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (sw.Set(5, 1.0), "cannot be exported: a vector can only be added, to every token"),
        (sw.Add(5, 1.0, where="prompt"), "cannot be exported: a vector can only be added"),
        (sw.Add(5, 1.0, when=sw.Fires(3)), "knows neither schedules nor conditions"),
        (sw.Add(5, 1.0, on=False), "no edit is on"),
        (sw.Add([1.0] * 16, 1.0, unit="raw", hook="blocks.0.hook_mlp_out"), "not the output of a"),
        (sw.Add([1.0] * 16, 1.0, unit="raw", hook="blocks.0.hook_resid_post"), "from the second"),
    ],
)
def test_what_a_vector_cannot_say_is_refused_and_no_file_is_left(
    model, sae, tmp_path, edit, message
):
    with pytest.raises(ValueError, match=message):
        export(tmp_path / "sea.gguf", model, sae, [edit])
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_says_nothing_is_refused(model, sae, tmp_path):
    with pytest.raises(ValueError, match=r"one of .gguf, .*, .pt, .py; got 'sea.txt'"):
        export(tmp_path / "sea.txt", model, sae, ADDS)


def test_code_makes_the_same_edits(model, sae, tmp_path):
    edits = [
        sw.Add([0.1 * i for i in range(1, 17)], 2.0, unit="norm", where=sw.Span(2, 9)),
        sw.Set(7, 1.5, schedule=sw.Ramp(4), when=sw.Fires(3, 0.5) & ~sw.Near([1.0] * 16, 0.2)),
        sw.Ablate(2, where="generated", sae="signed"),
    ]
    code = export(tmp_path / "edits.py", model, sae, edits).read_text()
    made = {}
    exec(code, made)  # our own words, just written
    assert made["edits"] == edits
    assert code.startswith("from sae_widgets import Ablate, Add, Fires, Near, Ramp, Set, Span\n")
    assert to_code([]) == "edits = [\n]\n"


def test_hook_code_does_the_same_with_transformer_lens_alone(any_model, sae):
    edits = [
        *ADDS,
        sw.Set(7, 1.0),
        sw.Scale(3, 2.5),
        sw.ProjectOut(8),
        sw.Floor(2, 0.5, unit="raw"),
        sw.Ablate([0.0, 3.0, 4.0, *[0.0] * 13], hook=tiny.HOOK),
        sw.Add([1.0] * 16, 0.5, unit="raw", hook="blocks.0.hook_resid_post"),
    ]
    made = {}
    code = to_hook_code(any_model, sae, edits)
    assert "sae_widgets" not in code
    exec(code, made)
    with torch.no_grad():
        found = made["steered"](any_model, {sae.name: sae}, IDS)
        with sw.steering(any_model, sae, edits):
            expected = any_model(IDS)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (sw.Add(5, 1.0, where="generated"), "acts only at some tokens"),
        (sw.Rotate(5, 30.0), "does more than move one value"),
    ],
)
def test_what_has_no_short_form_is_refused(model, sae, edit, message):
    with pytest.raises(ValueError, match=message):
        to_hook_code(model, sae, [edit])
