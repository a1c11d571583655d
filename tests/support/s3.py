"""A real S3 server, versitygw on a folder: found in PATH, or built once from the Go module in `tools/s3`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from obstore.store import S3Store

from neptune.edge.remote import Credentials
from neptune.testing.processes import Process, accepts_connections, free_port

RECIPE = Path(__file__).parents[2] / "tools" / "s3"
NO_S3 = "no S3 server: put versitygw on PATH, or install Go, which builds it from tools/s3 in about two minutes"
BUCKET = "datasets"
_KEY, _SECRET = "tester", "secret-of-the-tester"


def find_s3(environ: Mapping[str, str]) -> Path | None:
    """Return the server's executable; None where there is none and none can be built."""
    if found := shutil.which("versitygw", path=environ.get("PATH")):
        return Path(found)
    digest = hashlib.sha256((RECIPE / "go.sum").read_bytes()).hexdigest()[:12]
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cache / "neptune" / "s3" / digest / "versitygw"
    go = shutil.which("go", path=environ.get("PATH"))
    if not target.is_file() and go is not None:
        draft = target.with_name(f"draft-{os.getpid()}")
        command: list[str | Path] = [
            go,
            "build",
            "-mod=readonly",
            "-trimpath",
            "-o",
            draft,
            "github.com/versity/versitygw/cmd/versitygw",
        ]
        if subprocess.run(command, cwd=RECIPE, env={**environ, "GOWORK": "off"}, check=False).returncode == 0:
            draft.replace(target)
    return target if target.is_file() else None


class S3Server:
    """The server with one bucket, as a context. Its key is `credentials`; another one takes its place by `rotate`."""

    def __init__(self, executable: Path, folder: Path) -> None:
        self._executable, self._folder = executable, folder
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.credentials = Credentials(_KEY, _SECRET, region="us-east-1", endpoint=self.endpoint)

    def __enter__(self) -> Self:
        (self._folder / "data" / BUCKET).mkdir(parents=True)
        self._start()
        return self

    def rotate(self, secret_access_key: str) -> None:
        """Take this secret from now on, and not the one before."""
        self._process.stop(seconds=5)
        self.credentials = replace(self.credentials, secret_access_key=secret_access_key)
        self._start()

    def _start(self) -> None:
        command: list[str | Path] = [
            self._executable,
            "--port",
            f"127.0.0.1:{self.port}",
            "posix",
            self._folder / "data",
        ]
        keys = {"ROOT_ACCESS_KEY": _KEY, "ROOT_SECRET_KEY": self.credentials.secret_access_key}
        environ = {**os.environ, **keys}
        self._process = Process.start(command, log=self._folder / "log", env=environ)
        self._process.wait_until(lambda: accepts_connections(self.port), seconds=20)

    def __exit__(self, *_: object) -> None:
        self._process.stop(seconds=5)

    def put(self, name: str, content: bytes) -> str:
        """Store an object as its owner does, and return its url."""
        store = S3Store(
            BUCKET,
            aws_access_key_id=_KEY,
            aws_secret_access_key=self.credentials.secret_access_key,
            aws_endpoint=self.endpoint,
            aws_region="us-east-1",
            client_options={"allow_http": True},
        )
        store.put(name, content)
        return f"s3://{BUCKET}/{name}"
