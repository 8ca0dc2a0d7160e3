"""Compare outputs with the hashes of what was written, and remove what is broken.

A repaired output is unfinished again and lacks what was broken: the same
command makes that again, and nothing else.
"""

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nucleipel.core.atomic import read_sealed_json, write_sealed_json, write_text
from nucleipel.core.locks import PREFIX, HeldError, Lock
from nucleipel.core.progress import track
from nucleipel.errors import StoreError
from nucleipel.io.records.checksums import SUMS, digest_of, format_sums, read_sums
from nucleipel.io.records.output import (
    COPY,
    RECORD,
    journals_of,
    read_journals,
    restore_journals,
    result_files,
)

MISSING, ALTERED, UNVOUCHED = "missing", "altered", "not vouched for: its list is damaged"
WHOLE_FOLDERS = ("stitch", "segment")
"""Stages whose images are folders that appear at once: one broken file takes its folder along."""


@dataclass
class Findings:
    """Files of one output: `broken` ones with their faults, `good` ones with their hashes."""

    folder: Path
    record: dict[str, Any]
    broken: dict[str, str] = field(default_factory=dict)
    good: dict[str, str] = field(default_factory=dict)
    unlisted: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Return whether the stage finished."""
        return bool(self.record["complete"])

    @property
    def broken_results(self) -> list[str]:
        """Broken files that a stage has to make again: all but the record and the list."""
        return [name for name in self.broken if name not in (RECORD, COPY, SUMS)]


def find_outputs(path: Path) -> list[Path]:
    """The output folders at and below a path.

    Raises
    ------
    StoreError
        If there is none.
    """
    folders = {file.parent for name in (RECORD, COPY) for file in path.rglob(name)}
    if not folders:
        raise StoreError(f"{path}: no output of nucleipel is there; check the path")
    return sorted(folders)


def inspect_output(folder: Path) -> Findings:
    """Compare all files that an output's record, list or journals name with their hashes.

    Raises
    ------
    StoreError
        If the record and its copy are both unreadable.
    """
    findings = _read_records(folder)
    expected = _expected(findings)
    for name, digest in track(expected.items(), f"verifying {folder.name}"):
        if not (folder / name).is_file():
            findings.broken[name] = MISSING
        elif (was := digest_of(folder / name)) != digest:
            findings.broken[name] = ALTERED if digest else UNVOUCHED
        else:
            findings.good[name] = was
    if findings.complete:
        findings.unlisted = [name for name in result_files(folder) if name not in expected]
    return findings


def repair_output(findings: Findings) -> None:
    """Restore a broken record or list; remove broken results, and let the stage run again.

    Raises
    ------
    StoreError
        If a process is at work on the output.
    """
    try:
        with Lock(findings.folder / PREFIX):
            _repair(findings)
    except HeldError as error:
        raise StoreError(f"{findings.folder}: {error} is at work on it; wait for it") from error


def _repair(findings: Findings) -> None:
    folder, record = findings.folder, findings.record
    if findings.broken_results:
        _remove(findings)
        for journal in journals_of(folder):
            journal.unlink()
        restore_journals(folder, record["stage"], findings.good)
        record = {**record, "complete": False}
    for name in (COPY, RECORD):
        if findings.broken_results or name in findings.broken:
            write_sealed_json(folder / name, record)
    if findings.broken_results:
        (folder / SUMS).unlink(missing_ok=True)
    elif SUMS in findings.broken:
        write_text(folder / SUMS, format_sums(findings.good))


def _read_records(folder: Path) -> Findings:
    records, faults = {}, {}
    for name in (RECORD, COPY):
        try:
            records[name] = read_sealed_json(folder / name)
        except FileNotFoundError:
            faults[name] = MISSING
        except (OSError, ValueError):
            faults[name] = ALTERED
    if not records:
        raise StoreError(
            f"{folder / RECORD}: cannot be read, nor can its copy; delete the folder and run its"
            " command again"
        )
    record = records.get(RECORD) or records[COPY]
    if not record["complete"]:
        faults.pop(COPY, None)  # it is written at the end
    return Findings(folder, record, broken=faults)


def _expected(findings: Findings) -> dict[str, str]:
    """Hashes by name; an empty one where no trustworthy list has it."""
    folder = findings.folder
    if not findings.complete:
        return read_journals(folder)
    listed = read_sums(folder / SUMS)
    if _is_list_of(findings, listed, folder / SUMS):
        return listed
    findings.broken[SUMS] = ALTERED if (folder / SUMS).is_file() else MISSING
    present = {name: digest_of(folder / name) for name in result_files(folder)}
    if _is_list_of(findings, present):
        return present
    return dict.fromkeys(present, "") | listed


def _is_list_of(findings: Findings, sums: dict[str, str], path: Path | None = None) -> bool:
    try:
        text = path.read_bytes() if path else format_sums(sums).encode()
    except OSError:
        return False
    return hashlib.sha256(text).hexdigest() == findings.record["sums_sha256"]


def _remove(findings: Findings) -> None:
    for name in findings.broken_results:
        top, _, below = name.partition("/")
        if findings.record["stage"] in WHOLE_FOLDERS and below:
            shutil.rmtree(findings.folder / top, ignore_errors=True)
        else:
            (findings.folder / name).unlink(missing_ok=True)
