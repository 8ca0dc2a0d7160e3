"""Settings come from class, file and --set, in this order, and mistakes are named."""

import os
from pathlib import Path
from typing import get_args

import pytest
from support import ROOT

from nucleipel.config import (
    EvaluateConfig,
    FinetunePatchesConfig,
    PlanConfig,
    PredictConfig,
    SegmentConfig,
    StitchConfig,
    TileConfig,
    TrainConfig,
    load_config,
)
from nucleipel.errors import ConfigError

CONFIGS = ROOT / "configs"
KINDS = {
    "train": TrainConfig,
    "tile": TileConfig,
    "finetune_patches": FinetunePatchesConfig,
    "stitch": StitchConfig,
    "evaluate": EvaluateConfig,
}


def _kind_of(file: Path) -> type:
    from nucleipel.config import (
        AblateConfig,
        CalibrateConfig,
        ClusterConfig,
        DemoConfig,
        DeviationConfig,
        ExportConfig,
        FinetuneConfig,
        PredictConfig,
        SegmentConfig,
        SubmitConfig,
        SuggestConfig,
    )

    kinds = KINDS | {"predict": PredictConfig, "segment": SegmentConfig, "demo": DemoConfig}
    kinds |= {"slurm": SubmitConfig, "cluster": ClusterConfig, "plan": PlanConfig}
    kinds |= {"ablation": AblateConfig, "deviation": DeviationConfig, "export": ExportConfig}
    kinds |= {"calibrate": CalibrateConfig, "finetune": FinetuneConfig, "suggest": SuggestConfig}
    return next(kind for name, kind in kinds.items() if file.stem.startswith(name))


@pytest.mark.parametrize("file", sorted(CONFIGS.rglob("*.yaml")), ids=lambda file: file.name)
def test_every_committed_config_loads(file: Path) -> None:
    load_config(_kind_of(file), file=file)


def test_a_plan_reads_for_tile_as_for_the_other_stages() -> None:
    config = load_config(PlanConfig, assignments=["channel=2", "source_mpp=0.5", "tile.mpp=1"])
    assert config.tiling() == TileConfig(channel=2, source_mpp=0.5, mpp=1)
    config = load_config(PlanConfig, assignments=["channel=2", "tile.channel=1"])
    assert config.tiling().channel == 1


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("epochs: 3\nbatch_size: 2\nnetwork:\n  features: [16, 32]\n")
    config = load_config(TrainConfig, file=file, assignments=["batch_size=4"])
    assert (config.epochs, config.batch_size) == (3, 4)
    assert config.network.features == (16, 32)
    assert config.seed == TrainConfig().seed


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("learning_rate: 1e-3\nweight_decay: 2E-5\nclip_norm: 1\n")
    config = load_config(TrainConfig, file=file)
    assert (config.learning_rate, config.weight_decay, config.clip_norm) == (1e-3, 2e-5, 1.0)
    assert load_config(TrainConfig, assignments=["learning_rate=5e-4"]).learning_rate == 5e-4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learnin_rate: 1", "unknown key 'learnin_rate'; did you mean 'learning_rate'?"),
        ("network:\n  feature: [16]", "did you mean 'network.features'?"),
        ("epochs: ten", 'epochs is "ten": Input should be a valid integer'),
        ("epochs: 1.5", "epochs is 1.5: Input should be a valid integer"),
        ("epochs: yes", "epochs is true: Input should be a valid integer"),
        ('learning_rate: "0.1"', 'learning_rate is "0.1": Input should be a valid number'),
        ("learning_rate: .nan", "learning_rate is NaN: Input should be a finite number"),
        ("epochs: 0", "epochs is 0: Input should be greater than or equal to 1"),
        ("window_px: 100", "window_px 100 must be a multiple of 16"),
        ("augment:\n  scale_range: [2, 1]", "the smaller value comes first"),
        ("network:\n  family: basic_unet", "basic_unet takes 6 features, got 5"),
        ("epochs: 1\nepochs: 2", "key 'epochs' is given twice"),
        ("- 1", "holds a list; expected 'key: value' lines"),
        ("epochs: [", "no valid YAML"),
        ("epochs: !!python/object:os.system {}", "no valid YAML"),
        ("epochs: 2020-01-01", "expected numbers, text and lists"),
    ],
)
def test_mistakes_are_one_line_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(TrainConfig, file=file)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epochs", "--set epochs: expected key=value"),
        ("=3", "expected key=value"),
        ("epochs.deep=3", "epochs is"),
        ("epoch=3", "did you mean 'epochs'?"),
        ("epochs={", "no valid value"),
    ],
)
def test_bad_assignments_are_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match="--set") as caught:
        load_config(TrainConfig, assignments=[assignment])
    assert message in str(caught.value)


