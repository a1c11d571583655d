from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.kubectl import KubectlError, kubectl

from neptune.testing.binaries import Binaries, find_kubectl
from neptune.testing.envtest import ControlPlane
from neptune.testing.processes import ProcessError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def plane(binaries: Binaries) -> Iterator[ControlPlane]:
    """Give a control plane that the test may restart."""
    with ControlPlane(binaries) as plane:
        yield plane


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def gone_within(pids: tuple[int, ...], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


def test_api_server_answers_with_its_version(control_plane: ControlPlane, binaries: Binaries) -> None:
    versions = json.loads(kubectl("version", "--output=json", kubeconfig=control_plane.kubeconfig))
    server, client = versions["serverVersion"]["gitVersion"], versions["clientVersion"]["gitVersion"]
    assert server.startswith("v1.")
    kubectl_is_the_pairs_own = find_kubectl(os.environ) == binaries.etcd.parent / "kubectl"
    assert client == server or not kubectl_is_the_pairs_own


def test_stranger_does_not_trust_the_server(control_plane: ControlPlane) -> None:
    port = int(control_plane.url.rpartition(":")[2])
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        connection.request("GET", "/version")
    connection.close()


def test_user_without_a_role_is_refused_and_with_one_is_served(control_plane: ControlPlane, namespace: str) -> None:
    admin, ada = control_plane.kubeconfig, control_plane.user("ada", ["readers"])
    with pytest.raises(KubectlError, match='User "ada" cannot list resource "configmaps"'):
        kubectl("get", "configmaps", "--namespace", namespace, kubeconfig=ada)

    kubectl("create", "role", "r", "--verb=list", "--resource=configmaps", "-n", namespace, kubeconfig=admin)
    kubectl("create", "rolebinding", "r", "--role=r", "--group=readers", "-n", namespace, kubeconfig=admin)

    # RBAC reads its rules through a cache, which follows within moments.
    deadline = time.monotonic() + 10
    while not (allowed := can_list(ada, namespace)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert allowed


def can_list(user: Path, namespace: str) -> bool:
    try:
        kubectl("get", "configmaps", "--namespace", namespace, kubeconfig=user)
    except KubectlError:
        return False
    return True


@pytest.mark.parametrize("graceful", [True, False], ids=["SIGTERM", "SIGKILL"])
def test_restart_keeps_data_and_address(plane: ControlPlane, graceful: bool) -> None:
    name, url, pids = f"kept-{graceful}".lower(), plane.url, plane.pids
    kubectl("create", "configmap", name, "--from-literal=a=1", kubeconfig=plane.kubeconfig)

    plane.restart_apiserver(graceful=graceful)

    assert plane.url == url
    assert plane.pids[1] != pids[1]
    assert kubectl("get", "configmap", name, "--output=name", kubeconfig=plane.kubeconfig)


def test_stop_leaves_no_process_and_no_file(binaries: Binaries) -> None:
    plane = ControlPlane(binaries).start()
    pids, folder = plane.pids, plane.kubeconfig.parent

    plane.stop()

    assert len(pids) == 2
    assert not any(map(alive, pids))
    assert not folder.exists()


def test_failed_start_says_why_and_leaves_no_process(
    binaries: Binaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ProcessError, match="unknown flag: --no-such-flag"):
        ControlPlane(binaries, apiserver_flags=["--no-such-flag"]).start()
    assert list(tmp_path.iterdir()) == []


def test_servers_die_with_a_parent_that_is_killed(binaries: Binaries) -> None:
    script = """
import pathlib, sys, time
from neptune.testing.binaries import Binaries
from neptune.testing.envtest import ControlPlane
plane = ControlPlane(Binaries(*map(pathlib.Path, sys.argv[1:]))).start()
print(*plane.pids, plane.kubeconfig.parent, flush=True)
time.sleep(600)
"""
    command = [sys.executable, "-c", script, str(binaries.etcd), str(binaries.kube_apiserver)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        *pids, folder = parent.stdout.readline().split()
        parent.kill()
    try:
        assert gone_within(tuple(map(int, pids)), seconds=5)
    finally:
        subprocess.run(["rm", "-r", folder], check=True)
