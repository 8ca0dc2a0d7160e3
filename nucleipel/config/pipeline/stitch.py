"""Settings of `nucleipel stitch`."""

from typing import Annotated

from pydantic import Field

from nucleipel.config.pipeline.instances import InstanceOverrides
from nucleipel.config.pipeline.outlines import OutlineConfig
from nucleipel.config.settings import Positive
from nucleipel.core.choices import GeoJson, MapFrame


class StitchConfig(OutlineConfig):
    """Settings of `nucleipel stitch`."""

    map_frame: MapFrame = "level0"
    """Pixels that nuclei are written in: those of level 0 of the image, or of the working mpp."""
    intensities: bool = True
    """Whether the intensities of each nucleus are measured; the image must be readable."""
    csv: bool = False
    """Whether nuclei.csv is written, too."""
    geojson: GeoJson = "plain"
    """Whether nuclei.geojson is written, and whether compressed."""

    threads: Positive = 2
    """Threads that solve blocks, in each process that stitches."""
    max_ram_gb: Annotated[float, Field(gt=0)] | None = None
    """Memory that stitching may take, in each process that stitches; picks the size of the blocks,
    never the result."""
    instances: InstanceOverrides = InstanceOverrides()

    @property
    def tables(self) -> tuple[str, ...]:
        """Formats of the nuclei, by their names in `nucleipel.io.nuclei.write_tables`."""
        geojson = {"plain": ("geojson",), "gz": ("geojson.gz",), "none": ()}[self.geojson]
        return ("parquet", *(("csv",) if self.csv else ()), *geojson)

    def identity(self) -> dict[str, object]:
        """Settings that shape the result: the threads do not.

        Those of `OutlineConfig` only where they are set: without them outputs are as they were.
        """
        without = {"threads"} | {
            name
            for name, field in OutlineConfig.model_fields.items()
            if getattr(self, name) == field.default
        }
        return {key: value for key, value in super().identity().items() if key not in without}
