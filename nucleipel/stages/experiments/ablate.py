"""Fine-tune one base with several losses or ways of sampling, and compare the results."""

import logging
from pathlib import Path

import yaml

from nucleipel.config import (
    AblateConfig,
    ArmConfig,
    CalibrateConfig,
    FinetunePatchesConfig,
    TileConfig,
)
from nucleipel.core.atomic import write_json, write_text
from nucleipel.errors import ConfigError
from nucleipel.inference.probability_map import choose_device
from nucleipel.io.manifest import Manifest, read_manifest
from nucleipel.io.records.output import CONFIG, claim_output
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.experiments.ablation_report import (
    BASE,
    CONTROL,
    SplitScores,
    read_scores,
    write_ablation_report,
    write_results,
)
from nucleipel.stages.experiments.ablation_runs import Run, finish
from nucleipel.stages.pipeline.tile import tile

log = logging.getLogger(__name__)

PATCHES = "patches.zarr"
ORIGINAL = "original"
RIVALS = ("focal_tversky", "dice_focal")


def ablate(out: Path, config: AblateConfig, *, overwrite: bool = False) -> Path:
    """Run the grid on val, choose finalists by it, score them on test; return the report's path.

    Every arm starts from the same checkpoint and takes the same steps over the
    same patches in the same order; a seed changes the order for all of them
    alike. Every run, the base too, is scored with numbers of the instance rule
    that were chosen for it on val: an arm that only shifts probabilities would
    lose or win by the base's numbers. Dice is scored with those of best Dice,
    all other measures with those of best PQ. The grid is trained and scored
    without the test images. Finished runs stay: the same command continues, and
    one with more arms or seeds does what is missing.
    """
    base, manifest, data_root = _inputs(config)
    start = read_checkpoint(base)
    needed = ("train", "val", *(("test",) if config.finalists.seeds else ()))
    rows = read_manifest(manifest, data_root=data_root, needed=needed)
    for split in needed:
        rows.of_split(split).annotated()
    choose_device(config.device)
    learned = Manifest(rows.path, rows.of_split("train").rows + rows.of_split("val").rows)
    output = claim_output(
        out,
        stage="ablate",
        config=config.identity(),
        inputs={"base": start.fingerprint, "images": learned.fingerprint()},
        overwrite=overwrite,
    )
    write_text(out / CONFIG, yaml.safe_dump(config.to_file(), sort_keys=False))
    description = start.description
    tiling = TileConfig(
        mpp=description.mpp,
        channels=1 if description.network.in_channels == 1 else 3,
        patch_px=config.patch_px,
        overlap_px=config.overlap_px,
    )
    tile(manifest, out / PATCHES, tiling, data_root=data_root)

    scores: list[SplitScores] = []
    finalists = config.finalists.arms
    if finalists is None:
        runs = _runs(out, config, list(config.all_arms()), seeds=config.grid.seeds, split="val")
        scores.append(_finish(out, runs, rows, config, earlier=scores))
        means = scores[0].means(config.select_by)
        finalists = select_finalists(config.all_arms(), means, by=config.select_by)
        selection = {"by": config.select_by, "finalists": finalists}
        selection["transfer"] = select_transfer(config.all_arms(), finalists, means)
        write_json(out / "selection.json", selection)
    if config.finalists.seeds:
        runs = _runs(out, config, finalists, seeds=config.finalists.seeds, split="test")
        scores.append(_finish(out, runs, rows, config, earlier=scores))
    report = write_ablation_report(out, scores, config, base=start.sha256)
    output.commit(finalists=list(finalists))
    return report


