"""Records in the shape that Neuronpedia publishes, from memory, a file and a server."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import tiny
import torch

import sae_widgets as sw
from sae_widgets.model import activations
from sae_widgets.steering.neuronpedia import LIMIT

VECTOR = [0.5 * entry for entry in range(16)]
RECORD = {
    "modelId": "tiny",
    "layer": "1-neuronpedia-resid-pre",
    "index": "clx12ab",
    "hasVector": True,
    "vector": VECTOR,
    "vectorLabel": "dinosaurs",
    "vectorDefaultSteerStrength": 2.5,
    "hookName": "blocks.1.hook_resid_pre",
    "maxActApprox": 0,
    "explanations": [],
}
FEATURE = {
    "modelId": "gpt2-small",
    "layer": "6-res-jb",
    "index": "7",
    "hasVector": False,
    "vector": [],
    "vectorLabel": None,
    "vectorDefaultSteerStrength": None,
    "hookName": "blocks.6.hook_resid_pre",
    "explanations": [{"description": " ships at sea", "typeName": "oai_token-act-pair"}],
}


@contextmanager
def serving(answer):
    """A server on this machine that gives, for a path, a status, headers and a body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_record_s_vector_pushes_as_hard_as_it_does_there(model):
    label, edit = sw.neuronpedia(RECORD)
    assert label == "dinosaurs"
    assert edit == sw.Add(VECTOR, 2.5, unit="raw", hook="blocks.1.hook_resid_pre")
    ids = torch.tensor([[0, 30, 41]])
    plain = activations(model, ids, edit.hook)
    with sw.steering(model, None, [edit]):
        moved = activations(model, ids, edit.hook) - plain
    torch.testing.assert_close(moved[0, 1:], 2.5 * torch.tensor([VECTOR] * 2), atol=1e-5, rtol=0)


def test_a_feature_is_that_of_the_sae_that_says_it_is_from_there(model, sae, tmp_path):
    with pytest.raises(ValueError, match=r"gpt2-small/6-res-jb/7 has no vector.*feature 7 of that"):
        sw.neuronpedia(FEATURE, sae)
    sae.provenance["neuronpedia"] = "gpt2-small/6-res-jb"
    kept = sw.load_sae(sw.save_sae(sae, tmp_path / "sae"))
    session = sw.Session(model, tiny.make_sae(name="other"), saes=[kept], sample=None)
    label, edit = session.neuronpedia(FEATURE)
    assert label == " ships at sea"
    assert edit == sw.Add(7, 10.0, unit="raw", sae="signed")
    assert session.generate("the", [edit], max_new_tokens=2).positions[1][0] == 1
    with pytest.raises(IndexError, match="SAE 'signed' has no feature 32"):
        session.neuronpedia({**FEATURE, "index": 32})


def test_a_file_holds_a_record(tmp_path):
    path = tmp_path / "dinosaurs.json"
    path.write_text(json.dumps(RECORD))
    assert sw.neuronpedia(path) == sw.neuronpedia(str(path)) == sw.neuronpedia(RECORD)
    path.write_text("[")
    with pytest.raises(ValueError, match=r"dinosaurs\.json holds no JSON"):
        sw.neuronpedia(path)
    path.write_text(json.dumps([RECORD]))
    with pytest.raises(ValueError, match=r"holds no record of one feature, but a list"):
        sw.neuronpedia(path)


@pytest.mark.parametrize(
    "source",
    [
        "tiny/1-neuronpedia-resid-pre/clx12ab",
        "https://www.neuronpedia.org/tiny/1-neuronpedia-resid-pre/clx12ab?embed=true",
        "https://neuronpedia.org/api/feature/tiny/1-neuronpedia-resid-pre/clx12ab/",
    ],
)
def test_an_identifier_or_an_address_is_looked_up(source):
    asked = []

    def answer(path):
        asked.append(path)
        return 200, {}, json.dumps(RECORD).encode()

    with serving(answer) as host:
        assert sw.neuronpedia(source, host=host) == sw.neuronpedia(RECORD)
    assert asked == ["/api/feature/tiny/1-neuronpedia-resid-pre/clx12ab"]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((404, {}, b"{}"), LookupError, "Neuronpedia has nothing at http://127.0.0.1"),
        ((429, {}, b""), ConnectionError, "answers 429 Too Many Requests to .* save it as a .json"),
        ((200, {}, b"<html>"), ValueError, "a/b/1 holds no JSON"),
        ((200, {}, b"0" * (LIMIT + 1)), ConnectionError, "is larger than 32 MB, which no record"),
    ],
)
def test_a_host_that_says_no_or_nonsense_is_told_of(answer, error, message):
    with serving(lambda _: answer) as host, pytest.raises(error, match=message):
        sw.neuronpedia("a/b/1", host=host)


def test_an_answer_from_elsewhere_is_not_trusted():
    def answer(path):
        elsewhere = {"Location": f"http://localhost:{port}/record"}
        return (302, elsewhere, b"") if "api" in path else (200, {}, json.dumps(RECORD).encode())

    with serving(answer) as host:
        port = host.rpartition(":")[2]
        with pytest.raises(ConnectionError, match=r"leads elsewhere, to http://localhost"):
            sw.neuronpedia("a/b/1", host=host)


def test_without_a_network_it_is_said_what_to_do():
    with serving(lambda _: (200, {}, b"")) as host:
        pass  # nobody listens there any more
    with pytest.raises(ConnectionError, match=r"cannot be reached: .* pass its path"):
        sw.neuronpedia("a/b/1", host=host)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("gpt2-small/6-res-jb", ValueError, 'is named "gpt2-small/6-res-jb/650" or by the address'),
        ("https://example.org/a/b/1", ValueError, "got 'https://example.org/a/b/1'"),
        ("a/../1", ValueError, "got 'a/../1'"),
        ({"vector": VECTOR}, ValueError, "modelId is missing"),
        ({**RECORD, "hookName": None}, ValueError, "does not say at which hook its vector belongs"),
        ({**RECORD, "vector": ["1"]}, ValueError, "is no list of numbers"),
        ({**RECORD, "vector": [float("nan")]}, ValueError, "needs finite entries"),
        ({**RECORD, "vectorDefaultSteerStrength": "much"}, TypeError, "a strength is a number"),
    ],
)
def test_what_is_no_feature_or_vector_says_what_is_wrong(source, error, message):
    with serving(lambda _: (404, {}, b"")) as host, pytest.raises(error, match=message):
        sw.neuronpedia(source, host=host)
