"""The console script `neptune`, as a shell runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).parent / "neptune"


def neptune(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *args], capture_output=True, text=True, timeout=60, check=False)


def test_help_names_each_subcommand() -> None:
    result = neptune("--help")
    assert result.returncode == 0
    assert "crds" in result.stdout
    assert "demo" in result.stdout


def test_version_is_printed() -> None:
    result = neptune("--version")
    assert (result.returncode, result.stdout.split()[0]) == (0, "neptune")


@pytest.mark.parametrize("args", [[], ["cdrs"], ["crds", "--output"], ["crds", "more"], ["--config"]])
def test_wrong_usage_ends_with_2_and_the_usage(args: list[str]) -> None:
    result = neptune(*args)
    assert (result.returncode, result.stdout) == (2, "")
    assert "usage: neptune" in result.stderr


def test_namesake_is_refused_with_the_remedy(tmp_path: Path) -> None:
    metadata = tmp_path / "neptune-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: neptune\nVersion: 1.0\n")
    result = subprocess.run(
        [SCRIPT, "crds"], capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": str(tmp_path)}
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "install neptune-edge into an environment of its own" in result.stderr


def test_missing_library_is_named_with_the_way_to_install_it(tmp_path: Path) -> None:
    # A base installation, as on a node, has no pydantic: here a module of that name cannot be found either.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pydantic'] = None\n")
    result = subprocess.run(
        [SCRIPT, "crds"], capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": str(tmp_path)}
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "crds needs pydantic" in result.stderr
    assert "pip install 'neptune-edge[all]'" in result.stderr
