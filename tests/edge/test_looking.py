"""Which files a dataset has, and what a look tells of them, on real files."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neptune.edge import looking
from neptune.edge.counting import Checkpoint, FileCount
from neptune.edge.looking import Content, Work, has_changed, look
from neptune.edge.problems import Problem, Reason
from tests.support.missing import missing, needs_root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def count(root: Path, url: object, known: Content | None = None, format_: str = "txt") -> Content | Problem:
    """Look, count what has to be counted, and return what is then known."""
    outcome = look(url, format_, [str(root)], known).outcome
    if not isinstance(outcome, Work):
        return outcome
    files = dict(outcome.held)
    for target in outcome.targets:
        found = FileCount(target).step(60.0)
        assert isinstance(found, Checkpoint)
        files[target.path] = found
    return Content(files)


def samples(root: Path, url: object, known: Content | None = None) -> int:
    found = count(root, url, known)
    assert isinstance(found, Content), found
    return found.samples


def reason(root: Path, url: object) -> Reason:
    found = count(root, url)
    assert isinstance(found, Problem), found
    return found.reason


def test_a_directory_counts_as_the_sum_of_its_files(root: Path) -> None:
    (root / "a.txt").write_bytes(b"1\n2\n")
    (root / "b.txt").write_bytes(b"3")
    (root / ".hidden").write_bytes(b"4\n")
    (root / "below").mkdir()
    (root / "below" / "c.txt").write_bytes(b"5\n")
    assert samples(root, f"{root}") == samples(root, f"file://{root}/") == 3


def test_a_pattern_counts_the_files_that_match(root: Path) -> None:
    for name in ("train-0.txt", "train-1.txt", "eval-0.txt", ".train-2.txt"):
        (root / name).write_bytes(b"1\n2\n")
    assert samples(root, f"{root}/train-*.txt") == 4
    assert samples(root, f"{root}/train-[1-9].txt") == 2
    (root / "sub").mkdir()
    (root / "sub" / "train-7.txt").write_bytes(b"1\n")
    assert samples(root, f"{root}/*/train-?.txt") == 1


def test_a_path_that_exists_as_it_is_written_is_no_pattern(root: Path) -> None:
    (root / "a[1].txt").write_bytes(b"1\n2\n")
    (root / "a1.txt").write_bytes(b"1\n")
    assert samples(root, f"{root}/a[1].txt") == 2


def test_an_empty_directory_has_no_samples_and_a_pattern_without_a_match_is_a_problem(root: Path) -> None:
    assert samples(root, str(root)) == 0
    assert reason(root, f"{root}/*.txt") is Reason.NOT_FOUND


def test_files_come_and_go_and_only_what_changed_is_counted(root: Path) -> None:
    for name in ("a", "b"):
        (root / name).write_bytes(b"1\n")
    first = count(root, str(root))
    assert isinstance(first, Content)
    (root / "c").write_bytes(b"1\n2\n3\n")
    (root / "a").unlink()
    work = look(str(root), "txt", [str(root)], first).outcome
    assert isinstance(work, Work)
    assert ([target.path for target in work.targets], list(work.held)) == ([f"{root}/c"], [f"{root}/b"])
    assert samples(root, str(root), first) == 4


def test_a_link_in_a_directory_counts_once_with_its_file(root: Path) -> None:
    (root / "a").write_bytes(b"1\n")
    (root / "b").symlink_to("a")
    assert samples(root, str(root)) == 1


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


ODD: dict[str, tuple[Callable[[Path], object], Reason]] = {
    "a link that leads out": (lambda path: path.symlink_to("/etc/hostname"), Reason.OUTSIDE_ROOTS),
    "a link to a folder outside": (lambda path: path.symlink_to("/etc/hosts"), Reason.OUTSIDE_ROOTS),
    "a link that leads nowhere": (lambda path: path.symlink_to("nowhere"), Reason.NOT_FOUND),
    "a FIFO": (os.mkfifo, Reason.NOT_A_FILE),
    "a socket": (_socket, Reason.NOT_A_FILE),
}


@pytest.mark.parametrize(("make", "expected"), ODD.values(), ids=ODD.keys())
def test_what_must_not_be_opened_is_refused_by_itself_in_a_folder_and_in_a_pattern(
    root: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], expected: Reason
) -> None:
    monkeypatch.chdir(root)  # the name of a socket has a limit
    make(Path("odd"))
    (root / "good").write_bytes(b"1\n")
    assert {reason(root, url) for url in (f"{root}/odd", str(root), f"{root}/o*")} == {expected}


def test_a_device_is_refused(root: Path) -> None:
    try:
        os.mknod(root / "zero", 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        missing("only root can make a device, and not in every container")
    assert reason(root, f"{root}/zero") is Reason.NOT_A_FILE


@pytest.mark.parametrize("url", ["{}/../../etc/*", "{}/*/../../../etc/host*", "/etc/*", "{}/../*"])
def test_a_pattern_cannot_lead_out(root: Path, url: str) -> None:
    (root / "sub").mkdir()
    assert reason(root, url.format(root)) is Reason.OUTSIDE_ROOTS


def test_a_pattern_with_folders_takes_what_a_shell_would(root: Path) -> None:
    for name in ("a/x/1.txt", "a/y/2.txt", "b/x/3.txt", ".c/x/4.txt", "b/x/.5.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"1\n")
    (root / "file").write_bytes(b"1\n")
    assert samples(root, f"{root}/*/x/*.txt") == 2
    assert samples(root, f"{root}/*/[xy]/*") == 3
    assert samples(root, f"{root}/.*/x/4.txt") == 1
    assert samples(root, f"{root}/**/y/2.txt") == 1
    assert reason(root, f"{root}/f*/none") is Reason.NOT_FOUND


@pytest.mark.parametrize(("pattern", "mode"), [("*/f.txt", 0o700), ("b/*.txt", 0o711)])
def test_a_pattern_leaves_no_folder_out_that_may_not_be_read(pattern: str, mode: int) -> None:
    needs_root()
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own folder is closed to others
        root = Path(name)
        root.chmod(0o755)
        for folder in ("a", "b"):
            (root / folder).mkdir()
            (root / folder / "f.txt").write_bytes(b"1\n")
        (root / "b").chmod(mode)
        os.seteuid(65534)
        try:
            found = count(root, f"{root}/{pattern}")
        finally:
            os.seteuid(0)
    assert isinstance(found, Problem)
    assert found.reason is Reason.PERMISSION_DENIED
    assert f"{root}/b" in found.message


def test_more_files_than_a_dataset_may_have_are_a_problem(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MAX_FILES", 3)
    for number in range(3):
        (root / str(number)).touch()
    assert samples(root, str(root)) == 0
    (root / "3").touch()
    assert reason(root, str(root)) is Reason.TOO_LARGE


def test_the_fingerprint_is_that_of_the_files_not_of_their_names(root: Path) -> None:
    prints = []
    for names in (("a", "b"), ("x", "y"), ("y", "x")):
        folder = root / "".join(names)
        folder.mkdir()
        for name, data in zip(names, (b"1\n", b"2\n"), strict=True):
            (folder / name).write_bytes(data)
        found = count(root, str(folder))
        assert isinstance(found, Content)
        prints.append(found.fingerprint())
    assert len(set(prints)) == 1


def test_stamps_tell_of_every_change_and_of_nothing_else(root: Path) -> None:
    file = root / "a"
    file.write_bytes(b"1\n")
    for url in (str(file), str(root)):
        known = count(root, url)
        assert isinstance(known, Content)
        time.sleep(0.03)
        stamps = look(url, "txt", [str(root)], known).stamps
        assert stamps is not None
        assert not has_changed(stamps)
        file.write_bytes(b"2\n")
        assert has_changed(stamps)
    absent = look(f"{root}/none", "txt", [str(root)], None).stamps
    assert absent == ((f"{root}/none", errno.ENOENT),)


def test_a_folder_that_was_changed_this_moment_has_no_stamps_to_trust(root: Path) -> None:
    time.sleep(0.03)
    known = count(root, str(root))
    assert isinstance(known, Content)
    (root / "a").touch()
    (root / "a").unlink()
    assert look(str(root), "txt", [str(root)], known).stamps is None


@pytest.mark.parametrize(("link", "is_plain"), [(False, True), (True, False)])
def test_what_lies_behind_a_link_is_not_plain(root: Path, link: bool, is_plain: bool) -> None:
    (root / "real").mkdir()
    (root / "real" / "a").write_bytes(b"1\n")
    (root / "link").symlink_to("real")
    url = f"{root}/{'link' if link else 'real'}/a"
    assert look(url, "txt", [str(root)], None).is_plain is is_plain


def test_an_unknown_format_is_known_to_be_unknown_without_a_look(root: Path) -> None:
    found = look(f"{root}/a", "parquet", [str(root)], None)
    assert isinstance(found.outcome, Problem)
    assert found.outcome.reason is Reason.UNKNOWN_FORMAT
    assert found.stamps == ()


words = st.text(max_size=20) | st.text("/.%~:?#a\0\ud800\udc80", max_size=30)
urls = words | words.map("/{}".format) | words.map("file:///{}".format) | st.none() | st.integers() | st.lists(words)


@settings(deadline=None)
@given(url=urls, format_=urls | st.just("txt"))
def test_no_spec_whatever_makes_a_look_fail(url: object, format_: object) -> None:
    found = look(url, format_, ["/proc/self/task"], None)
    if isinstance(found.outcome, Problem):
        assert 0 < len(found.outcome.message.encode()) < 4096
