"""Files as QuPath 0.5 to 0.7 write them (`PathObjectTypeAdapters`): the members, their order."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RED = [200, 0, 0]


def annotation(
    rings: list[Any],
    *,
    number: int,
    kind: str = "annotation",
    classes: Iterable[str] = (),
    name: str | None = None,
    locked: bool = False,
    measurements: dict[str, float] | None = None,
    metadata: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A feature: `id`, `geometry` and `properties` in QuPath's order; absent where not set."""
    names = list(classes)
    classification = {"name": names[0]} if len(names) == 1 else {"names": names}
    optional = {
        "name": name,
        "color": RED if name else None,
        "classification": {**classification, "color": RED} if names else None,
        "isLocked": locked or None,
        "measurements": measurements,
        "metadata": metadata,
    }
    return {
        "type": "Feature",
        "id": f"2d3a58d8-7a5c-4f2e-9c3f-{number:012d}",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {
            "objectType": kind,
            **{key: value for key, value in optional.items() if value is not None},
        },
    }


def write_qupath(path: Path, features: list[dict[str, Any]], *, collection: bool = True) -> None:
    """Write objects with or without the option "Export as FeatureCollection"."""
    if collection:
        content = {"type": "FeatureCollection", "features": features}
        path.write_text(json.dumps(content, separators=(",", ":")))
    else:  # with "Pretty JSON"
        path.write_text(json.dumps(features, indent=2))