def test_a_group_cannot_be_reached_through_a_number(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("epochs: 3\n")
    with pytest.raises(ConfigError, match="'epochs' is no group of settings"):
        load_config(TrainConfig, file=file, assignments=["epochs.deep=3"])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read"):
        load_config(TrainConfig, file=tmp_path / "gone.yaml")


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_only_a_regular_file_is_read(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "c.yaml"
    make = {"pipe": lambda: os.mkfifo(file), "folder": file.mkdir,
            "device": lambda: file.symlink_to("/dev/zero")}  # fmt: skip
    make[kind]()
    with pytest.raises(ConfigError, match=r"c\.yaml: is (a folder|no regular file); expected"):
        load_config(TrainConfig, file=file)


@pytest.mark.parametrize("text", ["0", "-0.5", "500", ".inf", "0.5um"])
def test_an_mpp_that_no_microscope_has_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="--set: source_mpp is "):
        load_config(TileConfig, assignments=[f"source_mpp={text}"])


def test_patches_must_move_on() -> None:
    with pytest.raises(ConfigError, match="overlap_px 256 must be below patch_px 256"):
        load_config(TileConfig, assignments=["overlap_px=256"])


def test_identity_leaves_out_what_does_not_shape_the_result() -> None:
    one = load_config(TrainConfig, assignments=["device=cpu", "workers=0"])
    other = load_config(TrainConfig, assignments=["device=auto", "workers=4"])
    assert one.identity() == other.identity()
    assert one.identity() != load_config(TrainConfig, assignments=["seed=1"]).identity()


def test_memory_and_threads_do_not_shape_instances() -> None:
    one = load_config(StitchConfig, assignments=["threads=1", "max_ram_gb=2"])
    assert one.identity() == StitchConfig().identity()
    assert one.identity() != StitchConfig(instances={"persistence": 0.5}).identity()


def test_overrides_and_calibration_know_the_same_numbers_as_the_rule() -> None:
    from nucleipel.config import CalibrateConfig, InstanceConfig
    from nucleipel.config.pipeline.calibrate import CalibratedNumber
    from nucleipel.config.pipeline.instances import InstanceOverrides

    assert list(InstanceOverrides.model_fields) == list(InstanceConfig.model_fields)
    assert list(CalibrateConfig().candidates()) == list(get_args(CalibratedNumber))
    for name, value in (("smooth_px", 33), ("foreground_percent", 0), ("persistence", 1.1)):
        with pytest.raises(ConfigError, match=f"instances.{name} is"):
            load_config(StitchConfig, assignments=[f"instances.{name}={value}"])


@pytest.mark.parametrize(
    ("network", "stride"),
    [
        ({}, 16),
        ({"features": (16, 24), "block_px": 1}, 2),
        ({"family": "basic_unet", "features": (16,) * 6, "block_px": 1}, 16),
        ({"family": "basic_unet", "features": (16,) * 6}, 32),
    ],
)
def test_settings_and_networks_agree_on_the_stride(network: dict, stride: int) -> None:
    from nucleipel.config import NetworkConfig
    from nucleipel.model.network import NetworkSpec

    config = NetworkConfig(**network)
    spec = NetworkSpec(**config.model_dump(), in_channels=3, classes=3)
    assert config.stride == spec.stride == stride


def test_the_old_spelling_of_stained_as_is_taken(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("stained_as: colour\n")
    from_file = load_config(PredictConfig, file=tmp_path / "c.yaml")
    from_text = load_config(SegmentConfig, assignments=["stained_as=colour"])
    assert from_file.stained_as == from_text.stained_as == "color"
    assert from_file.identity() == PredictConfig(stained_as="color").identity()
    with pytest.raises(
        ConfigError, match=r'stained_as is "coloured": Input should be .auto., .color. or'
    ):
        load_config(PredictConfig, assignments=["stained_as=coloured"])
