"""Looks at a dataset without reading its data: which files it has, and which of them have to be counted.

An object at an `http(s)://` or `s3://` url is always work: only a counting process may ask its server what has changed.
Any other url names one file, a directory (its files, those in folders below left out), or a pattern with `*`, `?` or
`[...]` (the files that match; a path that exists as it is written is no pattern). Names that begin with a dot do not
count, as in a shell. The number of a dataset is the sum over its files, each of which is counted and continued by
itself.
Neighbours: `paths` guards the roots, `counting` counts what is found here, `monitor` runs looks in a thread.
"""

from __future__ import annotations

import errno
import fnmatch
import glob
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from neptune.edge.counting import Checkpoint, Target
from neptune.edge.formats import format_name
from neptune.edge.paths import path_of, resolve, stat_file
from neptune.edge.problems import Problem, Reason, problem_of, shown
from neptune.edge.remote import is_remote
from neptune.edge.sources import FileId, racy_seconds

#: Files of one dataset. Each costs a stat a poll, and 1 KB of the agent's memory.
MAX_FILES = 10_000

#: What a stat of a path gave: an identity, or the number of the error.
Stamp = FileId | int
Stamps = tuple[tuple[str, Stamp], ...]


@dataclass(frozen=True, slots=True)
class Content:
    """What was counted of a dataset, by the resolved paths of its files."""

    files: Mapping[str, Checkpoint]

    @property
    def samples(self) -> int:
        """The number of samples in all files."""
        return sum(file.samples for file in self.files.values())

    def fingerprint(self) -> str:
        """Return a name for the content: equal for equal files, whatever they are called."""
        prints = sorted(file.proof.fingerprint() for file in self.files.values())
        if len(prints) == 1:
            return prints[0]
        return hashlib.blake2b(" ".join(prints).encode(), digest_size=16).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the form that is kept on disk."""
        return {path: file.to_json() for path, file in self.files.items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Content:
        """Read what `to_json` gave.

        Raises:
            AttributeError, TypeError, ValueError: it is something else.
        """
        return cls({path: Checkpoint.from_json(file) for path, file in data.items()})


class Work(NamedTuple):
    """Files that have to be counted, and those whose count still holds. `size` is in bytes."""

    targets: tuple[Target, ...]
    held: Mapping[str, Checkpoint]
    size: int


class Look(NamedTuple):
    """What a look at a dataset found.

    `watch` is the path whose changes matter, with a slash at the end for all files in a folder; None when nothing says
    so. `stamps` is what `has_changed` compares; None when only another look can tell. `is_plain` says that no link
    leads there, so that whatever happens to the data happens in the folder of `watch`. `is_remote` says that asking
    costs a process and a request.
    """

    outcome: Problem | Content | Work
    watch: str | None = None
    stamps: Stamps | None = None
    is_plain: bool = False
    is_remote: bool = False


def look(url: object, format_: object, roots: Sequence[str], known: Content | None) -> Look:
    """Look at a dataset: a problem, the content that still holds, or the files to count."""
    remote = isinstance(url, str) and is_remote(url)
    path = str(url) if remote else path_of(url)
    if isinstance(path, Problem):
        return Look(path, stamps=())
    name = format_name(format_)
    if remote:
        return _look_at_object(path, name, roots, known.files if known else {})
    # Before the format: who hands the data on asks no more than whether the roots allow it.
    real = resolve(path, roots)
    if isinstance(real, Problem):
        return Look(real)
    if isinstance(name, Problem):
        return Look(name, stamps=())
    return _look_at_path(path, real, name, roots, known.files if known else {})


def _look_at_object(url: str, name: str | Problem, roots: Sequence[str], files: Mapping[str, Checkpoint]) -> Look:
    # No `..` and nothing like it: the library that asks the server refuses such names.
    if not _is_below(url, roots):
        parent = url.rpartition("/")[0]
        why = f"{shown(url)} is outside the agent's roots: start edge-agent with --root {shown(parent)}/"
        return Look(Problem(Reason.OUTSIDE_ROOTS, why), stamps=())
    if isinstance(name, Problem):
        return Look(name, stamps=())
    return Look(Work((Target(url, name, files.get(url)),), {}, 0), is_remote=True)


def outside(url: str, credentials: Mapping[str, str], roots: Sequence[str]) -> Problem | None:
    """Return what is wrong with the server that credentials name for an object, or None.

    Whoever may write a Secret decides no more than the roots allow where this node sends requests: the object must be
    below one by the server's url as well, or the server be the one that the node's own environment names.
    """
    endpoint = credentials.get("endpoint", "").rstrip("/")
    if endpoint in ("", os.environ.get("AWS_ENDPOINT_URL", "").rstrip("/")):
        return None
    if not re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w~-]+)*", endpoint, re.ASCII):
        why = "the endpoint in the Secret is no url of a server: write https://HOST or https://HOST:PORT"
        return Problem(Reason.CREDENTIALS_INVALID, why)
    if _is_below(f"{endpoint}/{url.partition('://')[2]}", roots):
        return None
    why = f"{shown(endpoint)}, the endpoint in the Secret, is outside the agent's roots: start edge-agent with --root "
    return Problem(Reason.OUTSIDE_ROOTS, f"{why}{shown(endpoint)}/ as well")


def _is_below(url: str, roots: Sequence[str]) -> bool:
    return any(url.startswith(root.rstrip("/") + "/") for root in roots if is_remote(root))


def _look_at_path(path: str, real: str, name: str, roots: Sequence[str], files: Mapping[str, Checkpoint]) -> Look:
    stamp, mode = _stamp_and_mode(real)
    is_plain = os.path.normpath(path) == real
    if stat.S_ISDIR(mode):
        return _look_at_folder(real, stamp, name, roots, files, is_plain=is_plain)
    if stamp == errno.ENOENT and glob.has_magic(path):
        return _look_at_matches(os.path.normpath(path), name, roots, files)
    outcome = _compared([real], name, files)
    if isinstance(outcome, Content):
        return Look(outcome, real, ((path, outcome.files[real].file),), is_plain)
    if isinstance(outcome, Work):
        return Look(outcome, real, _settled(((path, stamp),)), is_plain)
    # Of the problems only an absence is sure to look otherwise when it ends.
    stamp = stamp_of(path)
    return Look(outcome, real, ((path, stamp),) if isinstance(stamp, int) else None, is_plain)


def has_changed(stamps: Stamps) -> bool:
    """Tell whether a stat of any of these paths gives something else now.

    This is all that an idle agent does for each of its files, so it takes no detour.
    """
    for path, known in stamps:
        try:
            info = os.stat(path)  # noqa: PTH116  # a Path costs more than the stat
        except OSError as error:
            if error.errno != known:
                return True
        else:
            if (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns) != known:
                return True
    return False


def stamp_of(path: str) -> Stamp:
    """Return what a stat of a path gives now, links followed."""
    return _stamp_and_mode(path)[0]


def _stamp_and_mode(path: str) -> tuple[Stamp, int]:
    try:
        info = os.stat(path)  # noqa: PTH116  # a Path costs as much as the stat, for each file at each poll
    except OSError as error:
        return error.errno or errno.EIO, 0
    return FileId.of(info), info.st_mode


def _settled(stamps: Stamps) -> Stamps | None:
    """Return the stamps unless one of them may hide a change that comes yet."""
    is_racy = any(isinstance(stamp, FileId) and racy_seconds(stamp) for _, stamp in stamps)
    return None if is_racy else stamps


def _look_at_folder(
    folder: str, stamp: Stamp, name: str, roots: Sequence[str], files: Mapping[str, Checkpoint], *, is_plain: bool
) -> Look:  # fmt: skip
    try:
        with os.scandir(folder) as entries:
            found = _bounded((entry.path, entry.is_symlink()) for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        return Look(problem_of(error, folder), folder)
    outcome = _of_many(found, folder, name, roots, files)
    if isinstance(outcome, Content):
        stamps = _settled(((folder, stamp), *((path, file.file) for path, file in outcome.files.items())))
        return Look(outcome, f"{folder}/", stamps, is_plain and not any(is_link for _, is_link in found))
    return Look(outcome, f"{folder}/")


def _look_at_matches(pattern: str, name: str, roots: Sequence[str], files: Mapping[str, Checkpoint]) -> Look:
    """A file may come into any folder that matches, so that only another look can tell what has changed."""
    try:
        found = _bounded((path, True) for path in _matches("/", pattern.lstrip("/")))
    except OSError as error:
        return Look(problem_of(error, error.filename or pattern))
    outcome = _of_many(found, pattern, name, roots, files)
    if not found:
        why = f"no file matches {shown(pattern)} on this node; it is counted when one appears"
        outcome = Problem(Reason.NOT_FOUND, why)
    folder = os.path.split(pattern)[0]
    return Look(outcome, None if glob.has_magic(folder) else f"{os.path.realpath(folder)}/")


def _matches(folder: str, pattern: str) -> Iterator[str]:
    """Yield the paths that match in a folder, which has a slash at its end.

    Not by `glob`, which leaves out folders that may not be read, so that the number would be too small.

    Raises:
        OSError: such a folder; what is missing, or no folder, matches nothing.
    """
    name, _, rest = pattern.partition("/")
    try:
        if glob.has_magic(name):
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if name.startswith(".") or not entry.name.startswith(".")]
            names = fnmatch.filter(names, name)
        else:
            os.lstat(f"{folder}{name}")
            names = [name]
    except (FileNotFoundError, NotADirectoryError):
        return
    for each in names:
        path = f"{folder}{each}"
        yield from _matches(f"{path}/", rest) if rest else (path,)


def _bounded(paths: Iterable[tuple[str, bool]]) -> list[tuple[str, bool]]:
    return sorted(islice(paths, MAX_FILES + 1))


def _of_many(
    found: list[tuple[str, bool]], whole: str, name: str, roots: Sequence[str], files: Mapping[str, Checkpoint]
) -> Problem | Content | Work:  # fmt: skip
    """Compare what was found, given with whether links may lead there; folders are left out."""
    if len(found) > MAX_FILES:
        return Problem(Reason.TOO_LARGE, f"{shown(whole)} has more than {MAX_FILES} files: divide them among datasets")
    paths: dict[str, None] = {}
    for path, may_be_link in found:
        stamp, mode = _stamp_and_mode(path)
        if stat.S_ISDIR(mode) or (stamp == errno.ENOENT and not os.path.lexists(path)):
            continue  # a folder, or a file that has just gone
        real = resolve(path, roots) if may_be_link else path
        if isinstance(real, Problem):
            return real
        paths[real] = None
    return _compared(list(paths), name, files)


def _compared(paths: Sequence[str], name: str, files: Mapping[str, Checkpoint]) -> Problem | Content | Work:
    """Tell which of these files have changed since they were counted."""
    targets, held, size = [], {}, 0
    for path in paths:
        info = stat_file(path)
        if isinstance(info, Problem):
            return info
        known = files.get(path)
        if known is not None and known.format == name and known.file == FileId.of(info):
            held[path] = known
            continue
        targets.append(Target(path, name, known))
        counted = known.proof.size if known else 0
        size += info.st_size - (counted if counted <= info.st_size else 0)
    return Work(tuple(targets), held, size) if targets else Content(held)
