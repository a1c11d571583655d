"""What a url may name, and that nothing outside the roots, and nothing that blocks, is ever opened."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from neptune.edge.paths import open_file, path_of, resolve, stat_file
from neptune.edge.problems import Problem, Reason
from tests.support.missing import needs_root
from tests.support.mounts import hung_mount


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def problem(found: object) -> Problem:
    assert isinstance(found, Problem), found
    return found


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/data/a.txt", "/data/a.txt"),
        ("/data/100%25 #1?.txt", "/data/100%25 #1?.txt"),
        ("file:///data/a.txt", "/data/a.txt"),
        ("FILE://localhost/data/a.txt", "/data/a.txt"),
        ("file:///data/a%20b%23.txt", "/data/a b#.txt"),
        ("file:///data/%ff.txt", os.fsdecode(b"/data/\xff.txt")),
    ],
)
def test_a_url_that_names_a_file_of_this_node(url: str, path: str) -> None:
    assert path_of(url) == path


@pytest.mark.parametrize(
    "url",
    [
        "", None, 7, "data/a.txt", "../a", "s3://bucket/key", "http://host/a", "file:data", "file:/data/a", "file://",
        "file://otherhost/data/a", "file:///a%zz", "file:///a%2", "file:///a?x=1", "file:///a#b", "file:///a%00b",
        "/data/a\0b", "/data/\ud800", "file:///data/\ud800%20",
    ],
)  # fmt: skip
def test_a_url_that_names_none_is_told_what_to_write(url: object) -> None:
    found = problem(path_of(url))
    assert found.reason is Reason.BAD_URL
    assert "\0" not in found.message


def test_a_path_below_a_root_is_resolved(root: Path) -> None:
    (root / "a.txt").touch()
    (root / "link").symlink_to(root / "a.txt")
    assert resolve(f"{root}/x/../link", [str(root)]) == str(root / "a.txt")


def test_a_root_may_be_a_link_itself(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert resolve(f"{root}/a.txt", [str(tmp_path / "alias")]) == str(root / "a.txt")


def test_a_path_outside_is_refused_with_the_flag_to_set(root: Path) -> None:
    found = problem(resolve("/code/data/a.txt", [str(root)]))
    assert found.reason is Reason.OUTSIDE_ROOTS
    assert found.message.endswith(f"outside the agent's roots ({root}): start edge-agent with --root /code/data")


def test_neither_dots_nor_links_nor_a_namesake_lead_out(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    (tmp_path / "root2").mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to(tmp_path)
    for url in (
        f"{root}/../secret",
        f"{root}/link",
        f"{root}/up/secret",
        f"{tmp_path}/root2/a",
        f"file://{root}/%2e%2e/secret",
    ):
        assert problem(resolve(url, [str(root)])).reason is Reason.OUTSIDE_ROOTS, url


def test_a_link_out_is_named_and_where_it_leads_is_not(root: Path, tmp_path: Path) -> None:
    (root / "link").symlink_to(tmp_path / "secret")
    message = problem(resolve(f"{root}/link", [str(root)])).message
    assert f"{root}/link is a link that leads outside" in message
    assert "secret" not in message


def test_a_path_outside_is_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").symlink_to(root / "a.txt")
    assert problem(resolve(f"{tmp_path}/outside", [str(root)])).reason is Reason.OUTSIDE_ROOTS


def test_a_link_that_may_not_be_read_is_a_problem_like_any_other() -> None:
    # The executable of another user's process: reading the link needs the right to trace it (proc(5)).
    assert problem(resolve("/proc/1/exe", ["/proc"])).reason in (Reason.PERMISSION_DENIED, Reason.OUTSIDE_ROOTS)


def test_a_regular_file_is_opened_for_reading(root: Path) -> None:
    (root / "a.txt").write_bytes(b"a")
    fd = open_file(str(root / "a.txt"))
    assert isinstance(fd, int)
    assert os.read(fd, 2) == b"a"
    os.close(fd)


def test_what_is_not_a_regular_file_is_refused_at_once(root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "folder").mkdir()
    (root / "link").symlink_to("folder")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
        for name, kind in (("fifo", "a FIFO"), ("folder", "a directory"), ("socket", "a socket")):
            found = problem(open_file(str(root / name)))
            assert found.reason is Reason.NOT_A_FILE
            assert f"is {kind}" in found.message
    assert problem(open_file("/dev/null")).reason is Reason.NOT_A_FILE
    assert isinstance(open_file(str(root / "link")), Problem)


def test_a_file_that_becomes_a_fifo_between_two_looks_does_not_block(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "a"
    path.touch()
    regular = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(os, "lstat", lambda _path: regular)
    assert problem(open_file(str(path))).reason is Reason.NOT_A_FILE


def test_what_is_missing_is_not_found(root: Path) -> None:
    (root / "file").touch()
    for path in (root / "missing", root / "missing" / "a", root / "file" / "a"):
        assert problem(stat_file(str(path))).reason is Reason.NOT_FOUND


def test_a_file_that_the_agent_may_not_read_names_its_user(root: Path) -> None:
    needs_root()
    path = root / "a"
    path.touch(mode=0o600)
    for folder in (root, *root.parents[:3]):
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        found = problem(open_file(str(path)))
    finally:
        os.seteuid(0)
    assert found.reason is Reason.PERMISSION_DENIED
    assert "uid 65534" in found.message


def test_a_path_longer_than_the_file_system_allows_is_a_bad_url(root: Path) -> None:
    found = problem(stat_file(str(root / ("x" * 300))))
    assert found.reason is Reason.BAD_URL
    assert len(found.message) < 500


def test_a_root_that_hangs_is_no_trouble_for_what_lies_below_another(tmp_path: Path) -> None:
    hung, good = tmp_path / "hung", tmp_path / "good"
    hung.mkdir()
    (good / "sub").mkdir(parents=True)
    (good / "sub" / "a").touch()
    (good / "link").symlink_to("sub")
    with hung_mount(hung):
        found = resolve(f"{good}/link/a", [str(hung / "data"), str(good)])
    assert found == f"{good}/sub/a"


def test_a_folder_that_becomes_a_link_before_the_file_is_opened_leads_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "folder"
    folder.mkdir(parents=True)
    (folder / "a").touch()
    path = resolve(f"{folder}/a", [str(tmp_path / "root")])
    assert isinstance(path, str)
    folder.rename(tmp_path / "outside")
    folder.symlink_to(tmp_path / "outside")
    found = open_file(path)
    assert isinstance(found, Problem)
    assert found.reason is Reason.READ_FAILED
