"""kube-apiserver, kubectl and etcd, built from the Go modules that `tools/envtest` pins and kept by version.

Invariant: a folder `<cache>/<key>` is complete or absent; two builds at the same time are one build and one
wait. `binaries` looks into the same folder. Works in a checkout only: the recipe is no part of the wheel.
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from neptune.errors import NeptuneError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RECIPE = Path(__file__).parents[3] / "tools" / "envtest"

#: Executable and its package, the quick ones first: what is wrong with the machine shows within a minute.
PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
}

# Where Kubernetes' own build stamps its version (hack/lib/version.sh, kube::version::ldflags).
_VERSION_PACKAGES = ("k8s.io/client-go/pkg/version", "k8s.io/component-base/version")


class BuildError(NeptuneError):
    """The binaries cannot be built; the text says what is missing."""


def cache_folder(environ: Mapping[str, str], recipe: Path = RECIPE) -> Path | None:
    """Return where this recipe's binaries are or would be on this machine; None where there is no recipe."""
    if not (recipe / "go.mod").is_file():
        return None
    root = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "neptune" / "envtest" / _key(recipe)


def build(environ: Mapping[str, str], recipe: Path = RECIPE) -> Path:
    """Return the folder with all of `PACKAGES`; a first build takes minutes and 2 GB of Go's caches.

    Raises:
        BuildError: no recipe, no `go` on PATH, or the compiler failed.
    """
    folder = cache_folder(environ, recipe)
    if folder is None:
        raise BuildError(f"no go.mod in {recipe}: build from a checkout of neptune, or set KUBEBUILDER_ASSETS")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.parent / "lock"):
        if not folder.is_dir():
            _build_into(folder, environ, recipe)
    return folder


def _key(recipe: Path) -> str:
    content = b"".join((recipe / name).read_bytes() for name in ("go.mod", "go.sum"))
    system = f"{platform.system()}-{platform.machine()}".lower()
    return f"{_version(recipe)}-{system}-{hashlib.sha256(content).hexdigest()[:12]}"


def _version(recipe: Path) -> str:
    match = re.search(r"^\s+k8s\.io/kubernetes (v[\w.+-]+)", (recipe / "go.mod").read_text(), re.MULTILINE)
    if match is None:
        raise BuildError(f"{recipe / 'go.mod'} does not require k8s.io/kubernetes")
    return match[1]


def _build_into(folder: Path, environ: Mapping[str, str], recipe: Path) -> None:
    go = shutil.which("go", path=environ.get("PATH"))
    if go is None:
        raise BuildError(
            "kube-apiserver and etcd are compiled with Go, and there is no `go` on PATH: install the version"
            f" that {recipe / 'go.mod'} names, or set KUBEBUILDER_ASSETS to a folder with ready ones"
        )
    version = _version(recipe)
    flags = ["build", "-mod=readonly", "-trimpath", "-ldflags", _linker_flags(version)]
    # Under its final parent, so that the rename below cannot cross file systems.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".build-") as name:
        made = Path(name) / folder.name
        made.mkdir()
        for executable, package in PACKAGES.items():
            _say(f"building {executable} for Kubernetes {version}; all three take about 5 minutes, once")
            started = time.monotonic()
            command = [go, *flags, "-o", str(made / executable), package]
            result = subprocess.run(
                command, cwd=recipe, env={**environ, "CGO_ENABLED": "0", "GOWORK": "off"}, check=False
            )
            if result.returncode != 0:
                raise BuildError(f"go could not build {package} (exit {result.returncode}); its own words are above")
            _say(f"built {executable} in {time.monotonic() - started:.0f} s")
        made.rename(folder)


def _linker_flags(version: str) -> str:
    major, minor = version.removeprefix("v").split(".")[:2]
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    words = [f"-X {package}.{key}={value}" for package in _VERSION_PACKAGES for key, value in stamps.items()]
    return " ".join(["-s -w", *words])


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the file's lock; the kernel frees it with the process, so none can be left behind."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"waiting for another process that builds the control plane ({path})")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    sys.stderr.write(f"envtest: {text}\n")
    sys.stderr.flush()
