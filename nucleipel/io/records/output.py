"""Ownership of an output folder, and when it counts as finished.

Each stage that writes a folder first puts `nucleipel.json` into it: the stage,
the resolved config and the hashes of the inputs, with `"complete": false`.
The record is completed last, after everything else lies on disk, with the hash
of `SHA256SUMS`, which lists what was written. A copy lies in `.nucleipel.json`.

The resolved config also stands in `config.yaml`, ready for `--config`. So

- the same command on the same folder continues, or finds its work done;
- another config or another input is refused, and the difference is named;
- two processes never work on one run, one shard or one image at a time;
- a reader refuses a folder whose record is missing or incomplete: "exists and
  opens" proves nothing, an array whose writer was killed reads as zeros.
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from nucleipel import __version__
from nucleipel.core.atomic import read_sealed_json, sync, write_sealed_json, write_text
from nucleipel.core.choices import OLD_WORDS
from nucleipel.core.dotted_keys import flatten
from nucleipel.core.locks import PREFIX, HeldError, Lock, is_held
from nucleipel.core.shard import WHOLE, Shard
from nucleipel.errors import OutputError, StoreError
from nucleipel.io.records.checksums import JOURNAL, SUMS, digest_of, format_sums, read_sums

RECORD, COPY, CONFIG = "nucleipel.json", ".nucleipel.json", "config.yaml"
NO_RESULTS = ("state.json", "state-*.safetensors", "tensorboard")
"""Files of a training that are no part of its result: its state and its log."""
CLAIM_SECONDS = 60.0
"""Time that tasks of an array which start together wait for the first to write the record."""


class Output:
    """An output folder that this run owns, or, of a sharded one, shares."""

    def __init__(self, folder: Path, record: dict[str, Any], lock: Lock | None = None) -> None:
        self.folder = folder
        self.record = record
        self._lock = lock

    @property
    def complete(self) -> bool:
        """Return whether an earlier run of the same command finished here, no image missing."""
        return bool(self.record["complete"]) and not self.record.get("missing")

    def release(self) -> None:
        """Leave the folder to others."""
        if self._lock is not None:
            self._lock.release()

    def commit(self, *, synced: Collection[str] = (), **results: Any) -> None:
        """Make the folder count: list what was written, then complete the record.

        Files in a journal were hashed and brought to the disk when they were
        written, those in the folders `synced` brought to the disk; the others
        are now. Half-written files that killed runs left are removed.
        """
        for left in self.folder.rglob("*.partial"):
            if left.is_file():
                left.unlink()
        sums = read_journals(self.folder)
        names = list(result_files(self.folder))
        on_disk = {name for name in names if name in sums or name.split("/")[0] in synced}
        for name in names:
            if name not in on_disk:
                sync(self.folder / name)
            if name not in sums:
                sums[name] = digest_of(self.folder / name)
        listed = format_sums({name: sums[name] for name in names})
        for folder in {(self.folder / name).parent for name in set(names) - on_disk}:
            sync(folder)
        write_text(self.folder / SUMS, listed)
        self.record |= {
            "complete": True,
            **results,
            "files": len(names),
            "sums_sha256": hashlib.sha256(listed.encode()).hexdigest(),
        }
        write_sealed_json(self.folder / COPY, self.record)
        write_sealed_json(self.folder / RECORD, self.record)
        for journal in journals_of(self.folder):
            journal.unlink()
        self.release()
        for path in self.folder.glob(f"{PREFIX}*"):
            with suppress(HeldError):
                Lock(path).release()  # the file of a process that is gone


def result_files(folder: Path) -> Iterator[str]:
    """Names of the files that an output consists of, its record and lists apart.

    Outputs that lie within it have records of their own; hidden files and
    `NO_RESULTS` are no results.
    """
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix == ".partial":
            continue
        if path.name in (RECORD, SUMS) or any(path.match(pattern) for pattern in NO_RESULTS):
            continue
        if path.is_file():
            yield path.name
        elif path.is_dir() and not (path / RECORD).is_file():
            yield from (f"{path.name}/{name}" for name in result_files(path))


def read_journals(folder: Path) -> dict[str, str]:
    """Hashes of the files that were finished while the stage was at work."""
    return {
        (journal.parent / name).relative_to(folder).as_posix(): digest
        for journal in journals_of(folder)
        for name, digest in read_sums(journal).items()
    }


def read_written(folder: Path, record: dict[str, Any]) -> dict[str, str]:
    """Hashes of all files of a finished output.

    Raises
    ------
    StoreError
        If their list is not the one that the record speaks of.
    """
    path = folder / SUMS
    try:
        listed = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: is missing; nucleipel verify --repair {folder}") from error
    if hashlib.sha256(listed).hexdigest() != record.get("sums_sha256"):
        raise StoreError(f"{path}: was altered; nucleipel verify --repair {folder}")
    return read_sums(path)


def journals_of(folder: Path) -> list[Path]:
    """The journals of a stage at work: in its folder, or in each image's."""
    return [*folder.glob(f"{JOURNAL}*"), *folder.glob(f"*/{JOURNAL}*")]


