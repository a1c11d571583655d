"""kubectl as a user runs it, for tests."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from neptune.testing.binaries import find_kubectl

if TYPE_CHECKING:
    from pathlib import Path


class KubectlError(Exception):
    """kubectl ended with an error; the text is what it printed."""


def kubectl(*args: str, kubeconfig: Path, stdin: str | None = None) -> str:
    """Run kubectl and return what it printed to standard output.

    Raises:
        KubectlError: it exited with another code than 0.
        FileNotFoundError: there is no kubectl on this machine.
    """
    executable = find_kubectl(os.environ)
    if executable is None:
        raise FileNotFoundError("no kubectl in KUBEBUILDER_ASSETS, the cache of `make envtest` or PATH")
    result = subprocess.run(
        [executable, *args],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # Discovery is cached under the home folder by host and port: a later server on the port has other
        # groups.
        env={**os.environ, "KUBECONFIG": str(kubeconfig), "KUBECACHEDIR": str(kubeconfig.parent / "cache")},
    )
    if result.returncode != 0:
        raise KubectlError(result.stderr.strip())
    return result.stdout
