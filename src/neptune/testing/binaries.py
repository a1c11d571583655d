"""Where the executables of a control plane are on this machine. Finds, never makes: `gobuild` does that.

Order: the folder `KUBEBUILDER_ASSETS` (controller-runtime's variable, filled by its `setup-envtest`), PATH,
then the cache folder of `gobuild`. etcd and kube-apiserver always come from the same one of the three, unless
`TEST_ASSET_ETCD`, `TEST_ASSET_KUBE_APISERVER` or `TEST_ASSET_KUBECTL`, controller-runtime's too, names the one file.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neptune.testing.gobuild import RECIPE, cache_folder

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Binaries:
    """The two servers of a control plane."""

    etcd: Path
    kube_apiserver: Path


def find_binaries(environ: Mapping[str, str], recipe: Path = RECIPE) -> Binaries | None:
    """Return the servers of the first place that has both, or None."""
    for path in (environ.get("KUBEBUILDER_ASSETS"), environ.get("PATH"), _cache(environ, recipe)):
        etcd = _named(environ, "TEST_ASSET_ETCD") or _which("etcd", path)
        kube_apiserver = _named(environ, "TEST_ASSET_KUBE_APISERVER") or _which("kube-apiserver", path)
        if etcd and kube_apiserver:
            return Binaries(etcd, kube_apiserver)
    return None


def find_kubectl(environ: Mapping[str, str], recipe: Path = RECIPE) -> Path | None:
    """Return a kubectl, or None. PATH comes last: the other two hold one of the server's own version."""
    if named := _named(environ, "TEST_ASSET_KUBECTL"):
        return named
    for path in (environ.get("KUBEBUILDER_ASSETS"), _cache(environ, recipe), environ.get("PATH")):
        if kubectl := _which("kubectl", path):
            return kubectl
    return None


def _named(environ: Mapping[str, str], variable: str) -> Path | None:
    # Taken as it is: a wrong name must fail with that name, not fall back to another executable.
    path = environ.get(variable)
    return Path(path) if path else None


def _cache(environ: Mapping[str, str], recipe: Path) -> str | None:
    folder = cache_folder(environ, recipe)
    return None if folder is None else str(folder)


def _which(name: str, path: str | None) -> Path | None:
    # shutil.which takes None as "the PATH of this process", which was not asked for.
    found = shutil.which(name, path=path or "")
    return None if found is None else Path(found)
