"""Parts written out: as files of the same format, or as lists of where their samples are in the original.

Invariant: a file that has its name is whole; `split.json`, which says how the parts were drawn, comes last. The
original is never written to.
Neighbours: `samples` gives the parts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from neptune.edge.durable import whole
from neptune.edge.split.samples import Samples
from neptune.errors import NeptuneError, SettingsError

MANIFEST = "split.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class CannotWriteParts(NeptuneError):
    """A part cannot be written; the text names the file and the system's reason."""


def write_files(parts: Mapping[str, Samples], folder: Path, how: Mapping[str, Any]) -> dict[str, Path]:
    """Write each part to a file of its name and of the original's ending, and return where they are.

    A header, where the format has one, comes first in each. `how` says how the parts were drawn, for `split.json`.

    Raises:
        CannotWriteParts: a file cannot be written, or it would replace the original.
        SettingsError: a part has a name that no file should have.
    """
    return _write_all(parts, folder, how, lambda part: Path(part.file.path).suffix, _lines)


def write_index(parts: Mapping[str, Samples], folder: Path, how: Mapping[str, Any]) -> dict[str, Path]:
    """Write a list `NAME.index.csv` for each part: the number of each sample in the original, its start and its end.

    Raises:
        CannotWriteParts, SettingsError: as `write_files`.
    """
    return _write_all(parts, folder, how, lambda _: ".index.csv", _places)


def _lines(part: Samples) -> Iterator[bytes]:
    if header := part.file.header:
        yield header
    for sample in part:
        yield sample + part.file.rules.ending


def _places(part: Samples) -> Iterator[bytes]:
    yield b"sample,start,end\n"
    for number in part.numbers():
        span = part.file.span(number)
        yield b"%d,%d,%d\n" % (number, *span)


def _write_all(
    parts: Mapping[str, Samples],
    folder: Path,
    how: Mapping[str, Any],
    ending: Callable[[Samples], str],
    content: Callable[[Samples], Iterator[bytes]],
) -> dict[str, Path]:
    targets = {name: folder / f"{_file_name(name)}{ending(part)}" for name, part in parts.items()}
    for name, part in parts.items():
        if targets[name].name == MANIFEST:
            raise SettingsError(f"a part called {name!r} would be {MANIFEST}, which says how the parts were drawn")
        if os.path.realpath(targets[name]) == part.file.path:
            raise CannotWriteParts(f"{targets[name]} is the file that is split: give another output folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in parts.items():
            _write(targets[name], content(part))
        files = {name: {"file": path.name, "samples": len(parts[name])} for name, path in targets.items()}
        text = json.dumps({**how, "parts": files}, indent=2) + "\n"
        _write(folder / MANIFEST, iter([text.encode()]))
    except OSError as error:
        raise CannotWriteParts(f"cannot write the parts to {folder}: {error.strerror}") from error
    return targets


def _file_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise SettingsError(f"a part called {name!r} cannot be a file: use letters, digits, '.', '_' and '-'")
    return name


def _write(path: Path, content: Iterator[bytes]) -> None:
    with whole(path, path.with_name(f".{path.name}.{os.getpid()}")) as file:
        file.writelines(content)
