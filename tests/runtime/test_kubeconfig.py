"""How kubeconfigs are read and merged: as `kubectl config view` shows them."""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from neptune.runtime import kubeconfig
from neptune.runtime.access import load_access
from tests.runtime.widgets import write_kubeconfig

SERVER = "https://127.0.0.1:1"


def entry(folder: Path, cluster: dict[str, Any] | None = None, **user: Any) -> kubeconfig.Entry:
    """Return what a kubeconfig in the folder says."""
    path = write_kubeconfig(folder / "config", SERVER, **user)
    config = json.loads(path.read_text())
    config["clusters"][0]["cluster"] |= cluster or {}
    path.write_text(json.dumps(config))
    return kubeconfig.read([path])


def test_of_several_files_the_first_that_has_an_entry_counts(tmp_path: Path) -> None:
    first = write_kubeconfig(tmp_path / "first", SERVER, token="one")
    second = write_kubeconfig(tmp_path / "second", "https://127.0.0.1:2", token="two")
    config = json.loads(first.read_text())
    for without in ("current-context", "clusters"):
        del config[without]
    first.write_text(json.dumps(config))
    merged = kubeconfig.read([tmp_path / "missing", first, second])
    assert (merged.server, merged.header) == ("https://127.0.0.1:2", "Bearer one")


def test_paths_are_relative_to_the_file_that_they_stand_in(tmp_path: Path) -> None:
    for name in ("ca.crt", "me.crt", "me.key", "token"):
        (tmp_path / name).write_text(name)
    found = entry(
        tmp_path,
        {"certificate-authority": "ca.crt"},
        **{"client-certificate": "me.crt", "client-key": "me.key", "tokenFile": "token"},
    )
    assert (found.authority, found.certificate, found.key) == (b"ca.crt", b"me.crt", b"me.key")
    assert found.authorization() == "Bearer token"


def test_data_counts_before_a_file(tmp_path: Path) -> None:
    data = base64.b64encode(b"inline").decode()
    found = entry(tmp_path, {"certificate-authority": "missing", "certificate-authority-data": data})
    assert found.authority == b"inline"


def test_a_token_file_is_read_each_time_and_counts_before_a_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    found = entry(tmp_path, token="fixed", tokenFile=str(token))
    assert found.authorization() == "Bearer old"
    token.write_text("new\n")
    assert found.authorization() == "Bearer new"


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({}, None),
        ({"token": "secret"}, "Bearer secret"),
        ({"username": "me", "password": "ü"}, f"Basic {base64.b64encode('me:ü'.encode()).decode()}"),
    ],
    ids=["nobody", "token", "password"],
)
def test_the_header_says_who_the_user_is(tmp_path: Path, user: dict[str, Any], header: str | None) -> None:
    assert entry(tmp_path, **user).authorization() == header


