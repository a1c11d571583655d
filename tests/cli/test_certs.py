"""`neptune certs`: what it writes, what it refuses, and that a broker and its clients know each other by it."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from neptune.certs import Authority, expiry
from neptune.transport import Session
from neptune.transport.mqtt import MqttSettings, MqttTransport
from tests.cli.test_neptune import neptune
from tests.support.mosquitto import Mosquitto
from tests.support.transports import closing, connect


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An authority of one's own."""
    folder = tmp_path / "authority"
    assert certs("init", folder).startswith("made the authority")
    return folder


def certs(action: str, folder: Path, *args: str) -> str:
    """Run it, and return what it says."""
    done = neptune("certs", action, *args, "--output-dir", str(folder))
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(action: str, folder: Path, *args: str) -> str:
    """Run it, and return the one line by which it refuses."""
    done = neptune("certs", action, *args, "--output-dir", str(folder))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    return done.stderr


def test_keys_are_for_their_owner_only(folder: Path) -> None:
    for action, args in (("server", ["localhost"]), ("node", ["edge0"]), ("cloud", [])):
        certs(action, folder, *args)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {
        f"{name}.{kind}": mode
        for name in ("ca", "server", "edge0", "neptune-cloud")
        for kind, mode in (("crt", 0o644), ("key", 0o600))
    }


def test_each_step_names_the_next(folder: Path) -> None:
    assert f"neptune certs cloud --output-dir {folder}" in certs("server", folder, "broker.example")
    assert "--ca-file ca.crt --cert-file edge0.crt --key-file edge0.key" in certs("node", folder, "edge0")


def test_without_an_authority_the_first_step_is_named(tmp_path: Path) -> None:
    assert f"run `neptune certs init --output-dir {tmp_path}` first" in refused("node", tmp_path, "edge0")


def test_nothing_is_overwritten_unless_asked(folder: Path) -> None:
    assert "move it away, or give another --output-dir" in refused("init", folder)
    certs("node", folder, "edge0")
    before = (folder / "edge0.crt").read_bytes()
    assert "to replace it, add --renew" in refused("node", folder, "edge0")
    assert (folder / "edge0.crt").read_bytes() == before
    certs("node", folder, "edge0", "--renew")
    assert (folder / "edge0.crt").read_bytes() != before


@pytest.mark.parametrize(
    ("action", "args", "words"),
    [
        ("node", ["Edge0"], "no name of a Kubernetes node"),
        ("node", ["../escape"], "no name of a Kubernetes node"),
        ("node", ["neptune-cloud"], "not for a node"),
        ("node", ["ca"], "not for a node"),
        ("node", ["n" * 65], "64 characters at most"),
        ("server", ["mqtts://broker.example:8883"], "no name or address of a host"),
        ("server", ["localhost", "broker:8883"], "no name or address of a host"),
        ("server", ["b\u00fccher.example"], "no name or address of a host"),
        ("cloud", ["edge0"], "begin with neptune-cloud"),
    ],
)
def test_a_name_that_could_be_somebody_elses_is_refused(folder: Path, action: str, args: list[str], words: str) -> None:
    assert words in refused(action, folder, *args)


def test_a_key_of_another_authority_is_refused(folder: Path, tmp_path: Path) -> None:
    certs("init", tmp_path / "other")
    (folder / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    assert "the authority's key is not that of its certificate" in refused("node", folder, "edge0")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = neptune("certs", "init", "--output-dir", str(tmp_path / "file" / "certs"))
    assert done.returncode == 1
    assert re.fullmatch(r"neptune: cannot make the folder .*\n", done.stderr)


def test_a_leaf_never_outlives_its_authority() -> None:
    authority = Authority.create("short", validity=timedelta(days=3))
    assert expiry(authority.client("edge0").certificate) == expiry(authority.certificate)


def test_keys_are_shown_nowhere(folder: Path) -> None:
    assert "PRIVATE" not in repr(Authority.create("a").client("edge0"))
    assert "PRIVATE" not in certs("node", folder, "edge0")


async def test_a_broker_and_a_node_know_each_other_by_them(
    folder: Path, start_mosquitto: Callable[..., Mosquitto]
) -> None:
    certs("server", folder)
    certs("node", folder, "edge0")
    port = start_mosquitto(
        config=f"cafile {folder}/ca.crt\ncertfile {folder}/server.crt\nkeyfile {folder}/server.key\n"
        "require_certificate true\nuse_identity_as_username true\n"
    ).port
    transport = MqttTransport(
        MqttSettings(
            url=f"mqtts://localhost:{port}",
            client_id="edge0",
            ca_file=folder / "ca.crt",
            cert_file=folder / "edge0.crt",
            key_file=folder / "edge0.key",
        )
    )
    async with closing(transport):
        await connect(transport, Session(("t",)))
