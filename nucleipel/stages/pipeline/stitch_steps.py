"""One image from its probability map to its files, in steps whose parts any process may do.

Every part is done once it is in the image's scratch folder, and needs nothing
but the steps before. So a process that is killed costs its part, and what is
written does not depend on who did what.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.config import StitchConfig
from nucleipel.core.geometry import Box
from nucleipel.core.progress import track
from nucleipel.core.stop_signals import in_steps
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.errors import ConfigError
from nucleipel.figures.image_report import EXAMPLES
from nucleipel.instances.blocks import BlockPlan
from nucleipel.instances.cells import Cells
from nucleipel.instances.instance_rule import InstanceRule, IntegerRule
from nucleipel.instances.measurements import MeasuredImage, measure_nuclei
from nucleipel.instances.output_frame import OutputMap
from nucleipel.instances.overlay import draw_overlay
from nucleipel.instances.segment_steps import MAX_COMPONENT_PX, Segmentation
from nucleipel.instances.statistics import ImageStatistics
from nucleipel.io.nuclei.drawn_map import DrawnMap
from nucleipel.io.nuclei.image_output import (
    ROWS,
    ImageOutput,
    build_header,
    is_written,
    work_folder,
)
from nucleipel.io.nuclei.label_pyramid import ReadPart
from nucleipel.io.nuclei.write_geoparquet import decode_geoparquet
from nucleipel.io.records.output import Output
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide
from nucleipel.io.stores.predictions import Prediction
from nucleipel.stages.pipeline.report_contents import report_of_image

KEPT, WRITING = "kept", "writing"
NO_MPP = "expand_um: the pixel size is not known; give the mpp of the image"


@dataclass(frozen=True, slots=True)
class StitchStep:
    """A step of `parts` parts, 0 to `parts` - 1; each of them needs all parts of the step before.

    `do` does some of them, `is_done` says whether one is done, by whomever.
    """

    name: str
    parts: int
    is_done: Callable[[int], bool]
    do: Callable[[Sequence[int]], None]


def frame_of(working: Resolution, config: StitchConfig) -> Resolution:
    """The frame that nuclei are written in, which were found in that of `working`."""
    return working.at_level_0() if config.map_frame == "level0" else working


class ImageStitch:
    """The work on one image; `steps` is all of it.

    Parameters
    ----------
    prediction : Prediction
        Its map.
    slide : Slide, optional
        The image in the frame of the result.
    output : Output
        The output of the stage.
    config : StitchConfig
    rule : InstanceRule
        By which nuclei are found.
    block_px : int
        Side of the blocks.
    source : str
        What identifies the map.
    clock : Stopwatch
    build_report : callable
        Builds the page, as `report_of_image`.
    in_memory : bool, optional
        Whether what is done waits in memory; by default where there is one block.
    """

    def __init__(
        self,
        prediction: Prediction,
        slide: Slide | None,
        output: Output,
        config: StitchConfig,
        *,
        rule: InstanceRule,
        block_px: int,
        source: str,
        clock: Stopwatch,
        build_report: Callable[..., str] = report_of_image,
        in_memory: bool | None = None,
    ) -> None:
        self._prediction, self._slide, self._output = prediction, slide, output
        self._config, self._clock, self._build_report = config, clock, build_report
        self._frame = frame_of(prediction.resolution, config)
        if config.expand_um is not None and self._frame.mpp is None:
            raise ConfigError(f"{prediction.id}: {NO_MPP}")
        plan = BlockPlan(
            prediction.resolution.shape, IntegerRule.of(rule), block_px, MAX_COMPONENT_PX
        )
        if in_memory is None:
            in_memory = plan.grid == (1, 1)  # done in a second, or done again
        self._segmentation = Segmentation(
            prediction.open_map(),
            rule,
            plan,
            workers=config.threads,
            scratch=None if in_memory else work_folder(output.folder, prediction.id) / "scratch",
            source=source,
        )

    @property
    def steps(self) -> Iterator[StitchStep]:
        """The steps, one after another."""
        nuclei, rows = self._segmentation, len(self._segmentation.rows)
        timed = partial(_timed, self._clock.phase, "stitch")
        yield StitchStep("solving blocks", rows, nuclei.is_solved, timed(nuclei.solve))
        yield StitchStep("joining", 1, lambda _: nuclei.is_joined, timed(lambda _: nuclei.join()))
        yield StitchStep("solving seams", rows, nuclei.are_seams_solved, timed(nuclei.solve_seams))
        yield StitchStep(
            "numbering", 1, lambda _: nuclei.is_numbered, timed(lambda _: self._number())
        )
        files = self._files
        yield StitchStep("measuring", rows, files.nuclei.has_rows, self._measure)
        yield from self._drawing("drawing the map", files.nuclei.map, self._read_drawn)
        if files.cells is not None:
            yield StitchStep("measuring cells", rows, files.cells.has_rows, self._measure_cells)
            yield from self._drawing("drawing cells", files.cells.map, self._cells.read)
        yield StitchStep(
            WRITING,
            1,
            lambda _: is_written(self._output.folder, self._prediction.id),
            lambda _: self._finish(),
        )

    @property
    def rows(self) -> int:
        """Number of rows of blocks of the map."""
        return len(self._segmentation.rows)

    @cached_property
    def nuclei(self) -> int:
        """Number of nuclei in the result, once they are numbered."""
        return len(self._drawn.kept) - self._drawn.lost

    @cached_property
    def _drawn(self) -> OutputMap:
        """The map in the frame of the result."""
        composed, scratch = self._segmentation.composed(), self._segmentation.scratch
        working = self._prediction.resolution
        return OutputMap(
            composed,
            nuclei=composed.nuclei,
            shape=self._frame.shape,
            ratio=working.ratio / self._frame.ratio,
            kept=scratch.get(KEPT)[KEPT] if KEPT in scratch else None,
        )

    @cached_property
    def _cells(self) -> Cells:
        """The cells around the nuclei of the result."""
        um, mpp = self._config.expand_um, self._frame.mpp
        if um is None or mpp is None:
            raise AssertionError("only where cells are wanted")
        return Cells(self._drawn, um=um, mpp=mpp, count=self.nuclei)

    def _number(self) -> None:
        self._segmentation.number()
        if self._drawn.lost:  # found once, and not by each process
            self._segmentation.scratch.put(KEPT, {KEPT: self._drawn.kept})

    def _certificate(self, digest: int = 0) -> dict[str, Any]:
        prediction = self._prediction
        certificate = self._segmentation.certify(digest)
        return {
            **certificate.to_json(canonical_map=prediction.canonical_map),
            "map": self._drawn.to_json(),
            "source": asdict(prediction.resolution.source),
            "tissue": dict(prediction.tissue),
            "intensity": dict(prediction.intensity),
            **({"view": dict(prediction.view)} if prediction.view else {}),
            **prediction.origin,
            **({} if self._config.expand_um is None else {"cells": self._cells.to_json()}),
        }

    @cached_property
    def _files(self) -> ImageOutput:
        shape, name = self._drawn.shape, self._prediction.id
        return ImageOutput(
            self._output.folder,
            name,
            self._segmentation.scratch,
            shape=shape,
            frame=self._frame,
            header=build_header(
                name,
                self._certificate(),
                shape=shape,
                frame=self._frame,
                kind=self._config.geojson_kind,
                simplify_px=self._config.simplify_px,
            ),
            tables=self._config.tables,
            cells_um=self._config.expand_um,
        )

    def _measure(self, rows: Sequence[int]) -> None:
        """Measure the nuclei that begin in some rows of blocks, and hash these rows of the map."""
        composed, image = self._segmentation.composed(), self._measured_image
        for row in in_steps(track(rows, "measuring")):
            with self._clock.phase("stitch"):
                digest = np.array([composed.digest(row)], np.uint64)
            table = self._segmentation.table([row])
            measured = measure_nuclei(
                table, self._drawn, mpp=self._frame.mpp, image=image, first=composed.first(row)
            )
            nuclei = measured if len(table) or row == 0 else ()
            with self._clock.phase("write"):
                self._files.nuclei.put_rows(
                    row, self._clock.making("stitch", nuclei), digest=digest
                )

    @cached_property
    def _measured_image(self) -> MeasuredImage | None:
        slide = self._slide
        if slide is None or not self._config.intensities:
            return None

        def read(box: Box) -> npt.NDArray[Any]:
            with self._clock.phase("read"):
                return slide.read(box)

        white = slide.white() if slide.is_stained() else None
        return MeasuredImage(read, slide.image.channels, white=white)

    def _measure_cells(self, rows: Sequence[int]) -> None:
        """Measure the cells of the nuclei that begin in some rows of blocks."""
        files = self._files
        for row in in_steps(track(rows, "measuring cells")):
            kept = [decode_geoparquet(some[ROWS]) for some in files.nuclei.rows([row])]
            measured = (self._cells.measure(some, self._measured_image) for some in kept)
            with self._clock.phase("write"):
                if files.cells is not None:
                    files.cells.put_rows(row, self._clock.making("stitch", measured))

    def _drawing(self, name: str, files: DrawnMap, read: ReadPart) -> Iterator[StitchStep]:
        """The steps that draw a map, a level each."""

        def draw(level: int, bands: Sequence[int]) -> None:
            for band in in_steps(track(bands, f"{name}, level {level}")):
                with self._clock.phase("write"):
                    files.draw(level, band, read if level == 0 else None)

        for level in range(files.levels):
            yield StitchStep(
                name, files.bands(level), partial(files.is_drawn, level), partial(draw, level)
            )

    def _read_drawn(self, box: Box) -> npt.NDArray[np.uint32] | None:
        return None if self._drawn.is_empty(box) else self._drawn[box.slices]

    def _finish(self) -> None:
        """Put the files together."""
        with self._clock.phase("write"):
            rows = self._segmentation.rows
            kept = (self._segmentation.scratch.get(f"nuclei-{row}", "digest") for row in rows)
            certificate = self._certificate(sum(int(part["digest"][0]) for part in kept) % 2**64)
            overlay = draw_overlay(self._prediction.read_thumbnail(), self._drawn.at_working_size())
            summary = ImageStatistics(self._drawn.shape, examples=EXAMPLES)
            self._files.finish(
                _summed(self._files.nuclei.rows(rows), summary),
                cells=() if self._files.cells is None else self._files.cells.rows(rows),
                overlay=overlay,
                certificate=certificate,
                build_report=partial(
                    self._build_report,
                    self._prediction,
                    summary,
                    instance_map=self._drawn,
                    slide=self._slide,
                    overlay=overlay,
                    certificate=certificate,
                    frame=self._frame,
                    record=self._output.record,
                ),
            )


EncodedRows = Mapping[str, bytes]


def _summed(nuclei: Iterable[EncodedRows], summary: ImageStatistics) -> Iterator[EncodedRows]:
    """Pass encoded rows on, and add them up on the way."""
    for rows in nuclei:
        summary.add(decode_geoparquet(rows[ROWS]))
        yield rows


def _timed(
    phase: Callable[..., Any], name: str, do: Callable[[Sequence[int]], object]
) -> Callable[[Sequence[int]], None]:
    def timed(parts: Sequence[int]) -> None:
        with phase(name):
            do(parts)

    return timed


def do_all(steps: Iterable[StitchStep]) -> None:
    """Do what is left of an image that nobody else is at work on."""
    for step in steps:
        left = [part for part in range(step.parts) if not step.is_done(part)]
        if left:
            step.do(left)
