"""The certificate of an instance map: its facts, and whether any cut shaped a nucleus."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Certificate:
    """Facts about one map of instances.

    All but `cut` depend on the probability map and the rule only. With
    `forced` empty, the instances are those of the uncut map: every component was
    solved whole.

    Parameters
    ----------
    shape : (height, width)
        Of the map, in pixels.
    components, nuclei : int
        Connected pieces of foreground; nuclei in the result.
    largest_component_px : int
        Longest side of any component's box.
    max_component_px : int
        The budget: a longer component is cut on a grid of this size.
    forced : list of (y0, x0, y1, x1)
        Boxes of the components that were cut so.
    probabilities_digest, instances_digest : str
        `digest` of the two maps (16 hexadecimal digits).
    rule : dict
        The numbers that shaped the nuclei.
    cut : dict
        The cut into blocks: `block_px`, `seam_components`.
    """

    shape: tuple[int, int]
    components: int
    nuclei: int
    largest_component_px: int
    max_component_px: int
    forced: list[tuple[int, int, int, int]]
    probabilities_digest: str
    instances_digest: str
    rule: dict[str, Any]
    cut: dict[str, int]

    def to_json(self, *, canonical_map: bool | None = None) -> dict[str, Any]:
        """Return plain JSON types, with the conclusion first: `equal_to_uncut`.

        It is true if no cut of the map shaped a nucleus. `canonical_map` is for
        callers that know the origin of the map: whether the map itself is the same
        for every cut of its image. If not, `equal_to_uncut` is false as well.
        """
        equal = canonical_map is not False and not self.forced
        origin = {} if canonical_map is None else {"canonical_map": canonical_map}
        return {"equal_to_uncut": equal, **origin, **asdict(self)}
