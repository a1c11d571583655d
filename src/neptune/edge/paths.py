"""From a url to a regular file below the agent's roots.

Whoever may create a Dataset chooses the url, so nothing is opened that lies outside the roots once symbolic links and
`..` are resolved, and nothing that could block or act when opened (a FIFO, a device).
Neighbours: `sources` opens what `resolve` and `files_of` return; `problems` has the refusals.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from neptune.edge.problems import Problem, Reason, not_a_file, problem_of, shown

_HINT = "give an absolute path, or file:// and an absolute path"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def path_of(url: object) -> str | Problem:
    """Return the absolute path that `url` names. RFC 8089 with an empty host or `localhost`; a plain path as it is."""
    if not isinstance(url, str) or not url:
        return Problem(Reason.BAD_URL, f"spec.url is missing: {_HINT}")
    if url.startswith("/"):
        path = url
    else:
        scheme = _SCHEME.match(url)
        if scheme is None:
            return Problem(Reason.BAD_URL, f"{shown(url)} is a relative path: {_HINT}")
        if scheme[1].lower() != "file":
            return Problem(Reason.BAD_URL, f"{shown(url)}: this agent does not read {scheme[1]} urls; {_HINT}")
        found = _path_of_file_url(url)
        if isinstance(found, Problem):
            return found
        path = found
    return path if _is_encodable(path) else Problem(Reason.BAD_URL, f"{shown(url)} is no name of a file: {_HINT}")


def _is_encodable(path: str) -> bool:
    """Tell whether a file can have that name: no NUL, and nothing that the encoding of this system lacks."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _path_of_file_url(url: str) -> str | Problem:
    rest = url[len("file:") :]
    host, slash, tail = rest[2:].partition("/")
    if not rest.startswith("//") or not slash or host.lower() not in ("", "localhost"):
        return Problem(Reason.BAD_URL, f"{shown(url)} names no file on this node: {_HINT}")
    if _BAD_ESCAPE.search(tail) or "?" in tail or "#" in tail:
        return Problem(Reason.BAD_URL, f"{shown(url)}: write %25 for %, %3F for ? and %23 for # in a file:// url")
    return "/" + unquote(tail, encoding=sys.getfilesystemencoding(), errors="surrogateescape")


def resolve(url: object, roots: Sequence[str]) -> str | Problem:
    """Return the path that `url` names, without symbolic links and `..`, when it lies below one of `roots`.

    The roots are resolved as well, each time: a root may be a link or a mount that comes later. But only where their
    words do not tell, so that a root that hangs is no trouble for what lies below another. A path whose very
    words lead out is not followed at all, and where a link leads is not told: what lies outside is nobody's business.
    """
    path = path_of(url)
    if isinstance(path, Problem):
        return path
    if not _is_inside(os.path.normpath(path), roots):
        return Problem(
            Reason.OUTSIDE_ROOTS,
            f"{shown(path)} is outside the agent's roots ({shown(', '.join(roots))}): "
            f"start edge-agent with --root {shown(str(Path(os.path.normpath(path)).parent))}",
        )
    try:
        real = os.path.realpath(path)
    except OSError as error:  # a link that may not be read, or one that was replaced meanwhile
        return problem_of(error, path)
    if _is_inside(real, roots):
        return real
    return Problem(
        Reason.OUTSIDE_ROOTS,
        f"{shown(path)} is a link that leads outside the agent's roots ({shown(', '.join(roots))}): "
        "start edge-agent with --root and the folder that it leads to",
    )


def _real_root(root: str) -> str:
    try:
        return os.path.realpath(root)
    except OSError:  # such a root holds nothing that could be read
        return os.path.normpath(root)


def _is_inside(path: str, roots: Sequence[str]) -> bool:
    in_words = any(_is_below(path, os.path.normpath(root)) for root in roots)
    return in_words or any(_is_below(path, _real_root(root)) for root in roots)


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def stat_file(path: str) -> os.stat_result | Problem:
    """Return the stat of a resolved path when it names a regular file."""
    try:
        info = os.lstat(path)
    except OSError as error:
        return problem_of(error, path)
    return _regular(info, path)


def open_file(path: str) -> int | Problem:
    """Open a resolved path for reading and return its descriptor. Never blocks, and never follows a link.

    It is looked at before, because opening a device can act, and after, because it may have been replaced meanwhile.
    """
    info = stat_file(path)
    if isinstance(info, Problem):
        return info
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return problem_of(error, path)
    found = _regular(os.fstat(fd), path)
    if isinstance(found, Problem):
        os.close(fd)
        return found
    if not _is_at(fd, path):
        os.close(fd)
        return Problem(Reason.READ_FAILED, f"{shown(path)} was replaced while it was opened; trying again")
    return fd


def _is_at(fd: int, path: str) -> bool:
    """Tell whether a folder on the way became a link meanwhile: the kernel knows where an open file is (proc(5))."""
    try:
        where = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115  # compared as text
    except OSError:  # without /proc nobody can tell
        return True
    return where in (path, f"{path} (deleted)")


def _regular(info: os.stat_result, path: str) -> os.stat_result | Problem:
    if stat.S_ISREG(info.st_mode):
        return info
    kind = next((kind for is_kind, kind in _KINDS if is_kind(info.st_mode)), "not a regular file")
    return not_a_file(path, kind)
