r"""Train StarDist on a manifest's images, as a rival for `bench_accuracy.py`.

    PEER_PYTHON scripts/benchmarks/train_stardist.py --manifest data_manifests/dsb2018.csv \
        --data-root DATA_ROOT --where modality=fluorescence --epochs 60 --out PEER

In an environment of its own that has StarDist and not nucleipel (`pip install stardist==0.9.2
"tensorflow-cpu<2.20"` was used). Trains on the images of the split `train` with StarDist's own
defaults (32 rays on a grid of 2 px, patches of 256 px in batches of 4, 100 steps an epoch) and the
augmentation of its example notebook; the learning rate halves after --patience epochs without a
better loss on `val`, where StarDist would wait for 40. Thresholds are chosen on `val` by StarDist's
own optimizer. Writes the instance maps of the images of --split to PEER/<id>/instances.ome.tif,
1..n, 0 background.

After a kill the same command continues from the last epoch's weights and learning rate.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from csbdeep.utils import normalize
from skimage.io import imread
from stardist import fill_label_holes
from stardist.models import Config2D, StarDist2D
from tifffile import imwrite

STEPS_PER_EPOCH = 100


def main() -> None:
    """Train or continue, choose thresholds, and write instance maps."""
    options = _parse()
    rows = _rows(options.manifest, options.where)
    model = build_model(options.out, patience=options.patience)
    images, labels = _read(rows, "train", options.data_root)
    val_images, val_labels = _read(rows, "val", options.data_root)
    train(model, images, labels, val_images, val_labels, epochs=options.epochs, seed=options.seed)
    model.load_weights("weights_least.h5")
    model.optimize_thresholds(val_images, val_labels)
    for row in (row for row in rows if row["split"] == options.split):
        found, _ = model.predict_instances(_image(options.data_root / row["image"]))
        folder = options.out / Path(row["image"]).stem
        folder.mkdir(exist_ok=True)
        imwrite(folder / "instances.ome.tif", found.astype(np.uint32), compression="zlib")


def build_model(out: Path, *, patience: int) -> StarDist2D:
    """The model in `out`, or a new one."""
    if (out / "model" / "config.json").is_file():
        return StarDist2D(None, name="model", basedir=str(out))
    config = Config2D(
        n_rays=32,
        grid=(2, 2),
        n_channel_in=1,
        train_patch_size=(256, 256),
        train_steps_per_epoch=STEPS_PER_EPOCH,
        train_reduce_lr={"factor": 0.5, "patience": patience, "min_delta": 0},
        train_tensorboard=False,
    )
    return StarDist2D(config, name="model", basedir=str(out))


def train(
    model: StarDist2D,
    images: list[np.ndarray],
    labels: list[np.ndarray],
    val_images: list[np.ndarray],
    val_labels: list[np.ndarray],
    *,
    epochs: int,
    seed: int,
) -> None:
    """Train until `epochs` epochs are done, those of earlier runs included."""
    journal = _Journal(Path(model.logdir) / "epochs.json")
    if journal.rows:
        model.load_weights("weights_last.h5")
    left = epochs - len(journal.rows)
    if left <= 0:
        return
    rate = journal.rows[-1]["learning_rate"] if journal.rows else model.config.train_learning_rate
    model.config.train_learning_rate = rate
    model.prepare_for_training()
    model.callbacks.append(journal)
    random = np.random.default_rng([seed, len(journal.rows)])
    model.train(
        images,
        labels,
        validation_data=(val_images, val_labels),
        augmenter=lambda image, label: augmented(image, label, random),
        epochs=left,
        seed=seed + len(journal.rows),
    )


def augmented(
    image: np.ndarray, label: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Flips, quarter turns, brightness and noise: the augmenter of StarDist's 2D example."""
    turns = random.integers(4)
    image, label = np.rot90(image, turns), np.rot90(label, turns)
    if random.integers(2):
        image, label = image[::-1], label[::-1]
    image = image * random.uniform(0.6, 2) + random.uniform(-0.2, 0.2)
    noise = random.normal(size=image.shape)
    return image + 0.02 * random.uniform(0, 1) * noise, label


class _Journal(keras.callbacks.Callback):
    """A file of the finished epochs, and the weights of the last and of the best one.

    StarDist's own `weights_best.h5` knows only the epochs since the training was started again.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, float]] = json.loads(path.read_text()) if path.is_file() else []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write down an epoch once its weights are written."""
        logs = logs or {}
        self.model.save_weights(self.path.with_name("weights_last.h5"))
        if all(logs["val_loss"] < row["val_loss"] for row in self.rows):
            self.model.save_weights(self.path.with_name("weights_least.h5"))
        rate = float(self.model.optimizer.learning_rate.numpy())
        self.rows.append(
            {"learning_rate": rate, "loss": logs["loss"], "val_loss": logs["val_loss"]}
        )
        self.path.write_text(json.dumps(self.rows, indent=1))


def _rows(manifest: Path, where: list[str]) -> list[dict[str, str]]:
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = [condition.split("=", 1) for condition in where]
    return [row for row in rows if all(row[column] == value for column, value in wanted)]


def _read(
    rows: list[dict[str, str]], split: str, data_root: Path
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    chosen = [row for row in rows if row["split"] == split]
    images = [_image(data_root / row["image"]) for row in chosen]
    return images, [fill_label_holes(imread(data_root / row["label"])) for row in chosen]


def _image(path: Path) -> np.ndarray:
    """Gray image between its 1st and 99.8th percentile, as StarDist's examples normalize."""
    image = imread(path)
    gray = image if image.ndim == 2 else image[..., :3].mean(axis=-1)
    return normalize(gray, 1, 99.8).astype(np.float32)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE")
    parser.add_argument("--split", default="test", help="whose images are segmented in the end")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
