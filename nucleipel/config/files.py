"""Settings of the commands about files: info, import and export."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nucleipel.config.pipeline.outlines import OutlineConfig
from nucleipel.config.pipeline.read_images import ReadAtMppConfig
from nucleipel.config.settings import Mpp, NotNegative, Settings
from nucleipel.core.choices import Split


class InfoConfig(ReadAtMppConfig):
    """Settings of `nucleipel info`."""


class ImportConfig(Settings):
    """Settings of `nucleipel import`."""

    mpp: Mpp | None = None
    """Pixel size of all images, um, where the annotations do not have it."""
    split: Split | Literal[""] = ""
    """Split of all images, where the source has no splits of its own."""
    images: str | None = None
    """Folder of the images, where they are not with the annotations."""
    min_area_px: NotNegative | None = None
    """Smaller nuclei are left out; by default none, or those of the data set's own rule."""
    split_pieces: bool = False
    """Number the pieces of labels whose ids stand for several nuclei each: masks, classes, ids that
    repeat."""
    series: NotNegative | str | None = None
    """Which image of files that hold several, by index or name; stands in the manifest, too."""
    region_class: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Classes or names of the regions that were annotated completely (qupath, coco, monuseg). By
    default those of QuPath's class Region*, and annotations around its detections."""


class CitationConfig(Settings):
    """A work to cite: give its DOI or its address."""

    text: Annotated[str, Field(min_length=1)]
    """Authors, title, year."""
    doi: str | None = None
    """DOI of the work, without https://doi.org/."""
    url: str | None = None
    """Address of the work, if it has no DOI."""

    @model_validator(mode="after")
    def _can_be_found(self) -> Self:
        if (self.doi is None) == (self.url is None):
            raise ValueError(f"citation '{self.text}': give its doi or its url")
        return self


class ExportConfig(Settings):
    """Settings of `nucleipel export`: the description of a model in a bioimage.io package."""

    name: Annotated[str, Field(min_length=5, max_length=128, pattern=r"^[A-Za-z0-9_+ ()-]+$")] = (
        "nucleipel nuclei"
    )
    """Name of the model."""
    description: Annotated[str, Field(min_length=1, max_length=1024)] = (
        "Segments nuclei: probabilities of background, interior and boundary, and the distance"
        " to the nucleus' edge."
    )
    """What the model does, in a sentence or two."""
    authors: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Names; those of the packaged weights are known."""
    license: str | None = None
    """SPDX identifier (CC-BY-4.0, say) of the weights; that of the packaged ones is known."""
    citations: tuple[CitationConfig, ...] = ()
    """Works to cite besides that of PEL, the data above all."""
    tags: tuple[str, ...] = ()
    """Tags besides the usual ones: the tissue, the stain, the microscope."""


class ExportNucleiConfig(OutlineConfig):
    """Settings of `nucleipel export OUT --to ...`."""
