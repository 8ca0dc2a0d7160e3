"""Settings of outlines for other programs, and of cells around nuclei."""

import importlib.util
from typing import Annotated, Self

from pydantic import Field, model_validator

from nucleipel.config.settings import Settings
from nucleipel.core.choices import GeoJsonKind


class OutlineConfig(Settings):
    """Settings of outlines in GeoJSON, and of cells, for the stages that write nuclei."""

    geojson_kind: GeoJsonKind = "detection"
    """Kind of QuPath's objects that nuclei are. Cells around nuclei are always cells, as is all
    that the programs of 10x read."""
    simplify_px: Annotated[float, Field(ge=0)] = 0
    """How far an outline in GeoJSON may move, in px, by leaving out corners; 0 for none."""
    expand_um: Annotated[float, Field(gt=0)] | None = None
    """Micrometers that cells reach beyond their nuclei, without overlap; no cells by default."""

    @model_validator(mode="after")
    def _can_simplify(self) -> Self:
        if self.simplify_px and importlib.util.find_spec("shapely") is None:
            raise ValueError("simplify_px needs shapely: pip install 'nucleipel[geopandas]'")
        return self
