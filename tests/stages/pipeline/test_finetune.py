"""Fine-tuning on few images: what is kept, what is reported, and a kill in between."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from support.untrained import small_network, write_untrained

import nucleipel.stages.pipeline.finetune as stage
from nucleipel.config import FinetuneConfig
from nucleipel.errors import CheckpointError, ManifestError
from nucleipel.io.csv_table import read_table
from nucleipel.io.manifest import read_manifest
from nucleipel.metrics.bootstrap import Interval
from nucleipel.metrics.scores import ImageScore
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.pipeline.cross_scores import Choice, Comparison
from nucleipel.stages.pipeline.finetune import finetune

pytestmark = pytest.mark.slow

SHORT = FinetuneConfig(
    device="cpu", windows=8, window_px=32, batch_size=2, shares=(0.5,),
    calibrate=("foreground_percent",),
)  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = small_network(block_px=1)
    numbers = {"foreground_percent": 30, "min_area_px": 1}
    return write_untrained(tmp_path_factory.mktemp("start"), network, core_px=64, instances=numbers)


@pytest.fixture(scope="module")
def two_images(tiny_set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of the tiny set but its test image, one a source."""
    folder = tmp_path_factory.mktemp("two") / "images"
    shutil.copytree(tiny_set.folder, folder)
    return folder / tiny_set.manifest.name


@pytest.fixture(scope="module")
def messages() -> list[str]:
    return []


