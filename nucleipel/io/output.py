"""Who owns an output folder, and when it counts.

Each stage that writes a folder first puts `nucleipel.json` into it: the stage,
the resolved config and the hashes of the inputs, with `"complete": false`.
The record is completed last, after everything else lies on disk.

The resolved config also stands in `config.yaml`, ready for `--config`. So

- the same command on the same folder continues, or finds its work done;
- another config or another input is refused, and the difference is named;
- a reader refuses a folder whose record is missing or incomplete: "exists and
  opens" proves nothing, an array whose writer was killed reads as zeros.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from nucleipel import __version__
from nucleipel.core.atomic import sync_tree, write_json, write_text
from nucleipel.errors import OutputError, StoreError

RECORD, CONFIG = "nucleipel.json", "config.yaml"


class Output:
    """An output folder that this run owns."""

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self.folder = folder
        self.record = record

    @property
    def complete(self) -> bool:
        """Whether an earlier run of the same command finished here."""
        return bool(self.record["complete"])

    def commit(self, **results: Any) -> None:
        """Make the folder count: write the completed record, with `results` in it."""
        sync_tree(self.folder)
        self.record |= {"complete": True, **results}
        write_json(self.folder / RECORD, self.record)


def claim_output(
    folder: Path,
    *,
    stage: str,
    config: dict[str, Any],
    inputs: dict[str, str],
    overwrite: bool = False,
) -> Output:
    """Take `folder` for one run of a stage, new or continued.

    `config` holds what shapes the result; `inputs` names hashes of what goes in.

    Raises
    ------
    OutputError
        If the folder holds something else than an earlier go of the same run.
    """
    wanted = {"stage": stage, "version": __version__, "config": config, "inputs": inputs}
    wanted = json.loads(json.dumps(wanted))
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; expected a folder; choose another --out")
    if folder.is_dir() and any(path.suffix != ".partial" for path in folder.iterdir()):
        found = _found_record(folder)
        differing = _differences(found, wanted)
        if not differing:
            return Output(folder, found)
        if not overwrite:
            raise OutputError(
                f"{folder}: holds another run ({'; '.join(differing[:4])});"
                " choose another --out or pass --overwrite"
            )
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        record = {**wanted, "complete": False}
        write_json(folder / RECORD, record)
        write_text(folder / CONFIG, yaml.safe_dump(wanted["config"], sort_keys=False))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return Output(folder, record)


def read_record(folder: Path, *, stage: str | tuple[str, ...]) -> dict[str, Any]:
    """The completed record of a stage's output.

    Raises
    ------
    StoreError
        If the folder is missing, not written by `stage`, or was not finished.
    """
    stages = (stage,) if isinstance(stage, str) else stage
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder; check the path")
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{folder}: has no readable {RECORD}; expected an output of nucleipel {stages[0]}"
        ) from error
    if record.get("stage") not in stages:
        raise StoreError(
            f"{folder}: was written by nucleipel {record.get('stage')};"
            f" expected an output of nucleipel {' or '.join(stages)}"
        )
    if not record.get("complete"):
        raise StoreError(
            f"{folder}: was not finished; run the same nucleipel {record['stage']} command again"
        )
    return record


def identity(record: dict[str, Any]) -> str:
    """Hash of what made an output: stage, version, config, inputs. Equal hashes, equal results."""
    made_by = {key: record[key] for key in ("stage", "version", "config", "inputs")}
    return hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()


def _found_record(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        # never deleted, --overwrite or not: it may be somebody's home folder
        raise OutputError(
            f"{folder}: is not empty and no output of nucleipel; choose another --out"
        ) from error
    return found


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    was, now = _flat(found), _flat(wanted)
    was = {key: value for key, value in was.items() if key.split(".")[0] in wanted}
    return [
        f"{key} {was.get(key, 'unset')} there, {now.get(key, 'unset')} now"
        if not key.startswith("inputs.")
        else f"another {key.removeprefix('inputs.')}"
        for key in sorted(was.keys() | now.keys())
        if was.get(key) != now.get(key)
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix.rstrip("."): value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}{key}.")
    return flat
