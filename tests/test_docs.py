"""Every block of the guides is run as a reader would run it, section by section; see `tests/support/pages.py`."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from neptune.api import FederatedTask, Resource, ResourceKey
from neptune.runtime import Client, Context, Manager, Query
from neptune.testing.crds import install_crds
from neptune.testing.processes import free_port
from tests.support.kubectl import kubectl
from tests.support.pages import ROOT, Block, blocks, check_session, run_snippet

#: They build on each other's files.
GUIDE = [*blocks("docs/library.md"), *blocks("docs/coming-from.md")]
SECTIONS = list(dict.fromkeys(block.section for block in GUIDE))
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


@pytest.fixture(scope="module")
def website(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give the module that the guide is about, from a folder that stays while its classes are in use."""
    folder = tmp_path_factory.mktemp("guide")
    write_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("website")
        del sys.modules["website"]


def write_files(folder: Path) -> None:
    for block in GUIDE:
        if block.file:
            (folder / block.file).write_text(block.text)


@pytest.fixture
def reader_s_kubeconfig(kubeconfig: Path, namespace: str, tmp_path: Path) -> Path:
    """Give a kubeconfig whose namespace is the test's own, so that sections do not meet."""
    config = yaml.safe_load(kubeconfig.read_text())
    for context in config["contexts"]:
        context["context"]["namespace"] = namespace
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@asynccontextmanager
async def reconciling(website: Any, kubeconfig: Path, namespace: str) -> AsyncIterator[dict[str, Any]]:
    """Give what a snippet has at hand: a manager that runs, and the `ctx` and `key` of a call for a Website."""
    called: asyncio.Future[tuple[Context, ResourceKey]] = asyncio.get_running_loop().create_future()

    async def capture(ctx: Context, key: ResourceKey) -> None:
        if not called.done():  # afterwards the object is the snippets'
            await website.reconcile(ctx, key)
            called.set_result((ctx, key))

    home = yaml.safe_load(next(block.text for block in GUIDE if block.file == "home.yaml"))
    home["metadata"]["namespace"] = namespace
    manager = Manager(kubeconfig=kubeconfig)
    manager.controller(Query(website.Website, namespace), capture, owns=[Query(website.ConfigMap, namespace)])
    await manager.start()
    try:
        await manager.client.apply(website.Website.from_dict(home), force=True)
        ctx, key = await asyncio.wait_for(called, 20)
        async with asyncio.timeout(20):
            while not ((site := ctx.cache.get(website.Website, key)) and site.status.size):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield {"ctx": ctx, "key": key, "manager": manager}
    finally:
        await manager.stop()


async def run_snippets(section: list[Block], names: dict[str, Any]) -> None:
    for block, following in pairwise([*section, None]):
        if block is None or block.language != "python" or block.file:
            continue
        printed = await run_snippet(block, names)
        expected = following.text if following is not None and following.language == "text" else ""
        assert printed == expected, f"the snippet at line {block.line}"


async def install(kubeconfig: Path, *classes: type[Resource]) -> None:
    client = Client(kubeconfig)
    try:
        await install_crds(client, *classes)
    finally:
        await client.close()


@pytest.mark.parametrize("section", SECTIONS)
async def test_a_section_of_the_guide_does_what_it_says(
    section: str,
    website: Any,
    reader_s_kubeconfig: Path,
    namespace: str,
    shell_env: dict[str, str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if section == "Testing":
        request.getfixturevalue("binaries")  # the reader's tests start a control plane of their own
    mine = [block for block in GUIDE if block.section == section]
    folder = tmp_path / "reader"
    folder.mkdir()
    write_files(folder)
    await install(reader_s_kubeconfig, website.Website)
    env = {**shell_env, "KUBECONFIG": str(reader_s_kubeconfig), "PORT": str(free_port())}
    for block in mine:
        if block.language == "console":
            await asyncio.to_thread(check_session, block.session, env, folder, tmp_path / "errors.log")
    if any(block.language == "python" and not block.file for block in mine):
        request.getfixturevalue("monkeypatch").setenv("KUBECONFIG", str(reader_s_kubeconfig))
        async with reconciling(website, reader_s_kubeconfig, namespace) as names:
            await run_snippets(mine, names)


def test_each_file_and_section_of_the_guides_has_a_name_of_its_own() -> None:
    files = [block.file for block in GUIDE if block.file]
    assert len(files) == len(set(files))
    headings = [heading for page in ("library", "coming-from") for heading in headings_of(ROOT / "docs" / f"{page}.md")]
    assert len(headings) == len(set(headings))


@pytest.mark.parametrize("file", [block.file for block in GUIDE if block.file.endswith(".py")])
def test_programs_of_the_guides_are_python(file: str) -> None:
    compile(next(block.text for block in GUIDE if block.file == file), file, "exec")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    lost = []
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)", text):
        path = (ROOT / page).parent / target if target else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            lost.append(f"{target}#{anchor}")
    assert lost == []


def anchors(page: Path) -> set[str]:
    """Return what a link may name in a page, as GitHub makes it of a heading."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings_of(page)}


def headings_of(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", re.sub(r"(?ms)^```.*?^```$", "", page.read_text()), re.MULTILINE)


async def test_the_page_about_tasks_shows_a_task_that_is_taken_and_the_example_as_it_is(
    with_datasets: Path, namespace: str
) -> None:
    await install(with_datasets, FederatedTask)
    (manifest,) = (block.text for block in blocks("docs/tasks.md") if block.language == "yaml")
    made = kubectl("-n", namespace, "apply", "-f", "-", kubeconfig=with_datasets, stdin=manifest)
    assert made == "federatedtask.neptune.io/digits created\n"
    (kind,) = (block.text for block in blocks("docs/tasks.md") if block.language == "python")
    assert kind in (ROOT / "examples" / "inference_jobs.py").read_text()