def claim_output(
    folder: Path,
    *,
    stage: str,
    config: dict[str, Any],
    inputs: dict[str, str],
    overwrite: bool = False,
    shard: Shard = WHOLE,
    plan: dict[str, Any] | None = None,
) -> Output:
    """Take `folder` for one run of a stage, new or continued.

    `config` holds what shapes the result; `inputs` names hashes of what goes in;
    `plan` follows from both, and is there for those who read before the end.
    Runs of several shards may work in one folder at a time.

    Raises
    ------
    OutputError
        If the folder holds something else than an earlier go of the same run,
        or another process is at work on the same run or shard of it.
    """
    wanted = {"stage": stage, "version": __version__, "config": config, "inputs": inputs}
    wanted = json.loads(json.dumps(wanted))
    record = _require_same(folder, wanted, overwrite=overwrite)
    if record is not None and record["complete"] and not record.get("missing"):
        return Output(folder, record)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Lock(folder / f"{PREFIX}-claim", wait_seconds=CLAIM_SECONDS):
            name = PREFIX if shard.closes else f"{PREFIX}-{shard.number}-of-{shard.count}"
            lock = Lock(folder / name)
            record = _require_same(folder, wanted, overwrite=overwrite)
            if record is None:
                record = {**wanted, "complete": False, "plan": plan or {}}
                _start_anew(folder, record, own=name)
            elif record["complete"] and record.get("missing"):
                _reopen(folder, record)
            if not (folder / CONFIG).is_file():
                config_text = yaml.safe_dump(wanted["config"], sort_keys=False)
                write_text(folder / CONFIG, config_text)
    except HeldError as error:
        raise OutputError(f"{folder}: {error} is at work on it; wait for it, or stop it") from error
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return Output(folder, record, lock)


@contextmanager
def holding(
    folder: Path, part: str, *, kind: str = "image", wait_seconds: float = 0.0
) -> Iterator[Lock]:
    """Work on one part of a shared output, an image mostly, alone; its `deaths` are of this work.

    Raises
    ------
    OutputError
        If another process is at work on it, and still is after `wait_seconds`.
    """
    try:
        lock = Lock(folder / f"{PREFIX}-{kind}-{part}", wait_seconds=wait_seconds)
    except HeldError as error:
        raise OutputError(f"{folder}: {error} is at work on {kind} '{part}'") from error
    with lock:
        yield lock


def is_held_by_another(folder: Path, part: str, *, kind: str = "image") -> bool:
    """Return whether another process is at work on a part that it is `holding`."""
    return is_held(folder / f"{PREFIX}-{kind}-{part}")


def _require_same(
    folder: Path, wanted: dict[str, Any], *, overwrite: bool
) -> dict[str, Any] | None:
    """The record of the same run, if `folder` has one; None if it is free to be taken."""
    try:
        str(folder).encode()
        taken = folder.exists() and not folder.is_dir()
    except (UnicodeEncodeError, OSError) as error:
        what = getattr(error, "strerror", None) or "its bytes are no UTF-8, as tables must have it"
        raise OutputError(f"{folder}: cannot be used: {what}; choose another --out") from error
    if taken:
        raise OutputError(f"{folder}: is a file; expected a folder; choose another --out")
    if not folder.is_dir() or all(map(_is_passing, folder.iterdir())):
        return None
    record = _read_own_record(folder)
    differing = _differences(record, wanted)
    if not differing:
        return record
    if not overwrite:
        raise OutputError(
            f"{folder}: holds another run ({'; '.join(differing[:4])});"
            " choose another --out or pass --overwrite"
        )
    return None


