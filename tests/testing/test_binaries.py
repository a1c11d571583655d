from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from neptune.testing.binaries import Binaries, find_binaries, find_kubectl
from neptune.testing.gobuild import PACKAGES, cache_folder

if TYPE_CHECKING:
    from pathlib import Path


def install(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch(mode=0o755)
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "go.mod").write_text("require (\n\tk8s.io/kubernetes v1.2.3 // indirect\n)\n")
    (folder / "go.sum").write_text("")
    return folder


@pytest.fixture
def environ(tmp_path: Path, recipe: Path) -> dict[str, str]:
    """Describe a machine that has the executables in all three places."""
    environ = {
        "KUBEBUILDER_ASSETS": str(install(tmp_path / "assets", *PACKAGES)),
        "PATH": str(install(tmp_path / "path", *PACKAGES)),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    cache = cache_folder(environ, recipe)
    assert cache is not None
    install(cache, *PACKAGES)
    return environ


def servers_in(folder: Path) -> Binaries:
    return Binaries(folder / "etcd", folder / "kube-apiserver")


def test_named_folder_comes_first_then_path_then_cache(environ: dict[str, str], recipe: Path, tmp_path: Path) -> None:
    assert find_binaries(environ, recipe) == servers_in(tmp_path / "assets")
    del environ["KUBEBUILDER_ASSETS"]
    assert find_binaries(environ, recipe) == servers_in(tmp_path / "path")
    environ["PATH"] = "/nowhere"
    cache = cache_folder(environ, recipe)
    assert cache is not None
    assert find_binaries(environ, recipe) == servers_in(cache)
    assert find_binaries({**environ, "XDG_CACHE_HOME": "/nowhere"}, recipe) is None


def test_servers_are_never_mixed_from_two_places(environ: dict[str, str], recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "assets" / "etcd").unlink()
    assert find_binaries(environ, recipe) == servers_in(tmp_path / "path")


def test_kubectl_of_the_servers_version_is_preferred_to_the_one_on_path(
    environ: dict[str, str], recipe: Path, tmp_path: Path
) -> None:
    assert find_kubectl(environ, recipe) == tmp_path / "assets" / "kubectl"
    del environ["KUBEBUILDER_ASSETS"]
    cache = cache_folder(environ, recipe)
    assert cache is not None
    assert find_kubectl(environ, recipe) == cache / "kubectl"
    (cache / "kubectl").unlink()
    assert find_kubectl(environ, recipe) == tmp_path / "path" / "kubectl"


def test_without_a_recipe_there_is_no_cache(environ: dict[str, str], tmp_path: Path) -> None:
    assert cache_folder(environ, tmp_path / "none") is None
    assert find_binaries({"PATH": ""}, tmp_path / "none") is None


def test_variable_that_is_not_set_never_means_the_path_of_this_process(recipe: Path) -> None:
    assert find_binaries({"XDG_CACHE_HOME": "/nowhere"}, recipe) is None


def test_a_file_that_a_variable_names_comes_before_any_folder(
    environ: dict[str, str], recipe: Path, tmp_path: Path
) -> None:
    named = {
        **environ,
        "TEST_ASSET_ETCD": "/mine/etcd",
        "TEST_ASSET_KUBE_APISERVER": "/mine/apiserver",
        "TEST_ASSET_KUBECTL": "/mine/kubectl",
    }
    found = find_binaries(named, recipe)
    assert found is not None
    assert (str(found.etcd), str(found.kube_apiserver)) == ("/mine/etcd", "/mine/apiserver")
    assert str(find_kubectl(named, recipe)) == "/mine/kubectl"
    del named["TEST_ASSET_ETCD"]
    found = find_binaries(named, recipe)
    assert found is not None
    assert found.etcd == tmp_path / "assets" / "etcd"
