"""A real control plane for tests: etcd and kube-apiserver on loopback, and nothing besides.

Flags and order follow controller-runtime's envtest (pkg/internal/testing/controlplane). No controller runs:
nothing collects garbage, a deleted namespace stays Terminating (each test takes one of its own), and the
aggregated cluster roles `view`, `edit` and `admin` are empty (a test of RBAC makes its own role). `binaries`
finds the executables, `certs` signs, `processes` keeps the two servers.

    with ControlPlane(binaries) as plane:
        subprocess.run(["kubectl", "--kubeconfig", plane.kubeconfig, "get", "namespaces"])
"""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from neptune.testing.certs import Authority, KeyPair, signing_key
from neptune.testing.processes import Process, accepts_connections, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neptune.testing.binaries import Binaries

#: Seconds for each server to become ready, and to end before it is killed: envtest's defaults.
START_SECONDS = 20.0
STOP_SECONDS = 20.0

#: The API server allows this group everything, before it asks RBAC.
ADMIN_GROUP = "system:masters"


class ControlPlane:
    """An API server with a store of its own. Blocking; one start a use.

    Args:
        binaries: the executables to run.
        apiserver_flags: further flags of kube-apiserver; the last of two equal ones counts.
    """

    def __init__(self, binaries: Binaries, *, apiserver_flags: Sequence[str] = ()) -> None:
        self._binaries = binaries
        self._apiserver_flags = tuple(apiserver_flags)
        self._authority = Authority()
        self._etcd: Process | None = None
        self._apiserver: Process | None = None

    def start(self) -> Self:
        """Start both servers and return when the API server is ready, in two to five seconds.

        Raises:
            ProcessError: a server ended or did not get ready; both are stopped then.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="neptune-envtest-"))
        try:
            self._write_files()
            self._start_etcd()
            self._port = free_port()
            #: Where the API server is; the same after `restart_apiserver`.
            self.url = f"https://127.0.0.1:{self._port}"
            #: A kubeconfig file of an administrator.
            self.kubeconfig = self.user("admin", [ADMIN_GROUP])
            self.start_apiserver()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop both servers and delete their data. A second call does nothing."""
        self.stop_apiserver(graceful=True)
        if self._etcd is not None:
            self._etcd.stop(seconds=STOP_SECONDS)
            self._etcd = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def restart_apiserver(self, *, graceful: bool) -> None:
        """Stop the API server and start it again with the same data, port and certificates."""
        self.stop_apiserver(graceful=graceful)
        self.start_apiserver()

    def stop_apiserver(self, *, graceful: bool) -> None:
        """Leave the API server down until `start_apiserver`, and etcd running.

        Args:
            graceful: True for SIGTERM, which ends running watches properly; False for SIGKILL.
        """
        if self._apiserver is not None:
            if graceful:
                self._apiserver.stop(seconds=STOP_SECONDS)
            else:
                self._apiserver.kill()
            self._apiserver = None

    def start_apiserver(self) -> None:
        """Start the API server on its port, and return when it is ready.

        Raises:
            ProcessError: it ended or did not get ready.
        """
        self._apiserver = Process.start(
            [self._binaries.kube_apiserver, *self._flags(), *self._apiserver_flags],
            log=self._folder / "kube-apiserver.log",
        )
        self._apiserver.wait_until(self._ready, seconds=START_SECONDS)

    def user(self, name: str, groups: Sequence[str] = ()) -> Path:
        """Return a kubeconfig file that authenticates as this user by a client certificate.

        RBAC gives a user nothing before a binding names it or one of its groups.
        """
        pair = self._authority.client(name, groups)
        path = self._folder / f"{name}.kubeconfig"
        self._write(path, json.dumps(_kubeconfig(self.url, self._authority.certificate, name, pair)).encode())
        return path

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the servers that run."""
        return tuple(each.pid for each in (self._etcd, self._apiserver) if each is not None)

    def _write_files(self) -> None:
        serving = self._authority.server()
        probe = self._authority.client("probe", [ADMIN_GROUP])
        for name, content in {
            "ca.crt": self._authority.certificate,
            "apiserver.crt": serving.certificate,
            "apiserver.key": serving.key,
            "service-account.key": signing_key(),
            "probe.pem": probe.certificate + probe.key,
        }.items():
            self._write(self._folder / name, content)
        self._tls = ssl.create_default_context(cadata=self._authority.certificate.decode())
        self._tls.load_cert_chain(self._folder / "probe.pem")

    def _start_etcd(self) -> None:
        self._etcd_port = free_port()
        url = f"http://127.0.0.1:{self._etcd_port}"
        self._etcd = Process.start(
            [
                self._binaries.etcd,
                f"--data-dir={self._folder / 'etcd'}",
                f"--listen-client-urls={url}",
                f"--advertise-client-urls={url}",
                "--listen-peer-urls=http://127.0.0.1:0",
                # The data dies with the test: a crash of the machine may lose it.
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
            log=self._folder / "etcd.log",
        )
        self._etcd.wait_until(lambda: accepts_connections(self._etcd_port), seconds=START_SECONDS)

    def _flags(self) -> list[str]:
        folder = self._folder
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={folder}",
            f"--tls-cert-file={folder / 'apiserver.crt'}",
            f"--tls-private-key-file={folder / 'apiserver.key'}",
            f"--client-ca-file={folder / 'ca.crt'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'service-account.key'}",
            f"--service-account-signing-key-file={folder / 'service-account.key'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            # It refuses pods until the controller manager, which does not run, has made the default account.
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true",
            # One server, and nobody looks for it by the service `kubernetes`.
            "--endpoint-reconciler-type=none",
            "--profiling=false",
        ]

    def _ready(self) -> bool:
        # The server is ready before its own loop has made the namespace that everybody uses first.
        return self._answers("/readyz") and self._answers("/api/v1/namespaces/default")

    def _answers(self, path: str) -> bool:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=2, context=self._tls)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        path.touch(mode=0o600)
        path.write_bytes(content)


def _kubeconfig(url: str, authority: bytes, user: str, pair: KeyPair) -> dict[str, object]:
    """Return a kubeconfig; JSON is YAML, so it needs no library to write."""

    def encoded(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "envtest",
                "cluster": {"server": url, "certificate-authority-data": encoded(authority)},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": encoded(pair.certificate),
                    "client-key-data": encoded(pair.key),
                },
            }
        ],
        "contexts": [{"name": "envtest", "context": {"cluster": "envtest", "user": user}}],
        "current-context": "envtest",
    }