def test_a_context_may_name_no_user_or_one_that_is_missing(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", SERVER, token="one")
    config = json.loads(path.read_text())
    users: list[dict[str, str]] = [{}, {"user": "nobody"}]
    for user in users:
        config["contexts"][0]["context"] = {"cluster": "test", **user}
        path.write_text(json.dumps(config))
        assert kubeconfig.read([path]).authorization() is None


@pytest.mark.parametrize("by", ["exec", "auth-provider"])
def test_who_logs_in_by_a_plugin_is_told_apart(tmp_path: Path, by: str) -> None:
    assert not entry(tmp_path, token="secret").plugin
    assert entry(tmp_path, **{by: {"command": "log-in"}}).plugin


@pytest.mark.parametrize(
    ("server", "environment", "proxy"),
    [
        ("https://10.1.2.3", {"https_proxy": "http://proxy:1"}, "http://proxy:1"),
        ("HTTPS://10.1.2.3", {"https_proxy": "http://proxy:1"}, "http://proxy:1"),
        ("https://10.1.2.3", {"HTTPS_PROXY": "proxy:1"}, "http://proxy:1"),
        ("https://10.1.2.3", {"http_proxy": "http://proxy:1", "ALL_PROXY": "socks5://proxy:2"}, None),
        ("http://10.1.2.3", {"http_proxy": "http://proxy:1"}, "http://proxy:1"),
        ("https://127.0.0.2:6443", {"https_proxy": "http://proxy:1"}, None),
        ("https://[::1]:6443", {"https_proxy": "http://proxy:1"}, None),
        ("https://localhost", {"https_proxy": "http://proxy:1"}, None),
        ("https://10.1.2.3", {"https_proxy": "http://proxy:1", "no_proxy": ".svc, 10.0.0.0/8"}, None),
        ("https://[fd00::1]", {"https_proxy": "http://proxy:1", "no_proxy": "10.0.0.0/8,fd00::/8"}, None),
        ("https://11.1.2.3", {"https_proxy": "http://proxy:1", "no_proxy": "10.0.0.0/8"}, "http://proxy:1"),
        ("https://kube.example.com", {"https_proxy": "http://proxy:1", "no_proxy": "example.com"}, None),
        ("https://kube.example.com:6443", {"https_proxy": "http://proxy:1", "no_proxy": "example.com:6443"}, None),
        ("https://kube.example.com", {"https_proxy": "http://proxy:1", "no_proxy": "*"}, None),
    ],
    ids=str,
)
def test_the_environment_names_a_proxy_as_for_kubectl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, environment: dict[str, str], proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert entry(tmp_path, {"server": server}).proxy == proxy


def test_the_proxy_of_a_cluster_counts_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    monkeypatch.setenv("no_proxy", "*")
    path = write_kubeconfig(tmp_path / "config", SERVER)
    config = json.loads(path.read_text())
    config["clusters"][0]["cluster"]["proxy-url"] = "http://proxy:2"
    path.write_text(json.dumps(config))
    assert load_access(path).proxy == "http://proxy:2"


def test_a_file_that_is_empty_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    config = write_kubeconfig(tmp_path / "config", SERVER)
    assert kubeconfig.read([tmp_path / "empty", config]).server == SERVER


@pytest.mark.parametrize("name", ["server", "certificate-authority", "certificate-authority-data", "proxy-url"])
@pytest.mark.parametrize("value", [5, ["a"], True], ids=str)
def test_what_should_be_a_text_is_named_when_it_is_none(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} of cluster test is not a text"):
        entry(tmp_path, {name: value})


def test_tls_is_spoken_whatever_the_case_of_the_scheme(tmp_path: Path) -> None:
    assert isinstance(load_access(write_kubeconfig(tmp_path / "config", "HTTPS://kube")).tls, ssl.SSLContext)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"clusters": []}, "no cluster named 'test', only none"),
        ({"clusters": [{"name": "test"}]}, "cluster test has no server"),
        ({"clusters": ["test"]}, "an entry of clusters is not a mapping"),
        ({"users": {"test": {}}}, "users of .*config is not a list"),
        ({"users": [{"name": "test", "user": 3}]}, "user test is not a mapping"),
        ({"users": [{"name": "test", "user": {"tokenFile": 3}}]}, "tokenFile of user test is not a text"),
        ({"users": [{"name": "test", "user": {"client-key-data": "abc"}}]}, "client-key-data is no base64"),
        ({"current-context": ["test"]}, "current-context of .*config is not a text"),
        ({"contexts": [{"name": "test", "context": {"cluster": ["a"]}}]}, "cluster of context test is not a text"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    path = write_kubeconfig(tmp_path / "config", SERVER)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=problem):
        kubeconfig.read([path])


def test_a_pod_reaches_its_server_by_either_kind_of_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    for name in ("token", "ca.crt"):
        (tmp_path / name).write_text(name)
    for host, server in (("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")):
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        found = kubeconfig.service_account()
        assert found
        assert (found.server, found.authorization(), found.authority) == (server, "Bearer token", b"ca.crt")
    (tmp_path / "token").unlink()
    assert kubeconfig.service_account() is None
