"""Settings of what a model is exported as."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from nucleipel.config.settings import Settings


class CitationConfig(Settings):
    """A work to cite: give its DOI or its address."""

    text: Annotated[str, Field(min_length=1)]
    doi: str | None = None
    url: str | None = None

    @model_validator(mode="after")
    def _can_be_found(self) -> Self:
        if (self.doi is None) == (self.url is None):
            raise ValueError(f"citation '{self.text}': give its doi or its url")
        return self


class ExportConfig(Settings):
    """Settings of `nucleipel export`: what a bioimage.io package says of a model."""

    name: Annotated[str, Field(min_length=5, max_length=128, pattern=r"^[A-Za-z0-9_+ ()-]+$")] = (
        "nucleipel nuclei"
    )
    description: Annotated[str, Field(min_length=1, max_length=1024)] = (
        "Segments nuclei: probabilities of background, interior and boundary, and the distance"
        " to the nucleus' edge."
    )
    authors: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Names; those of the packaged weights are known."""
    license: str | None = None
    """SPDX identifier (CC-BY-4.0, say) of the weights; that of the packaged ones is known."""
    citations: tuple[CitationConfig, ...] = ()
    """Works to cite, the data above all, beside that of PEL."""
    tags: tuple[str, ...] = ()
    """Beside the usual ones: the tissue, the stain, the microscope."""
