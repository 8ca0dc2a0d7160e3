"""Images with corrected labels become rows of a manifest that can be trained on."""

from pathlib import Path

import numpy as np
import pytest

from nucleipel.errors import ArgumentError
from nucleipel.io.manifest import read_manifest
from nucleipel.stages.files.training_data import save_training_data

IMAGE = np.full((8, 6, 3), 200, np.uint8)
LABELS = np.zeros((8, 6), np.int64)
LABELS[1:3, 1:4] = 70_000
SQUARE = np.array([[0.0, 0.0], [0.0, 4.0], [4.0, 4.0], [4.0, 0.0]])


def test_images_are_added_and_replaced_by_name(tmp_path: Path) -> None:
    save_training_data(tmp_path, "a", IMAGE, LABELS, mpp=0.5)
    save_training_data(tmp_path, "b", IMAGE[..., 0], LABELS, mpp=None, regions=[SQUARE])
    manifest = save_training_data(tmp_path, "a", IMAGE, LABELS * 0, mpp=0.25, regions=[SQUARE])
    b, a = read_manifest(manifest).annotated()
    assert (a.id, a.mpp, b.id, b.mpp) == ("a", 0.25, "b", None)
    region = a.load_annotation((8, 6)).region
    assert region is not None
    assert region.boxes.tolist() == [[0, 0, 4, 4]]
    assert b.load_annotation((8, 6)).region is not None


def test_rows_and_columns_of_the_user_stay(tmp_path: Path) -> None:
    save_training_data(tmp_path, "a", IMAGE, LABELS, mpp=0.5)
    path = tmp_path / "manifest.csv"
    header, row = path.read_text().splitlines()
    path.write_text(f"{header},organ\n{row},liver\n")
    save_training_data(tmp_path, "b", IMAGE, LABELS, mpp=0.5)
    header, first, second = path.read_text().splitlines()
    assert header.endswith(",organ")
    assert first == f"{row},liver"
    assert second.endswith(",")


@pytest.mark.parametrize(
    ("name", "image", "labels", "message"),
    [
        ("a/b", IMAGE, LABELS, "'a/b' cannot name a file"),
        ("a", IMAGE / 255, LABELS, "pixels are float64"),
        ("a", IMAGE, LABELS.T, "labels are 6 x 8 px, the image is 8 x 6"),
        ("a", IMAGE, LABELS * 0, "no nucleus is labeled"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    tmp_path: Path, name: str, image: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        save_training_data(tmp_path / "new", name, image, labels, mpp=0.5)
    assert not (tmp_path / "new").exists()
