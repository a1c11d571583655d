"""The manifests in `deploy` on a real API server: it takes them, and the rights in them are enough and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from neptune.cli import cloud_controller, edge_agent
from neptune.cli.settings import Program
from tests.integration.world import World
from tests.support.kubectl import KubectlError, kubectl

DEPLOY = Path(__file__).parents[2] / "deploy"
CLOUD, EDGE = DEPLOY / "cloud" / "cloud-controller.yaml", DEPLOY / "edge" / "daemonset.yaml"
ACCOUNT = "system:serviceaccount:neptune-system:cloud-controller"


def dry_run(path: Path, kubeconfig: Path) -> str:
    return kubectl("apply", "--server-side", "--dry-run=server", "-f", str(path), kubeconfig=kubeconfig)


@pytest.fixture
def system_namespace(kubeconfig: Path) -> None:
    """A dry run creates no namespace for what follows it in the file."""
    manifest = "apiVersion: v1\nkind: Namespace\nmetadata: {name: neptune-system}\n"
    kubectl("apply", "--server-side", "-f", "-", kubeconfig=kubeconfig, stdin=manifest)


@pytest.mark.parametrize(("path", "objects"), [(CLOUD, 9), (EDGE, 2)])
def test_the_api_server_takes_every_object(system_namespace: None, kubeconfig: Path, path: Path, objects: int) -> None:
    assert dry_run(path, kubeconfig).count("serverside-applied") == objects


@pytest.mark.parametrize(("path", "program"), [(CLOUD, cloud_controller.PROGRAM), (EDGE, edge_agent.PROGRAM)])
def test_the_environment_of_each_container_is_the_programs(path: Path, program: Program) -> None:
    (pod,) = [each["spec"]["template"]["spec"] for each in yaml.safe_load_all(path.read_text()) if "template" in
              each.get("spec", {})]  # fmt: skip
    (container,) = pod["containers"]
    environ = {each["name"]: each.get("value", "edge0") for each in container["env"]}
    values, _ = program.load([], environ)
    assert sorted(source for source in values.sources.values() if source != "default") == sorted(environ)
    assert is_locked_down(pod, container)


def is_locked_down(pod: dict[str, Any], container: dict[str, Any]) -> bool:
    context = container["securityContext"]
    return (
        pod["securityContext"]["runAsNonRoot"] is True
        and context["readOnlyRootFilesystem"] is True
        and context["allowPrivilegeEscalation"] is False
        and context["capabilities"] == {"drop": ["ALL"]}
    )


def test_the_controller_works_with_the_rights_of_its_account_and_has_no_others(world: World, tmp_path: Path) -> None:
    kubectl("apply", "--server-side", "-f", str(CLOUD), kubeconfig=world.kubeconfig)
    account = ("cloud-controller", "--namespace", "neptune-system")
    token = kubectl("create", "token", *account, kubeconfig=world.kubeconfig).strip()
    config = yaml.safe_load(world.kubeconfig.read_text())
    config["users"] = [{"name": "account", "user": {"token": token}}]
    for context in config["contexts"]:
        context["context"]["user"] = "account"
    mine = tmp_path / "account.kubeconfig"
    mine.write_text(yaml.safe_dump(config))

    world.kubeconfig, admin = mine, world.kubeconfig
    try:
        world.start_cloud()
    finally:
        world.kubeconfig = admin
    world.start_edge("edge0")
    world.apply("reviews", world.write("reviews.txt", "1\n2\n"), "edge0")
    world.expect_samples("reviews", 2)
    assert "forbidden" not in world.log("cloud-controller")
    for verb, what in (("get", "secrets"), ("delete", "datasets"), ("update", "datasets"), ("create", "pods")):
        with pytest.raises(KubectlError):  # can-i ends with 1 when it prints "no"
            world.kubectl("auth", "can-i", verb, what, "--as", ACCOUNT, "--all-namespaces")
    for what in ("datasets", "federatedtasks", "models"):
        can = world.kubectl("auth", "can-i", "patch", what, "--subresource=status", "--as", ACCOUNT)
        assert can.strip() == "yes", what
