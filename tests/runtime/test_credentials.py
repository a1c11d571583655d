"""Credentials that change while a client runs, against a real API server that knows a few tokens."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from neptune.api import ResourceType, Unstructured
from neptune.runtime import ApiUnreachable, Client, Unauthorized
from neptune.testing.binaries import Binaries
from neptune.testing.certs import Authority
from neptune.testing.envtest import ControlPlane

SelfSubjectReview = Unstructured.of(
    ResourceType("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", namespaced=False)
)
EXEC_VERSION = "client.authentication.k8s.io/v1"


class TokenPlane(ControlPlane):
    """Knows the tokens `one` and `two` of users of the same name, and can change the authority of its certificate."""

    def __init__(self, binaries: Binaries, folder: Path) -> None:
        tokens = folder / "tokens"
        tokens.write_text("one,one,1\ntwo,two,2\n")
        super().__init__(binaries, apiserver_flags=[f"--token-auth-file={tokens}"])

    @property
    def authority(self) -> Authority:
        return self._authority

    def change_authority(self) -> bytes:
        """Restart with a certificate of another authority, and return that one's."""
        other = Authority("other")
        serving = other.server()
        (self._folder / "apiserver.crt").write_bytes(serving.certificate)
        (self._folder / "apiserver.key").write_bytes(serving.key)
        self._tls = ssl.create_default_context(cadata=other.certificate.decode())
        self._tls.load_cert_chain(self._folder / "probe.pem")
        self.restart_apiserver(graceful=False)
        return other.certificate


