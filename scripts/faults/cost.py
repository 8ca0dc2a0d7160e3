"""Which share of a stage's time goes into hashes, fsync, journals and saved states."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults.child import in_child
from faults.stages import OUT, set_each, write_slides

import nucleipel.stages.finetune_patches
import nucleipel.stages.stitch
from nucleipel.cli.main import cli


def cost_trials(work: Path, side: int) -> Iterator[dict[str, Any]]:
    """Run the stages on larger slides with the clock stopped around what makes them safe."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    shapes = {"train": side, "val": 512, "test": side}
    write_slides(work, {split: (length, length) for split, length in shapes.items()})
    manifest = ["--manifest", work / "manifest.csv"]
    small = set_each(["device=cpu", "workers=0", "mpp=0.5", "epochs=2", "windows_per_epoch=64"])
    commands = {
        "train": [*manifest, *small],
        "tile": [*manifest, *set_each(["mpp=0.5"])],
        "predict": [*manifest, "--checkpoint", work / "train", *set_each(["device=cpu"])],
        "stitch": ["--predictions", work / "maps.zarr"],
    }
    for stage, arguments in commands.items():
        words = [stage, *map(str, arguments), "--out", str(work / OUT[stage])]
        code, told = in_child(_timed(words))
        if code:
            raise SystemExit(f"{stage} failed: {told}")
        seconds, safe = map(float, told.split("cost")[-1].split()[:2])
        facts = {"seconds": round(seconds, 2), "safety": round(safe, 3)}
        yield {"stage": stage, **facts, "share": round(safe / seconds, 4), "right": True}


def _timed(words: list[str]) -> Callable[[], None]:
    spent = [0.0]

    def around(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.monotonic()
            try:
                return real(*arguments, **named)
            finally:
                spent[0] += time.monotonic() - start

        setattr(owner, name, timed)

    def work() -> None:
        around(nucleipel.io.sums.Written, "add")
        around(nucleipel.io.output.Output, "commit")
        around(nucleipel.training.state.TrainingState, "save")
        around(nucleipel.io.instances, "sync_tree")
        start = time.monotonic()
        try:
            cli(words)
        except SystemExit as end:
            if end.code:
                raise
        print("cost", time.monotonic() - start, spent[0])  # noqa: T201

    return work
