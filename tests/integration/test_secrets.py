"""A password and a private key stay where they were: not in logs, messages, state or the list of processes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.integration.world import World
from tests.support.mosquitto import Mosquitto

SECRET = "correct-horse-battery"
WRONG = "staple-horse-battery"


@pytest.fixture
def password_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "password"
    path.write_text(f"{SECRET}\n")
    return path


@pytest.fixture
def guarded(
    crds: None, kubeconfig: Path, namespace: str, start_mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> Iterator[World]:
    """A world whose broker wants a password."""
    passwords = tmp_path / "passwords"
    for flags, user in ((["-c"], "cloud"), ([], "edge0")):
        subprocess.run(["mosquitto_passwd", "-b", *flags, passwords, user, SECRET], check=True, timeout=10)
    built = World(kubeconfig, namespace, start_mosquitto(config=f"password_file {passwords}\n"), tmp_path)
    yield built
    built.stop()


def test_secrets_are_nowhere_but_in_their_file(guarded: World, password_file: Path, tmp_path: Path) -> None:
    heard: list[bytes] = []
    listener = Client(CallbackAPIVersion.VERSION2)
    listener.username_pw_set("cloud", SECRET)
    listener.on_message = lambda _client, _userdata, message: heard.append(bytes(message.payload))
    listener.connect("127.0.0.1", guarded.broker.port)
    listener.subscribe([("#", 1), ("$hw/#", 1)])
    listener.loop_start()
    wrong = tmp_path.parent / f"{tmp_path.name}-wrong"
    wrong.write_text(WRONG)
    try:
        flags = ("--password-file", str(password_file))
        guarded.start_cloud("--username", "cloud", *flags)
        guarded.start_edge("edge0", "--username", "edge0", *flags)
        guarded.start_edge("edge1", "--username", "edge1", "--password-file", str(wrong))
        guarded.apply("data", guarded.write("data.txt", "1\n2\n"), "edge0")
        guarded.expect_samples("data", 2)
        assert "not authorised" in guarded.expect_log("edge1", "broker unreachable")
        told = {f"message {number}": payload for number, payload in enumerate(heard)}
        told["status"] = guarded.kubectl("get", "datasets", "-o", "yaml").encode()
        for name, process in guarded.processes.items():
            for part in ("cmdline", "environ"):
                told[f"{part} of {name}"] = Path(f"/proc/{process.pid}/{part}").read_bytes()
    finally:
        listener.loop_stop()
        listener.disconnect()
    guarded.stop()
    told |= {str(path): path.read_bytes() for path in guarded.folder.rglob("*") if path.is_file()}
    assert heard
    assert len(told) > 8
    leaks = [where for where, what in told.items() for secret in (SECRET, WRONG) if secret.encode() in what]
    assert not leaks


def test_the_list_of_settings_names_the_file_and_not_what_is_in_it(guarded: World, password_file: Path) -> None:
    shown = guarded.run("edge-agent", "config", "--username", "edge0", "--password-file", str(password_file))
    assert str(password_file) in shown.stdout
    assert SECRET not in shown.stdout + shown.stderr


def test_a_password_in_the_address_is_refused_and_not_repeated(guarded: World) -> None:
    for url in (f"mqtt://edge0:{SECRET}@broker", f"mqtt://a,mqtts://edge0:{SECRET}@broker:1"):
        done = guarded.run("edge-agent", "--broker", url)
        assert done.returncode == 2
        assert "give user and password by themselves" in done.stderr
        assert SECRET not in done.stdout + done.stderr
