"""Flip one bit of one file of a finished output: `verify` names the file, readers refuse it."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults.stages import OUT, STAGES, digest

from nucleipel.errors import NucleipelError
from nucleipel.io.records.verify_hashes import inspect_output


def flip_trials(
    work: Path, whole: Path, flips: int, draw: random.Random
) -> Iterator[dict[str, Any]]:
    """Flip one bit at a time in copies of finished outputs."""
    for stage in STAGES:
        out = work / "flipped" / OUT[stage]
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(whole / OUT[stage], out)
        expected = digest(stage, out)
        listed = [line[66:] for line in (out / "SHA256SUMS").read_text().splitlines()]
        names = [*listed, "SHA256SUMS", "nucleipel.json"]
        for _ in range(flips):
            path = out / draw.choice(names)
            content = path.read_bytes()
            flipped = bytearray(content)
            place, bit = draw.randrange(len(content)), draw.randrange(8)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            name = path.relative_to(out).as_posix()
            named = name in inspect_output(out).broken
            try:
                reader = "same" if digest(stage, out) == expected else "another"
            except NucleipelError:
                reader = "refused"
            path.write_bytes(content)
            # the table is text that any program may read: only verify guards it
            guarded = reader != "another" or name.endswith("nuclei.parquet")
            yield {
                "stage": stage,
                "file": name,
                "bit": [place, bit],
                "verify": named,
                "reader": reader,
                "right": guarded and (named or reader == "same"),
            }
