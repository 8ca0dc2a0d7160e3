"""Markers, a tiny generated data set, an untrained checkpoint, and the folder of real data."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

# no test depends on the time that something takes: a first call compiles, a machine is busy
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

NEEDS = {"real_data": "data", "slurm": "slurm", "chromium": "browser"}
"""The marker of every test that uses a fixture, directly or through another fixture."""
TOGETHER = {"tests/slurm/": "a Slurm"}
"""What some files share that takes long to make: one process has them all."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they need (`slow` stands at the tests themselves); long files go first."""
    for item in items:
        for fixture, marker in NEEDS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    first = tuple(TOGETHER)
    items.sort(key=lambda item: (not item.nodeid.startswith(first), item.path not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process whole files, in the order of collection."""
    from xdist.scheduler import LoadFileScheduling

    class WholeFiles(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            shared = (name for start, name in TOGETHER.items() if file.startswith(start))
            return next(shared, file)

    config.option.loadscopereorder = False
    return WholeFiles(config, log)


@pytest.fixture(scope="session", autouse=True)
def one_process() -> Iterator[None]:
    """Have `segment` stitch in its own process, as on one core: a second one starts Python anew.

    The second process has tests of its own: tests/stages/pipeline/test_stitch_process.py and
    tests/cli/test_killed_segment.py.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("nucleipel.stages.pipeline.stitch_process.core_count", lambda: 1)
        yield


@dataclass(frozen=True)
class TinySet:
    """Three generated slides, one a split, in a folder with their manifest."""

    folder: Path
    manifest: Path

    def image(self, split: str) -> Path:
        return self.folder / f"{split}.ome.tif"


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> TinySet:
    from nucleipel.data.synthetic import build_scene
    from nucleipel.io.slides.write_slide import write_annotation, write_slide

    folder = tmp_path_factory.mktemp("tiny set")  # a space in a path is nothing unusual
    lines = ["image,label,split,source_id,mpp"]
    for seed, (split, shape) in enumerate(
        {"train": (160, 224), "val": (128, 128), "test": (100, 170)}.items()
    ):
        scene = build_scene(shape, seed=seed, glass=False)
        write_slide(folder / f"{split}.ome.tif", scene.image, mpp=0.5)
        write_annotation(folder / f"{split}_label.tif", scene.instance_map)
        lines.append(f"{split}.ome.tif,{split}_label.tif,{split},source-{split},0.5")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return TinySet(folder, manifest)


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network that was never trained, for tests that do not check the nuclei."""
    from dataclasses import asdict

    from support.untrained import small_network, write_untrained

    from nucleipel.instances.instance_rule import InstanceRule

    return write_untrained(
        tmp_path_factory.mktemp("checkpoint"), small_network(block_px=1), seed=1, core_px=16,
        instances=asdict(InstanceRule(min_area_px=1)),
    )  # fmt: skip


@pytest.fixture(scope="session")
def real_data() -> Path:
    root = os.environ.get("NUCLEIPEL_TEST_DATA")
    if not root:
        pytest.skip("real data: set NUCLEIPEL_TEST_DATA to the folder that holds dsb2018")
    return Path(root)