@pytest.fixture(scope="module")
def plane(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenPlane]:
    with TokenPlane(binaries, tmp_path_factory.mktemp("tokens")) as plane:
        yield plane


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for better credentials as often as asked, and for a newer token on each request."""
    monkeypatch.setattr("neptune.runtime.http.RELOAD_SECONDS", 0.0)
    monkeypatch.setattr("neptune.runtime.http.AUTHORIZATION_SECONDS", 0.0)


@asynccontextmanager
async def client_of(plane: TokenPlane, folder: Path, **user: Any) -> AsyncIterator[Client]:
    """Give a client whose kubeconfig names the authority by a file, `ca.crt` in the folder."""
    config = json.loads(plane.kubeconfig.read_text())
    (folder / "ca.crt").write_bytes(plane.authority.certificate)
    config["clusters"][0]["cluster"] = {"server": plane.url, "certificate-authority": "ca.crt"}
    config["users"][0]["user"] = user
    (folder / "config").write_text(json.dumps(config))
    client = Client(folder / "config")
    try:
        yield client
    finally:
        await client.close()


async def whoami(client: Client) -> str:
    review = await client.create(SelfSubjectReview())
    return str(review["status"]["userInfo"]["username"])


def plugin(folder: Path, *statuses: dict[str, str]) -> dict[str, Any]:
    """Return an exec plugin that gives one credential after the other, the last one for ever."""
    for number, status in enumerate(statuses):
        credential = {"apiVersion": EXEC_VERSION, "kind": "ExecCredential", "status": status}
        (folder / f"credential-{number}").write_text(json.dumps(credential))
    code = (
        "import pathlib, sys; folder = pathlib.Path(sys.argv[1]); runs = folder / 'runs'; "
        "run = len(runs.read_text()) if runs.exists() else 0; runs.write_text('x' * (run + 1)); "
        f"print((folder / f'credential-{{min(run, {len(statuses) - 1})}}').read_text())"
    )
    return {"apiVersion": EXEC_VERSION, "command": sys.executable, "args": ["-c", code, str(folder)]}


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text())


async def test_an_unknown_or_expired_token_is_unauthorized(plane: TokenPlane, tmp_path: Path) -> None:
    async with client_of(plane, tmp_path, token="nobody") as client:
        with pytest.raises(Unauthorized):
            await whoami(client)


async def test_a_token_file_is_read_again_when_its_token_is_refused(plane: TokenPlane, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("expired")
    async with client_of(plane, tmp_path, tokenFile=str(token)) as client:
        with pytest.raises(Unauthorized):
            await whoami(client)
        token.write_text("one")
        assert await whoami(client) == "one"


async def test_an_exec_plugin_runs_again_when_its_token_expires_and_not_before(
    plane: TokenPlane, tmp_path: Path
) -> None:
    ended = {"token": "one", "expirationTimestamp": "2020-01-01T00:00:00Z"}
    lasting = {"token": "two", "expirationTimestamp": "2099-01-01T00:00:00Z"}
    async with client_of(plane, tmp_path, exec=plugin(tmp_path, ended, ended, lasting)) as client:
        names = [await whoami(client) for _ in range(4)]
    assert (names[0], names[-1], runs(tmp_path)) == ("one", "two", 3)


async def test_an_exec_plugin_runs_again_when_its_token_is_refused(plane: TokenPlane, tmp_path: Path) -> None:
    async with client_of(plane, tmp_path, exec=plugin(tmp_path, {"token": "revoked"}, {"token": "one"})) as client:
        assert [await whoami(client), await whoami(client)] == ["one", "one"]
    assert runs(tmp_path) == 2


async def test_an_exec_plugin_may_give_a_client_certificate_and_a_newer_one_later(
    plane: TokenPlane, tmp_path: Path
) -> None:
    statuses = [
        {"clientCertificateData": pair.certificate.decode(), "clientKeyData": pair.key.decode()}
        for pair in (Authority("stranger").client("three"), plane.authority.client("three"))
    ]
    async with client_of(plane, tmp_path, exec=plugin(tmp_path, *statuses)) as client:
        assert await whoami(client) == "three"
    assert runs(tmp_path) == 2


async def test_an_exec_plugin_that_hangs_is_named(
    plane: TokenPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.http.LOAD_SECONDS", 0.2)
    hanging = {"apiVersion": EXEC_VERSION, "command": sys.executable, "args": ["-c", "import time; time.sleep(1)"]}
    async with client_of(plane, tmp_path, exec=hanging) as client:
        with pytest.raises(ApiUnreachable, match=r"did not come within 0\.2 s; run the exec plugin"):
            await whoami(client)


@pytest.mark.parametrize("inline", [False, True], ids=["files", "inline"])
async def test_a_client_certificate_is_read_again_when_it_is_refused(
    plane: TokenPlane, tmp_path: Path, *, inline: bool
) -> None:
    def user(authority: Authority) -> dict[str, str]:
        pair = authority.client("four")
        if inline:
            parts = {"client-certificate-data": pair.certificate, "client-key-data": pair.key}
            return {name: base64.b64encode(pem).decode() for name, pem in parts.items()}
        (tmp_path / "four.crt").write_bytes(pair.certificate)
        (tmp_path / "four.key").write_bytes(pair.key)
        return {"client-certificate": "four.crt", "client-key": "four.key"}

    async with client_of(plane, tmp_path, **user(Authority("stranger"))) as client:
        with pytest.raises(Unauthorized):
            await whoami(client)
        config = json.loads((tmp_path / "config").read_text())
        config["users"][0]["user"] = user(plane.authority)
        (tmp_path / "config").write_text(json.dumps(config))
        assert await whoami(client) == "four"


async def test_a_pod_uses_its_service_account_and_its_newest_token(
    plane: TokenPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("expired")
    authority.write_bytes(plane.authority.certificate)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(urlsplit(plane.url).port))
    monkeypatch.setattr("neptune.runtime.kubeconfig.SERVICE_ACCOUNT", tmp_path)
    client = Client()
    with pytest.raises(Unauthorized):
        await whoami(client)
    token.write_text("two")
    assert await whoami(client) == "two"
    await client.close()


async def test_an_authority_that_was_replaced_is_read_again(binaries: Binaries, tmp_path: Path) -> None:
    with TokenPlane(binaries, tmp_path) as own:
        async with client_of(own, tmp_path, token="one") as client:
            assert await whoami(client) == "one"
            replaced = await asyncio.to_thread(own.change_authority)
            with pytest.raises(ApiUnreachable, match="check certificate-authority"):
                await whoami(client)
            (tmp_path / "ca.crt").write_bytes(replaced)
            assert await whoami(client) == "one"
