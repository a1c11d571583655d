"""What of a kubeconfig cannot be used, and what is loaded to read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from neptune.errors import SettingsError
from neptune.runtime.access import load_access
from tests.runtime.widgets import write_kubeconfig


def test_a_missing_kubeconfig_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"no kubeconfig at .*nowhere: pass its path"):
        load_access(tmp_path / "nowhere")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "elsewhere"))
    with pytest.raises(SettingsError, match="elsewhere"):
        load_access()


@pytest.mark.parametrize("content", ["", "just text", "a: [", "{}", "- 1", "contexts: 3\ncurrent-context: a"])
def test_a_malformed_kubeconfig_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(SettingsError, match=f"kubeconfig {path} cannot be used"):
        load_access(path)


def test_a_context_that_is_not_there_is_named_and_another_can_be_chosen(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    with pytest.raises(SettingsError, match=r"nope.*kubectl config use-context"):
        load_access(path, "nope")
    config = json.loads(path.read_text())
    del config["current-context"]
    path.write_text(json.dumps(config))
    with pytest.raises(SettingsError, match="current-context"):
        load_access(path)
    assert load_access(path, "test").url == "http://127.0.0.1:1"


def test_kubeconfig_variable_may_list_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}{os.pathsep}{path}")
    assert load_access().url == "http://127.0.0.1:1"


@pytest.mark.parametrize("user", [{}, {"token": "secret"}, {"exec": {"command": "true"}}], ids=str)
def test_kubernetes_is_loaded_for_log_ins_by_plugin_alone_and_without_its_models(
    tmp_path: Path, user: dict[str, object]
) -> None:
    path = write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1", **user)
    code = (
        f"import sys; from neptune.runtime.access import load_access; load_access({str(path)!r}); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert ("kubernetes" in loaded) == ("exec" in user)
    assert not [name for name in loaded if name.startswith(("kubernetes.client.models.", "kubernetes.client.api."))]
