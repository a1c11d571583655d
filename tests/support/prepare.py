"""`make envtest`: get the real parts that the tests run against, where this machine lacks them.

Builds the control plane and an S3 server from Go modules and, as root on Debian, installs mosquitto. What cannot be
had is named in one line; that is a failure only with NEPTUNE_REQUIRE_REAL=1, because `make test` skips what it cannot
reach.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from neptune.testing.binaries import find_binaries
from neptune.testing.gobuild import BuildError, build
from tests.support.doors import NO_BROKER, find_mosquitto
from tests.support.s3 import NO_S3, find_s3


def prepare_control_plane() -> str | None:
    """Return what is missing, or None when etcd and kube-apiserver are there."""
    if find_binaries(os.environ) is None:
        try:
            build(os.environ)
        except BuildError as error:
            return f"no control plane: {error}"
    return None


def prepare_broker() -> str | None:
    """Return what is missing, or None when mosquitto is there."""
    if find_mosquitto(os.environ) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "--yes", "--no-install-recommends", "mosquitto"]):
            subprocess.run(["apt-get", "--quiet=2", *words], env=environ, check=False)
    return NO_BROKER if find_mosquitto(os.environ) is None else None


def prepare_s3() -> str | None:
    """Return what is missing, or None when the S3 server is there."""
    return None if find_s3(os.environ) else NO_S3


def main() -> int:
    missing = [each for each in (prepare_control_plane(), prepare_broker(), prepare_s3()) if each is not None]
    for line in missing:
        sys.stderr.write(f"envtest: {line}\n")
    return 1 if missing and os.environ.get("NEPTUNE_REQUIRE_REAL") == "1" else 0


if __name__ == "__main__":
    sys.exit(main())
