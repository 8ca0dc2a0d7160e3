"""Settings of losses and ablations: what has no effect is refused, and arms are named."""

from pathlib import Path

import pytest
import yaml
from support import ROOT

from nucleipel.config import AblateConfig, FinetunePatchesConfig, load_config
from nucleipel.errors import ConfigError

CONFIGS = ROOT / "configs" / "recipes"


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["region_loss=dice", "pel.n=3"], "pel is set, but region_loss is dice; set it to pel"),
        (["region_weight_ramp=0.5"], "region_weight_start and region_weight_ramp go together"),
        (["region_weight_start=0"], "region_weight_start and region_weight_ramp go together"),
        (["region_loss=none", "region_weight=2"], "region_loss is none, so its weight"),
        (["region_loss=none", "cross_entropy_weight=0"], "are both 0; raise one"),
        (["region_weight=0", "cross_entropy_weight=0"], "are both 0; raise one"),
        (["pel.classes=[interior]", "pel.class_weights=[1, 2]"], "2 class_weights for 1 classes"),
        (["pel.classes=[interior, interior]"], "each once"),
        (["pel.class_weights=[0, 0, 0]"], "class_weights are all 0"),
        (["pel.boundary_weight=2", "pel.form=dice"], "but the form is dice; set it to deviation"),
        (["pel.boundary_px=3"], "boundary_px is set, but boundary_weight is 1; set both"),
        (["pel.block_px=64", "pel.batch_sums=true"], "block_px cuts patches apart, batch_sums"),
        (["pel.n_ramp=2"], r"pel\.n_ramp is 2"),
        (["pel.n_ramp=0.5"], "n_ramp is set, but n is 1"),
        (["region_loss=dicefocal"], "region_loss is"),
    ],
)
def test_settings_without_effect_are_refused(assignments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(FinetunePatchesConfig, assignments=assignments)


def test_the_schedules_and_classes_reach_the_loss() -> None:
    import torch

    from nucleipel.losses import PELoss
    from nucleipel.stages.pipeline.finetune_patches import _build_loss

    config = load_config(
        FinetunePatchesConfig,
        assignments=[
            "pel.form=deviation",
            "pel.n=3",
            "pel.n_ramp=0.5",
            "region_weight=2",
            "region_weight_start=0",
            "region_weight_ramp=1",
            "pel.classes=[boundary, interior]",
            "pel.class_weights=[3, 1]",
            "pel.batch_sums=true",
            "pel.boundary_weight=2",
            "pel.boundary_px=1",
        ],
    )
    loss = _build_loss(config)
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4)
    onehot = torch.nn.functional.one_hot(torch.randint(3, (2, 4, 4)), 3).movedim(-1, 1).float()
    entropy = torch.nn.functional.cross_entropy(logits, onehot)
    for progress, n, weight in ((0, 1, 0), (0.25, 2, 0.5), (1, 3, 2)):
        loss.set_progress(progress)
        pel = PELoss(
            "deviation", 1, n, classes=[2, 1], weight=[3, 1], batch=True,
            boundary_weight=2, boundary_px=1,
        )  # fmt: skip
        expected = entropy + weight * pel(logits, onehot)
        assert loss.classes(logits, onehot).item() == pytest.approx(expected.item())


def test_blocks_reach_the_loss() -> None:
    from nucleipel.stages.pipeline.finetune_patches import build_pel

    config = load_config(FinetunePatchesConfig, assignments=["pel.block_px=64"])
    assert build_pel(config.pel).block_px == 64
    assert build_pel(FinetunePatchesConfig().pel).block_px is None


def test_the_committed_ablation_has_the_arms_of_its_comment() -> None:
    config = load_config(AblateConfig, file=CONFIGS / "ablation_dsb2018.yaml")
    arms = config.all_arms()
    assert len(arms) == 5 + 3 * 3 * 5
    assert arms["original"].pel.model_dump(include={"form", "alpha", "n", "batch_sums"}) == {
        "form": "original",
        "alpha": 20,
        "n": 3,
        "batch_sums": True,
    }
    assert arms["deviation-n2-a0.5"].pel.alpha == 0.5
    assert {"dice-n1-a2", "deviation-n1-a1"} < arms.keys()
    assert arms["control"].region_loss == "dice"
    elsewhere = load_config(AblateConfig, file=CONFIGS / "ablation_monuseg.yaml")
    assert elsewhere.all_arms() == arms, "arms that were chosen on one set exist on the other"


def test_the_committed_further_ablation_has_no_grid() -> None:
    config = load_config(AblateConfig, file=CONFIGS / "ablation_further_dsb2018.yaml")
    assert config.all_arms() == config.arms
    assert config.arms["deviation-edges-4-drawn"].pel.boundary_weight == 4
    assert {arm.sampling for arm in config.arms.values()} == {"uniform", "deviation"}


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["finetune.region_loss=dice"], r"finetune\.region_loss is set by the arms"),
        (["finetune.sampling=deviation"], r"finetune\.sampling is set by the arms"),
        (["finetune.keep=best"], r"finetune\.keep is set by the arms or beside finetune"),
        (["calibrate=[persistense]"], r"calibrate\.0 is"),
        (
            ["instances.foreground_percent=60"],
            r"instances\.foreground_percent is set, but calibrate chooses it for each run",
        ),
        (
            ["arms={control: {region_loss: dice}, small: {pel: {block_px: 48}}}"],
            r"arms\.small\.pel\.block_px 48 does not divide patch_px 256; set it to a divisor",
        ),
        (["finalists.arms=[controll]"], "no arm 'controll'; there are control"),
        (["arms={a/b: {region_loss: dice}}"], r"arms\.a/b"),
        (["arms.control.seed=3"], "unknown key 'arms.control.seed'"),
    ],
)
def test_mistakes_in_an_ablation_are_named(assignments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(AblateConfig, assignments=assignments)


def test_jobs_and_growth_do_not_change_an_ablation() -> None:
    one = AblateConfig(base="a", jobs=1).identity()
    other = load_config(
        AblateConfig, assignments=["base=b", "jobs=4", "finalists.seeds=[7]", "grid.n=[4]"]
    )
    assert one == other.identity()
    assert one != AblateConfig(threads=2).identity()


@pytest.mark.parametrize(
    "name", ["ablation_dsb2018", "ablation_further_dsb2018", "ablation_monuseg"]
)
def test_an_ablation_is_written_as_it_can_be_read(name: str, tmp_path: Path) -> None:
    config = load_config(AblateConfig, file=CONFIGS / f"{name}.yaml", assignments=["base=a"])
    written = tmp_path / "config.yaml"
    written.write_text(yaml.safe_dump(config.to_file()), encoding="utf-8")
    assert load_config(AblateConfig, file=written) == config
