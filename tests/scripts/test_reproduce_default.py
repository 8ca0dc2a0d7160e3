"""The recipe of the packaged weights, with stand-ins that log their arguments."""

from pathlib import Path

import pytest
from support import ROOT

from nucleipel.config import TrainConfig, load_config

LABELED = r"""
(out / "manifest.csv").write_text(
    "image,label,split,source_id,modality\nimage.png,label.tif,train,S,histology_he\n"
)
"""


@pytest.fixture
def start(tmp_path: Path, run_recipe):
    slide = tmp_path / "data" / "slides" / "CMU-1-Small-Region.svs"
    for folder in (slide.parent, tmp_path / "data" / "dsb2018" / "images"):
        folder.mkdir(parents=True)
    slide.touch()

    def run() -> list[str]:
        commands = run_recipe("default.sh", {"nucleipel": "", "python": LABELED})
        return [" ".join(words).replace(f"{tmp_path}/", "") for words in commands]

    return run


def test_each_part_goes_on_with_the_slide_as_the_part_before_labels_it(
    start, tmp_path: Path
) -> None:
    commands = start()
    labels = [line for line in commands if line.startswith("python")]
    learned = [line for line in commands if "train_dsb2018_stained.yaml" in line]
    assert len(labels) == len(learned) == 2
    for label, train, before, data in zip(
        labels, learned, ("first", "before"), ("data_second", "data_third"), strict=True
    ):
        assert f"--checkpoint out/{before} " in label and f"--out out/{data}/slide" in label
        assert f"--checkpoint out/{before} " in train
        assert f"--manifest out/{data}/manifest.csv" in train
        rows = (tmp_path / "out" / data / "manifest.csv").read_text().splitlines()
        assert rows[-1] == "slide/image.png,slide/label.tif,train,S,histology_he"
        assert rows[:-1] == (ROOT / "data_manifests" / "dsb2018.csv").read_text().splitlines()
    # only the second time the network has seen stained slides
    assert ["--color" in line for line in labels] == [False, True]


def test_the_packaged_weights_are_the_mean_of_three(start) -> None:
    commands = start()
    (averaged,) = [line for line in commands if "--out out/all_mean" in line]
    assert averaged.split()[1:5] == ["average", "out/before", "out/third", "out/third_finetuned"]
    (last,) = [line for line in commands if "--out out/default" in line.split(" --config")[-1]]
    assert "calibrate --checkpoint out/all " in last and "calibrate_stained.yaml" in last


def test_windows_are_shown_as_dye_too() -> None:
    recipe = load_config(
        TrainConfig, file=ROOT / "configs" / "recipes" / "train_dsb2018_stained.yaml"
    )
    assert recipe.augment.as_dye and recipe.augment.gray_stained


def test_the_same_command_does_not_label_again(start) -> None:
    start()
    assert not [line for line in start() if line.startswith("python")]
