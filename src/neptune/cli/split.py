"""`neptune split`: the samples of a file in parts by name, counted, or written out. Needs the base installation only.

Neighbours: `edge.split` draws the parts and writes them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from neptune.cli.main import DONE
from neptune.cli.progress import progress
from neptune.edge.split import format_of, open_samples, write_files, write_index
from neptune.errors import SettingsError

#: Parts that have a flag of their own.
USUAL = ("train", "eval", "test")
_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_EPILOG = """\
A sample never changes its part while the file grows, unless --contiguous is given. Each part has its ratio of the
samples, off by less than one with two parts, and exactly where that is a whole number.

examples:
  neptune split reviews.txt --train 0.8 --eval 0.2
  neptune split reviews.csv --train 0.8 --eval 0.1 --test 0.1 --seed 7 --output-dir parts
  neptune split reviews.txt --shard 2/10 --part a=1/3 --part b=2/3 --output-dir parts --write index
"""


def add_parser(commands: Any) -> None:
    """Add `split` to the subcommands of `neptune`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "split",
        help="divide the samples of a file into parts",
        description="Divide the samples of a file into parts: count them, or write them to --output-dir.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the data, which is only read")
    for name in USUAL:
        parser.add_argument(f"--{name}", metavar="RATIO", help=f"share of the part {name!r}, such as 0.8 or 1/3")
    parser.add_argument("--part", metavar="NAME=RATIO", action="append", default=[], help="a part of another name")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other samples (0)")
    parser.add_argument(
        "--contiguous", action="store_true", help="parts are runs of the file: train, eval, test, others"
    )
    parser.add_argument("--shard", metavar="K/N", help="only every N-th sample from the K-th on, K from 1 to N")
    parser.add_argument("--format", metavar="NAME", help="how samples are told apart (default: by the file's name)")
    parser.add_argument("--output-dir", metavar="DIR", type=Path, help="write the parts and split.json there")
    parser.add_argument(
        "--write", choices=["files", "index"], default="files", help="write samples, or where they are in FILE (files)"
    )
    parser.add_argument("--index-dir", metavar="DIR", help="where offsets are kept (default: below ~/.cache)")
    parser.add_argument("--output", choices=["text", "json"], default="text", help="how to print the result (text)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Split; print a line a part; return the exit code.

    Raises:
        SettingsError: the ratios, the shard, the format or --write make no sense.
        NeptuneError: the file cannot be read, or the parts not be written.
    """
    if options.write == "index" and options.output_dir is None:
        raise SettingsError("--write index needs --output-dir: without it parts are counted only")
    shard = _shard(options.shard)
    ratios = _ratios(options, shard)
    with progress(options.file) as tell:
        samples = open_samples(options.file, options.format, index_folder=options.index_dir, progress=tell)
    total = len(samples)
    if shard is not None:
        samples = samples.shard(*shard)
    parts = samples.split(ratios, seed=options.seed, contiguous=options.contiguous)
    how = {
        "path": samples.file.path,
        "format": options.format or format_of(options.file),
        "samples": total,
        "shard": options.shard,
        "ratios": ratios,
        "seed": options.seed,
        "contiguous": options.contiguous,
    }
    files: dict[str, Path] = {}
    if options.output_dir is not None:
        write = write_files if options.write == "files" else write_index
        files = write(parts, options.output_dir, how)
    rows = [(name, len(part), str(files.get(name, ""))) for name, part in parts.items()]
    if options.output == "json":
        found = {name: {"samples": count, **({"file": file} if file else {})} for name, count, file in rows}
        print(json.dumps({**how, "parts": found}))
    else:
        width = max(len(name) for name in parts)
        sys.stdout.writelines(f"{name:<{width}}  {count:>9}  {file}".rstrip() + "\n" for name, count, file in rows)
    return DONE


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _SHARD.fullmatch(text)
    if found is None:
        raise SettingsError(f"--shard {text!r}: write K/N, such as 2/10 for the second of ten")
    return int(found[1]), int(found[2])


def _ratios(options: argparse.Namespace, shard: tuple[int, int] | None) -> dict[str, str]:
    ratios = {name: getattr(options, name) for name in USUAL if getattr(options, name) is not None}
    for text in options.part:
        name, equals, ratio = text.partition("=")
        if not (name and equals) or name in ratios:
            raise SettingsError(f"--part {text!r}: write NAME=RATIO, each name once, such as holdout=0.1")
        ratios[name] = ratio
    if ratios:
        return ratios
    if shard is None:
        raise SettingsError("no part is named: give --train 0.8 --eval 0.2, say")
    return {"shard-{}-of-{}".format(*shard): "1"}
