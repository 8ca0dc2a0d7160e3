"""Check that outputs are still what was written, and repair them."""

import logging
from pathlib import Path

from nucleipel.errors import StoreError
from nucleipel.io.records.verify_hashes import Findings, find_outputs, inspect_output, repair_output

log = logging.getLogger(__name__)


def verify(path: Path, *, repair: bool = False) -> list[Findings]:
    """Check all outputs at and below `path`; with `repair`, remove what is broken.

    Raises
    ------
    StoreError
        If something is broken and was not repaired.
    """
    outputs = [inspect_output(folder) for folder in find_outputs(path)]
    for findings in outputs:
        _log(findings)
    broken = [findings for findings in outputs if findings.broken]
    if broken and not repair:
        count = sum(len(findings.broken) for findings in broken)
        raise StoreError(
            f"{path}: {count} file(s) of {len(broken)} output(s) are broken; see above, and pass"
            " --repair to remove them"
        )
    for findings in broken:
        repair_output(findings)
        if findings.broken_results:
            log.info(
                "%s: removed; run the same nucleipel %s command again, which makes only these",
                findings.folder, findings.record["stage"],
            )  # fmt: skip
        else:
            log.info("%s: repaired", findings.folder)
    return outputs


def _log(findings: Findings) -> None:
    for name, fault in findings.broken.items():
        log.warning("%s: %s", findings.folder / name, fault)
    for name in findings.unlisted:
        log.warning("%s: was not written by this run", findings.folder / name)
    if not findings.complete:
        stage = findings.record["stage"]
        log.info(
            "%s: not finished; the same nucleipel %s command continues", findings.folder, stage
        )
    elif not findings.broken:
        log.info("%s: %d files, all as they were written", findings.folder, len(findings.good))