def _start_anew(folder: Path, record: dict[str, Any], *, own: str) -> None:
    for path in folder.glob(f"{PREFIX}*"):
        if path.name not in (own, f"{PREFIX}-claim"):
            Lock(path).release()  # nobody may be at work on what is replaced
    if (folder / RECORD).is_file():  # killed half-way, it is refused again, not taken up
        write_sealed_json(folder / RECORD, {**_read_own_record(folder), "complete": False})
    for path in folder.iterdir():
        if path.name.startswith(PREFIX) or path.name == RECORD:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    write_sealed_json(folder / RECORD, record)


def _is_passing(path: Path) -> bool:
    return path.suffix == ".partial" or path.name.startswith(PREFIX)


def _reopen(folder: Path, record: dict[str, Any]) -> None:
    """Let a run that was closed with images missing go on."""
    restore_journals(folder, record["stage"], read_written(folder, record))
    record["complete"] = False
    write_sealed_json(folder / RECORD, record)


def restore_journals(folder: Path, stage: str, sums: dict[str, str]) -> None:
    """Note in a stage's journals the files that need not be made again."""
    journals: dict[str, dict[str, str]] = {}
    for name, digest in sums.items():
        top, _, below = name.partition("/")
        if stage == "predict" and below:
            journals.setdefault(f"{top}/{JOURNAL}", {})[below] = digest
        elif stage == "tile" and below:
            journals.setdefault(JOURNAL, {})[name] = digest
    for place, noted in journals.items():
        write_text(folder / place, format_sums(noted))


def read_record(
    folder: Path, *, stage: str | tuple[str, ...], unfinished: bool = False
) -> dict[str, Any]:
    """The completed record of a stage's output; with `unfinished`, the claimed one will do.

    Raises
    ------
    StoreError
        If the folder is missing, not written by `stage`, or was not finished.
    """
    stages = (stage,) if isinstance(stage, str) else stage
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder; check the path")
    try:
        record = read_sealed_json(folder / RECORD)
    except FileNotFoundError as error:
        raise StoreError(
            f"{folder}: has no {RECORD}; expected an output of nucleipel {stages[0]}"
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{folder / RECORD}: cannot be read: {error}; nucleipel verify --repair {folder}"
        ) from error
    if record.get("stage") not in stages:
        raise StoreError(
            f"{folder}: was written by nucleipel {record.get('stage')};"
            f" expected an output of nucleipel {' or '.join(stages)}"
        )
    if not record.get("complete") and not unfinished:
        raise StoreError(
            f"{folder}: was not finished; run the same nucleipel {record['stage']} command again"
        )
    return record


def is_finished(folder: Path, *, stage: str) -> bool:
    """Return whether a run of a stage finished there, no image missing."""
    try:
        return not read_record(folder, stage=stage).get("missing")
    except StoreError:
        return False


def identity(record: dict[str, Any]) -> str:
    """Hash of what made an output: stage, version, config, inputs. Equal hashes, equal results.

    Values that were renamed are hashed as they were before, so that outputs
    keep the hashes that later stages recorded of them.
    """
    made = made_by(record)
    for setting, renamed in OLD_WORDS.items():
        old = {new: word for word, new in renamed.items()}
        if setting in made["config"]:
            value = made["config"][setting]
            made["config"] = {**made["config"], setting: old.get(value, value)}
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def made_by(record: Mapping[str, Any]) -> dict[str, Any]:
    """The stage, version, config and inputs of an output, without what is noted at its end."""
    return {key: record[key] for key in ("stage", "version", "config", "inputs")}


def _read_own_record(folder: Path) -> dict[str, Any]:
    try:
        return read_sealed_json(folder / RECORD)
    except (OSError, ValueError) as error:
        # never deleted, --overwrite or not: it may be somebody's home folder
        raise OutputError(
            f"{folder}: is not empty and no output of nucleipel ({RECORD} is missing or damaged);"
            " choose another --out"
        ) from error


def _differences(record: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    was, now = flatten(record), flatten(wanted)
    for setting, renamed in OLD_WORDS.items():
        if (key := f"config.{setting}") in was:
            was[key] = renamed.get(was[key], was[key])
    was = {key: value for key, value in was.items() if key.split(".")[0] in wanted}
    return [
        f"{key} {was.get(key, 'unset')} there, {now.get(key, 'unset')} now"
        if not key.startswith("inputs.")
        else f"another {key.removeprefix('inputs.')}"
        for key in sorted(was.keys() | now.keys())
        if was.get(key) != now.get(key)
    ]
