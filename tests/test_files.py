"""Files and folders that are written whole or not at all."""

import errno
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
from safetensors import SafetensorError

import sae_widgets as sw
from sae_widgets.files import put, recover, whole, whole_folder

ATTACKS = Path(__file__).parent / "attacks"


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o640)
    put(path, b"new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_new_file_may_be_read_by_whom_the_system_lets(tmp_path):
    mask = os.umask(0o027)
    try:
        put(tmp_path / "a", b"")
        with whole_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o750


def test_a_link_stays_one(tmp_path):
    (tmp_path / "to").write_text("old")
    (tmp_path / "link").symlink_to("to")
    put(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "to").read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_what_ends_the_block_leaves_the_old_one(tmp_path, error):
    (tmp_path / "a").write_text("old")
    with pytest.raises(type(error)), whole(tmp_path / "a") as part:
        part.write_text("half")
        raise error
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "kept").touch()
    with pytest.raises(type(error)), whole_folder(tmp_path / "b") as new:
        (new / "half").touch()
        raise error
    assert (tmp_path / "a").read_text() == "old"
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["a", "b", "b/kept"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.ENOSPC, "No space left on device", "/tmp/.beside"),
        SafetensorError("Error while serializing: I/O error: No space left (os error 28)"),
    ],
)
def test_a_full_disk_is_an_oserror_that_names_the_file(tmp_path, error):
    for write in (whole, whole_folder):
        with (
            pytest.raises(OSError, match="No space left on device") as found,
            write(tmp_path / "sea"),
        ):
            raise error
        assert (found.value.errno, found.value.filename) == (errno.ENOSPC, str(tmp_path / "sea"))


def test_where_no_folder_is_the_file_that_was_asked_for_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as found:
        put(tmp_path / "none" / "a", b"")
    assert found.value.filename == str(tmp_path / "none" / "a")


def test_an_sae_that_does_not_fit_on_the_disk_is_an_oserror_and_the_old_one_stays(tmp_path):
    sw.save_sae(tiny.make_sae(name="old"), tmp_path / "sae")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as found:
            sw.save_sae(tiny.make_sae(name="new"), tmp_path / "sae")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found.value.filename == str(tmp_path / "sae")
    assert sw.load_sae(tmp_path / "sae").name == "old"
    assert os.listdir(tmp_path) == ["sae"]


def test_a_folder_whose_replacement_was_killed_is_put_back(tmp_path):
    sw.save_sae(tiny.make_sae(name="old"), tmp_path / "sae")
    (tmp_path / "sae").rename(tmp_path / ".sae.old")  # as between the two steps
    assert sw.load_sae(tmp_path / "sae").name == "old"
    assert os.listdir(tmp_path) == ["sae"]
    # And after the second, when the old one was not yet taken away.
    sw.save_sae(tiny.make_sae(name="older"), tmp_path / ".sae.old")
    recover(tmp_path / "sae")
    assert os.listdir(tmp_path) == ["sae"]
    assert sw.load_sae(tmp_path / "sae").name == "old"


def test_what_killed_programs_have_left_is_swept_and_what_others_write_now_is_not(tmp_path):
    old, now = (tmp_path / f".a-{digit * 32}.part" for digit in "17")
    other = tmp_path / f".b-{'1' * 32}.part"
    for path in (old, now, other):
        path.touch()
    folder = tmp_path / f".a-{'2' * 32}.part"
    (folder / "in").mkdir(parents=True)
    long_ago = time.time() - 7200
    for path in (old, other, folder):
        os.utime(path, (long_ago, long_ago))
    put(tmp_path / "a", b"")
    assert {path.name for path in tmp_path.iterdir()} == {"a", now.name, other.name}


def attack(name, *arguments):
    script = [sys.executable, str(ATTACKS / f"{name}.py"), *arguments]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_two_programs_and_two_threads_that_keep_presets_at_once_lose_none():
    assert attack("presets", "1")["lost"] == {"processes": 0, "threads": 0}


def test_a_writer_that_is_killed_anywhere_leaves_the_old_one_or_the_new_one():
    found = attack("kills", "save_sae", "export .py")
    assert found["lost"] == 0
    ended = found["writers"]["save_sae"]["killed"]
    assert ended["old"] > 5
    assert ended["new"] > 1