@pytest.fixture(scope="module")
def finished(
    start: Path, two_images: Path, messages: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    class ToList(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, handler = logging.getLogger("nucleipel"), ToList()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        return finetune(two_images, tmp_path_factory.mktemp("run") / "out", SHORT, checkpoint=start)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_the_log_says_what_is_done_and_nothing_of_the_stages_within(
    finished: Path, messages: list[str]
) -> None:
    *steps, outcome = messages
    assert steps == [
        "training on half 1 of 2 (sources): 8 windows",
        "training on half 2 of 2 (sources): 8 windows",
        "scoring the start and its means with the trained weights, held apart",
    ]
    assert outcome.startswith(f"{finished}: ")


def test_a_checkpoint_a_report_and_a_picture_are_left(finished: Path, start: Path) -> None:
    report = json.loads((finished / stage.REPORT).read_text())
    record = json.loads((finished / "nucleipel.json").read_text())
    assert record["complete"]
    assert record["kept"] == report["kept"]
    assert report["checkpoint_sha256"] == read_checkpoint(finished).sha256
    assert {line["id"] for line in read_table(finished / "report.csv")} == {"train", "val"}
    assert (finished / stage.PICTURE).read_bytes().startswith(b"\x89PNG")
    assert not (finished / stage.WORK).exists()
    if report["kept"] == "start":
        assert read_checkpoint(finished).sha256 == read_checkpoint(start).sha256


def test_killed_in_between_it_ends_with_the_same_bytes(
    finished: Path, start: Path, two_images: Path, tmp_path: Path, monkeypatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(stage, "CrossScores", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune(two_images, out, SHORT, checkpoint=start)
    assert (out / stage.WORK / "half-1").is_dir()
    finetune(two_images, out, SHORT, checkpoint=start)
    names = ["checkpoint.safetensors", "checkpoint.json", "report.json", "report.csv", "gain.png"]
    for name in names:
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name
    before = (out / "nucleipel.json").stat().st_mtime_ns
    finetune(two_images, out, SHORT, checkpoint=start)
    assert (out / "nucleipel.json").stat().st_mtime_ns == before, "what is finished is left alone"


def test_what_gains_nothing_leaves_the_start(start: Path, two_images: Path, tmp_path: Path) -> None:
    idle = SHORT.model_copy(update={"learning_rate": 1e-12, "calibrate": (), "windows": 2})
    out = finetune(two_images, tmp_path / "out", idle, checkpoint=start)
    kept, before = read_checkpoint(out), read_checkpoint(start)
    assert kept.sha256 == before.sha256
    assert kept.description.instances == before.description.instances
    report = json.loads((out / stage.REPORT).read_text())
    assert (report["kept"], report["share_of_fine_tuned"]) == ("start", 0)


def test_the_start_is_scored_as_segment_uses_it(two_images: Path, tmp_path: Path) -> None:
    """Images of stained tissue may have numbers of their own; this start finds nothing there."""
    nothing = {"min_area_px": 10**6}
    start = write_untrained(
        tmp_path / "start", small_network(block_px=1), core_px=64,
        instances={"foreground_percent": 30, "min_area_px": 1}, stained_instances=nothing,
    )  # fmt: skip
    idle = SHORT.model_copy(update={"learning_rate": 1e-12, "calibrate": (), "windows": 2})
    out = finetune(two_images, tmp_path / "out", idle, checkpoint=start)
    report = json.loads((out / stage.REPORT).read_text())
    assert report["pooled_over_nuclei"]["start"]["aji"] == 0
    assert read_checkpoint(out).description.stained_instances == nothing


@pytest.mark.parametrize("chosen", [None, {"min_area_px": 7}])
def test_numbers_are_those_that_were_chosen_or_those_of_the_start(
    tmp_path: Path, chosen: dict[str, int] | None
) -> None:
    """A training alone has those of a new network."""
    network = small_network(block_px=1)
    start = write_untrained(
        tmp_path / "start", network,
        instances={"min_area_px": 5}, stained_instances={"min_area_px": 9},
    )  # fmt: skip
    trained = write_untrained(tmp_path / "trained", network, instances={"min_area_px": 1})
    kept = stage._with_numbers(read_checkpoint(trained), read_checkpoint(start), chosen)
    numbers = [kept.description.instances_of(stained=stained) for stained in (False, True)]
    of_start = [{"min_area_px": 5}, {"min_area_px": 9}]
    assert numbers == (of_start if chosen is None else [chosen, chosen])


def test_one_image_and_two_columns_are_enough(
    start: Path, two_images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = read_manifest(two_images).rows[0]
    alone = two_images.with_name("alone.csv")
    alone.write_text(f"image,label,id\n{row.image},{row.label},{row.id}\n")
    bold = SHORT.model_copy(update={"shares": (0.75, 1.0)})
    out = finetune(alone, tmp_path / "out", bold, checkpoint=start)
    table = read_table(out / "report.csv")
    assert [line["id"] for line in table] == [f"train-part-{place}" for place in (1, 2, 3, 4)]
    report = json.loads((out / stage.REPORT).read_text())
    assert report["held_apart"] == "quarters of one image"
    assert "of one source: the result may be worse on others" in caplog.text
    assert report["share_of_fine_tuned"] <= 0.5, "one source says little of others"


def test_too_few_nuclei_leave_nothing_behind(start: Path, two_images: Path, tmp_path: Path) -> None:
    """Else the same command would be refused once more is annotated."""
    row = read_manifest(two_images).rows[0]
    few = two_images.with_name("few.csv")
    empty = two_images.with_name("empty.tif")
    tifffile.imwrite(empty, np.zeros_like(tifffile.imread(row.require_label())))
    few.write_text(f"image,label,id\n{row.image},{empty},{row.id}\n")
    with pytest.raises(ManifestError, match="0 annotated nuclei; annotate at least 4"):
        finetune(few, tmp_path / "out", SHORT, checkpoint=start)
    assert not (tmp_path / "out").exists()


def test_a_column_that_is_misspelled_is_named(
    start: Path, two_images: Path, tmp_path: Path
) -> None:
    """Its test images would be trained on otherwise."""
    misspelled = two_images.with_name("misspelled.csv")
    misspelled.write_text("image,label,spilt\na.png,b.png,test\n")
    with pytest.raises(ManifestError, match=r"'split' is missing; .* is 'spilt' meant"):
        finetune(misspelled, tmp_path / "out", SHORT, checkpoint=start)
    assert not (tmp_path / "out").exists()


def test_a_network_of_whole_images_is_refused(
    tmp_path: Path, two_images: Path, start: Path
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(start, whole)
    text = (whole / "checkpoint.json").read_text()
    fields = json.loads(text)
    fields["grid"]["whole_image_px"] = 64
    fields.pop("content_sha256", None)
    (whole / "checkpoint.json").write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match="takes whole images"):
        finetune(two_images, tmp_path / "out", SHORT, checkpoint=whole)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("low", "kept"),
    [(0.01, "the fine-tuned weights are kept"), (0.0, "the start is kept")],
)
def test_the_outcome_is_said_in_one_line(low: float, kept: str) -> None:
    ids = np.eye(4, dtype=np.int32)
    scores = [ImageScore.of(ids, ids)]
    comparison = Comparison(
        scores, scores, ("a",), {"sought": Interval(0.02, low, 0.03)}, Choice(0.5, None)
    )
    assert comparison.is_better == (low > 0)
    assert kept in comparison.describe()
    assert "\n" not in comparison.describe()


@pytest.mark.parametrize(
    ("nuclei", "windows"), [(20, 512), (2560, 512), (10_103, 2020), (10**6, 4096)]
)
def test_more_nuclei_are_shown_in_more_windows(nuclei: int, windows: int) -> None:
    assert stage._windows(nuclei) == windows
