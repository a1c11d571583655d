from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from neptune.testing.gobuild import PACKAGES, RECIPE, BuildError, build, cache_folder

# Stands for the compiler, which takes minutes: notes its arguments and writes the file that -o names.
GO = """#!/bin/sh
echo "$PWD" "$@" >> "$GO_CALLS"
[ "$GO_FAILS" = "$8" ] && exit 1
while [ "$1" != -o ]; do shift; done
sleep 0.1
echo built > "$2"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "go.mod").write_text("require (\n\tk8s.io/kubernetes v1.2.3 // indirect\n)\n")
    (folder / "go.sum").write_text("")
    return folder


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(GO)
    go.chmod(0o755)
    return {
        "PATH": f"{go.parent}:/usr/bin:/bin",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "GO_CALLS": str(tmp_path / "calls"),
    }


def calls(environ: dict[str, str]) -> list[str]:
    return Path(environ["GO_CALLS"]).read_text().splitlines()


def test_build_makes_every_executable_once(environ: dict[str, str], recipe: Path) -> None:
    folder = build(environ, recipe)
    assert build(environ, recipe) == folder == cache_folder(environ, recipe)
    assert {each.name for each in folder.iterdir()} == set(PACKAGES)
    assert len(calls(environ)) == len(PACKAGES)


def test_build_stamps_the_version_that_the_recipe_pins(environ: dict[str, str], recipe: Path) -> None:
    build(environ, recipe)
    for call in calls(environ):
        assert "-X k8s.io/component-base/version.gitVersion=v1.2.3" in call
        assert "-X k8s.io/component-base/version.gitMinor=2" in call


def test_failed_build_leaves_nothing_behind(environ: dict[str, str], recipe: Path) -> None:
    with pytest.raises(BuildError, match=r"could not build k8s\.io/kubernetes/cmd/kubectl"):
        build({**environ, "GO_FAILS": PACKAGES["kubectl"]}, recipe)
    folder = cache_folder(environ, recipe)
    assert folder is not None
    assert [each.name for each in folder.parent.iterdir()] == ["lock"]


def test_two_builds_at_the_same_time_are_one(environ: dict[str, str], recipe: Path) -> None:
    script = (
        "import os, sys, pathlib; from neptune.testing.gobuild import build;"
        "build(os.environ, pathlib.Path(sys.argv[1]))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", script, recipe], env=environ, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [each.wait(30) for each in both] == [0, 0]
    assert len(calls(environ)) == len(PACKAGES)


def test_missing_compiler_is_named(environ: dict[str, str], recipe: Path) -> None:
    with pytest.raises(BuildError, match=r"no `go` on PATH.*KUBEBUILDER_ASSETS"):
        build({**environ, "PATH": "/nowhere"}, recipe)


def test_missing_recipe_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="build from a checkout"):
        build(environ, tmp_path)


def test_another_pin_is_another_folder(environ: dict[str, str], recipe: Path) -> None:
    before = cache_folder(environ, recipe)
    (recipe / "go.sum").write_text("changed")
    assert cache_folder(environ, recipe) != before


def test_recipe_replaces_every_staging_module_by_the_release_of_its_kubernetes() -> None:
    lines = (RECIPE / "go.mod").read_text().splitlines()
    version = next(line.split()[1] for line in lines if line.startswith("\tk8s.io/kubernetes v"))
    replaced = {line.split()[-1] for line in lines if " => " in line}
    assert replaced == {version.replace("v1.", "v0.")}