def select_finalists(
    arms: dict[str, ArmConfig], means: dict[str, float], *, by: str
) -> tuple[str, ...]:
    """The control, the best PEL of each form, the original setting, and the best rival.

    Also the best arm that goes on with the control's loss on other patches.
    `means` are the arms' scores on val; an arm without one failed and cannot
    be chosen. Of equal arms the first one named is taken.
    """
    chosen = [CONTROL]
    pel = {name: arm for name, arm in arms.items() if arm.region_loss == "pel" and name != ORIGINAL}
    groups = [
        [name for name, arm in pel.items() if arm.pel.form == form]
        for form in dict.fromkeys(arm.pel.form for arm in pel.values())
    ]
    groups.append([name for name in arms if name == ORIGINAL])
    groups.append([name for name, arm in arms.items() if arm.region_loss in RIVALS])
    own = arms[CONTROL].region_loss
    groups.append([name for name in arms if arms[name].region_loss == own and name != CONTROL])
    for group in groups:
        scored = [name for name in group if name in means]
        if scored:
            chosen.append(max(scored, key=means.__getitem__))
    log.info("finalists by %s on val: %s", by, ", ".join(chosen))
    return tuple(chosen)


def select_transfer(
    arms: dict[str, ArmConfig], finalists: tuple[str, ...], means: dict[str, float]
) -> tuple[str, ...]:
    """Arms to try on other data too: the control, the best PEL and the best rival."""
    groups = (
        [name for name in finalists if arms[name].region_loss == "pel"],
        [name for name in finalists if arms[name].region_loss in RIVALS],
    )
    return (CONTROL, *(max(group, key=means.__getitem__) for group in groups if group))


def _inputs(config: AblateConfig) -> tuple[Path, Path, Path | None]:
    if not config.base:
        raise ConfigError("base is not set: the run folder that all arms start from; --checkpoint")
    if not config.manifest:
        raise ConfigError("manifest is not set: the CSV of annotated images; give --manifest")
    return (
        Path(config.base),
        Path(config.manifest),
        Path(config.data_root) if config.data_root else None,
    )


def _runs(
    out: Path, config: AblateConfig, arms: tuple[str, ...] | list[str], *, seeds: tuple[int, ...],
    split: str,
) -> list[Run]:  # fmt: skip
    base, manifest, data_root = _inputs(config)
    calibrate = _calibration_config(config)
    known = config.all_arms()
    # the control first: whether the base is saturated should be known early
    order = [BASE, CONTROL, *(name for name in known if name in arms and name != CONTROL)]
    order = [name for name in order if name == BASE or name in arms]
    return [
        Run(
            folder=out / "runs" / arm / f"seed-{seed}",
            arm=arm,
            seed=seed,
            split=split,
            base=base,
            patches=out / PATCHES,
            manifest=manifest,
            data_root=data_root,
            finetune=None if arm == BASE else _finetune_config(config, known[arm], seed=seed),
            instances=config.instances,
            calibrate=calibrate,
        )
        for arm in order
        for seed in (seeds if arm != BASE else (0,))
    ]


def _calibration_config(config: AblateConfig) -> CalibrateConfig:
    every = CalibrateConfig(device=config.device)
    kept = [name for name in every.candidates() if name not in config.calibrate]
    return every.model_copy(update=dict.fromkeys(kept, ()))


def _finetune_config(config: AblateConfig, arm: ArmConfig, *, seed: int) -> FinetunePatchesConfig:
    own = {name: getattr(arm, name) for name in ArmConfig.model_fields}
    shared = {
        "seed": seed,
        "device": config.device,
        "workers": config.workers,
        "keep": "last",
        "instances": config.instances,
    }
    return config.finetune.model_copy(update=own | shared)


def _finish(
    out: Path,
    runs: list[Run],
    rows: Manifest,
    config: AblateConfig,
    *,
    earlier: list[SplitScores],
) -> SplitScores:
    def commit() -> None:
        write_results(out, [*(run for scores in earlier for run in scores.runs), *runs])

    commit()
    # seed by seed: whenever it is stopped, the finished runs are of all arms
    by_seed = sorted(runs, key=lambda run: run.seed)
    finish(by_seed, jobs=config.jobs, threads=config.threads, done=commit)
    return read_scores(runs, rows)
