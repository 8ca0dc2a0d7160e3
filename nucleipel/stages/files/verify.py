"""Hash again what stages wrote, and name what is broken."""

import logging
from pathlib import Path

from nucleipel.errors import StoreError
from nucleipel.io.records.verify import Findings, find_outputs, inspect_output, repair_output

log = logging.getLogger(__name__)


def verify(path: Path, *, repair: bool = False) -> list[Findings]:
    """Check all outputs at and below `path`; with `repair`, take out what is broken.

    Raises
    ------
    StoreError
        If something is broken and was not repaired.
    """
    findings = [inspect_output(folder) for folder in find_outputs(path)]
    for found in findings:
        _tell(found)
    broken = [found for found in findings if found.broken]
    if broken and not repair:
        count = sum(len(found.broken) for found in broken)
        raise StoreError(
            f"{path}: {count} file(s) of {len(broken)} output(s) are broken; see above, and give"
            " --repair to take them out"
        )
    for found in broken:
        repair_output(found)
        if found.broken_results:
            log.info(
                "%s: taken out; run the same nucleipel %s command again, which makes only these",
                found.folder, found.record["stage"],
            )  # fmt: skip
        else:
            log.info("%s: repaired", found.folder)
    return findings


def _tell(found: Findings) -> None:
    for name, fault in found.broken.items():
        log.warning("%s: %s", found.folder / name, fault)
    for name in found.unlisted:
        log.warning("%s: was not written by this run", found.folder / name)
    if not found.complete:
        stage = found.record["stage"]
        log.info("%s: not finished; the same nucleipel %s command continues", found.folder, stage)
    elif not found.broken:
        log.info("%s: %d files, all as they were written", found.folder, len(found.good))
