"""What holds for the whole package: what it exports, who imports whom, what a wheel carries."""

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sae_widgets

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sae_widgets"

# A module imports only lower ranks, and its own package.
RANKS = {
    "files": 0,
    "model": 0,
    "tokens": 0,
    "sae": 0,
    "features": 1,
    "formats": 1,
    "fit": 2,
    "steering": 2,
    "training": 2,
    "index": 2,
    "explain": 3,
    "compose": 3,
    "widgets": 3,
    "share": 4,
    "wire": 3,
    "demo": 4,
    "session": 5,
    "live": 5,
    "figure": 5,
    "cli": 6,
    "__main__": 7,
}
# These make sessions, and the training script of the demo drives everything.
RANKS_OF_FILES = {
    "demo/load.py": 6,
    "demo/train.py": 6,
    "share/open.py": 6,
    "share/source.py": 6,
}


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(path: Path) -> set[str]:
    """The parts of sae_widgets that `path` imports, at run time or for types."""
    package = ("sae_widgets", *path.relative_to(PACKAGE).parts[:-1])
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            target = (*base, *(node.module.split(".") if node.module else ()))
            names = [(*target, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        else:
            continue
        rooms |= {name[1] for name in names if name[0] == "sae_widgets" and len(name) > 1}
    return rooms & set(RANKS)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_lower_ranks(path):
    name = str(path.relative_to(PACKAGE))
    rank = RANKS_OF_FILES.get(name, RANKS[room(path)])
    others = imported_rooms(path) - {room(path)}
    too_high = {other for other in others if RANKS[other] >= rank}
    assert not too_high, f"{name} (rank {rank}) imports {sorted(too_high)}"


def test_only_model_imports_transformer_lens():
    users = {
        room(path)
        for path in modules()
        if "import transformer_lens" in path.read_text()
        or "from transformer_lens" in path.read_text()
    }
    assert users == {"model"}


def test_every_public_name_can_be_had_and_the_list_is_sorted():
    names = list(sae_widgets.__all__)
    assert names == sorted(names)
    for name in names:
        assert getattr(sae_widgets, name).__name__ == name


def test_a_function_is_not_hidden_by_the_package_of_its_name():
    code = (
        "import sae_widgets as sw, sae_widgets.steering, sae_widgets.training\n"
        "print(callable(sw.steering), callable(sw.training))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True True"


def test_importing_the_package_loads_neither_torch_nor_transformer_lens():
    code = (
        "import sys, sae_widgets\n"
        "heavy = {'torch', 'transformer_lens', 'transformers', 'anywidget'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_bundle_stays_under_its_limit():
    bundles = {path.name: path.stat().st_size for path in (PACKAGE / "static").glob("*.js")}
    limits = dict.fromkeys(("heatmap.js", "steering.js", "training.js"), 70_000)
    limits |= {"page.js": 120_000, "kept.js": 4_000}  # the code of all, once; below every widget
    assert bundles.keys() == limits.keys()
    for name, size in bundles.items():
        assert size <= limits[name], f"{name} has {size} bytes"


def test_a_wheel_made_from_the_sdist_without_node_carries_all_that_a_user_needs(tmp_path):
    def build(*arguments, cwd):
        command = [sys.executable, "-m", "build", "--no-isolation", *arguments]
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)

    build("--sdist", "--outdir", str(tmp_path), cwd=ROOT)
    sdist = next(tmp_path.glob("*.tar.gz"))
    subprocess.run(["tar", "xzf", sdist.name], cwd=tmp_path, check=True)
    source = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert not (source / "js").exists(), "the sdist holds the bundle, not its sources"
    build("--wheel", "--outdir", str(tmp_path), cwd=source)

    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    for wanted in (
        "sae_widgets/py.typed",
        "sae_widgets/__init__.pyi",
        "sae_widgets/static/heatmap.js",
        "sae_widgets/static/steering.js",
        "sae_widgets/static/training.js",
        "sae_widgets/demo/data/model/model.safetensors",
        "sae_widgets/notebooks/quickstart.ipynb",
        "sae_widgets/notebooks/steering.ipynb",
        "sae_widgets/notebooks/train.ipynb",
    ):
        assert wanted in names
    assert not [name for name in names if name.startswith(("tests/", "js/"))]


def test_the_demo_ships_in_at_most_eight_megabytes():
    files = [path for path in (PACKAGE / "demo" / "data").rglob("*") if path.is_file()]
    assert files
    assert sum(path.stat().st_size for path in files) <= 8_000_000


def test_every_test_that_the_readme_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "README.md").read_text(encoding="utf-8")))
    files = (ROOT / "tests").rglob("test_*.py")
    there = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    assert len(named) > 5
    assert named <= there
