"""Repositories of the Hugging Face hub: from the local cache, and from a server on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from written import D, F, folder, inputs, plain

from sae_widgets.formats import load_sae

REPO = "someone/some-saes"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def repository(root):
    """Two SAEs of sparsify, one of SAELens, and things that are not asked for."""
    for layer in (3, 10):
        tensors = {
            "encoder.weight": plain()["W_enc"].T,
            "encoder.bias": plain()["b_enc"],
            "W_dec": plain()["W_dec"],
            "b_dec": plain()["b_dec"] + layer,
        }
        config = {"k": 2, "activation": "topk"}
        folder(root / f"layers.{layer}", config, tensors, "sae.safetensors")
    config = {"architecture": "standard", "metadata": {"hook_name": "blocks.1.hook_x"}}
    folder(root / "res" / "one", config, plain(), "sae_weights.safetensors")
    (root / "res" / "one" / "picture.png").write_bytes(b"large")
    llama = {"d_model": D, "hook_point_in": "blocks.5.hook_x", "jump_relu_threshold": 0.5}
    linear = {
        "encoder.weight": plain()["W_enc"].T,
        "encoder.bias": plain()["b_enc"],
        "decoder.weight": plain()["W_dec"].T,
        "decoder.bias": plain()["b_dec"],
    }
    folder(root / "L5R", llama, linear, "checkpoints/final.safetensors", "hyperparams.json")
    (root / "L5R" / "checkpoints" / "5000.safetensors").write_bytes(b"not finished")
    (root / "README.md").write_text("SAEs")
    return root


# The cache


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The repository as Hugging Face's cache keeps it, and no way out."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / f"models--{REPO.replace('/', '--')}"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(COMMIT)
    return repository(kept / "snapshots" / COMMIT)


@pytest.mark.usefixtures("cached")
def test_offline_what_is_in_the_cache_is_read():
    sae = load_sae(REPO, "layers.10")
    assert (sae.name, sae.hook) == ("layers.10", "blocks.10.hook_resid_post")
    assert torch.equal(sae.b_dec, plain()["b_dec"] + 10)
    assert sae.provenance["source"] == f"{REPO}/layers.10/sae.safetensors"
    with pytest.raises(ValueError, match=r"some-saes holds several SAEs: 'L5R/checkpoints'"):
        load_sae(REPO)


@pytest.mark.usefixtures("cached")
def test_offline_what_is_not_in_the_cache_is_named():
    with pytest.raises(ConnectionError, match=r"the local cache has no 'layers\.11'.*offline mode"):
        load_sae(REPO, "layers.11")
    with pytest.raises(
        ConnectionError, match=r"'other/saes' is no local folder.*not in the local.*Go online once"
    ):
        load_sae("other/saes")


# A server


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as is asked for here."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        path = unquote(urlsplit(self.path).path).strip("/")
        root, served = self.server.root, self.server.served
        if path == f"api/models/{REPO}/tree/main":
            files = [file for file in sorted(root.rglob("*")) if file.is_file()]
            listed = [
                {"type": "file", "oid": "0", "size": 1, "path": str(file.relative_to(root))}
                for file in files
            ]
            return self.say(200, json.dumps(listed).encode(), body, "application/json")
        if path.startswith(f"{REPO}/resolve/main/"):
            name = path.removeprefix(f"{REPO}/resolve/main/")
            if (root / name).is_file():
                if body:
                    served.append(name)
                return self.say(200, (root / name).read_bytes(), body)
        self.say(404, b"{}", body, error="RepoNotFound")

    def say(self, status, content, body, kind="application/octet-stream", error=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hash(content) & 0xFFFFFFFF:x}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if error is not None:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub on this machine that has the repository; what it has given away is in `served`."""
    running = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    running.root, running.served = repository(tmp_path / "origin"), []
    address = f"http://127.0.0.1:{running.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    huggingface_hub.close_session()
    yield running
    huggingface_hub.close_session()
    running.shutdown()
    running.server_close()
    thread.join()


def test_only_the_files_of_one_sae_are_downloaded_and_only_once(server):
    for _ in range(2):
        sae = load_sae(REPO, "layers.3")
        assert torch.equal(sae.b_dec, plain()["b_dec"] + 3)
        assert sorted(server.served) == ["layers.3/cfg.json", "layers.3/sae.safetensors"]


def test_a_file_can_be_named_and_its_configuration_comes_along(server):
    sae = load_sae(REPO, "res/one/sae_weights.safetensors")
    assert (sae.hook, sae.d_sae) == ("blocks.1.hook_x", F)
    assert sorted(server.served) == ["res/one/cfg.json", "res/one/sae_weights.safetensors"]


def test_of_checkpoints_only_the_finished_one_is_downloaded(server):
    sae = load_sae(REPO, "L5R", scale=1.0)
    assert sae(inputs()).shape == inputs().shape
    assert sorted(server.served) == ["L5R/checkpoints/final.safetensors", "L5R/hyperparams.json"]


def test_several_saes_are_listed_before_anything_is_downloaded(server):
    with pytest.raises(ValueError, match=r"several SAEs: .*'layers\.10', 'layers\.3', 'res/one'"):
        load_sae(REPO)
    with pytest.raises(ValueError, match=r"holds an SAE further in: 'res/one'\. Say which"):
        load_sae(REPO, "res")
    with pytest.raises(FileNotFoundError, match=r"has no SAE 'layers\.4'. It holds: .*README\.md"):
        load_sae(REPO, "layers.4")
    assert server.served == []


@pytest.mark.usefixtures("server")
def test_a_repository_that_is_not_there_says_so():
    with pytest.raises(FileNotFoundError, match=r"no repository 'someone/else' that you may read"):
        load_sae("someone/else")
