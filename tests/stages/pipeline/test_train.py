"""`train` keeps the weights of the best PQ; with `keep: last` the last ones, whatever their PQ."""

import json
from itertools import pairwise
from pathlib import Path

from nucleipel.config import TrainConfig
from nucleipel.stages.pipeline.train import train
from nucleipel.training.training_log import read_training_log


def test_it_goes_on_to_the_end_and_keeps_the_last_weights(tiny_set, tmp_path: Path) -> None:
    config = TrainConfig.model_validate(
        {
            "device": "cpu", "workers": 0, "mpp": 0.5, "window_px": 32, "core_px": 16,
            "windows_per_epoch": 16, "epochs": 5, "batch_size": 4, "patience": 1,
            "network": {"features": [16, 24], "residual_units": 1}, "keep": "last",
        }
    )  # fmt: skip
    run = train(tiny_set.manifest, tmp_path / "run", config)
    scores = [row["val_pq"] for row in read_training_log(run)]
    assert min(after - before for before, after in pairwise(scores)) <= 0, "no gain: impatience"
    assert len(scores) == 5
    record = json.loads((run / "nucleipel.json").read_text())
    assert record["val_pq"] == scores[-1]
