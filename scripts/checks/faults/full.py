"""Fill the disk: one clear line, earlier results intact; the run continues once there is space."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faults.child import run
from faults.stages import OUT, STAGES, command, digest_in_child

ENOUGH_KIB = 256 * 1024


def full_trials(work: Path, whole: Path, sizes: int) -> Iterator[dict[str, Any]]:
    """Run each stage on disks of `sizes` sizes, from almost nothing to almost enough."""
    if os.geteuid() != 0:
        raise SystemExit("error: only root may mount a small disk (tmpfs); run this as root")
    for stage in STAGES:
        needed = sum(path.stat().st_size for path in (whole / OUT[stage]).rglob("*")) // 1024
        expected = digest_in_child(stage, whole / OUT[stage])
        for number in range(1, sizes + 1):
            kib = max(needed * number // sizes, 4)
            with _small_disk(work / "disk", kib + _kib(whole / "val.ome.tif")) as disk:
                shutil.copy(whole / "val.ome.tif", disk)
                earlier = (disk / "val.ome.tif").read_bytes()
                out = disk / OUT[stage]
                code, output = run(["-q", *command(stage, whole, out)])
                silent = code != 0 and digest_in_child(stage, out) == expected
                clear = code == 0 or (output.count("\n") == 1 and "no space left" in output)
                subprocess.run(
                    ["mount", "-o", f"remount,size={ENOUGH_KIB}k", str(disk)], check=True
                )
                again, output_again = run(["-q", *command(stage, whole, out)])
                right = clear and again == 0 and digest_in_child(stage, out) == expected
                right &= (disk / "val.ome.tif").read_bytes() == earlier and not silent
            row = {"stage": stage, "kib": kib, "full": code != 0, "clear": clear, "right": right}
            yield row if right else {**row, "output": output[-800:] + output_again[-800:]}


@contextmanager
def _small_disk(folder: Path, kib: int) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _kib(path: Path) -> int:
    return -(-path.stat().st_size // 4096) * 4 + 8
