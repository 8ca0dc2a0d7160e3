"""One file a container format, each of which turns a path into a `StoredImage`."""

from nucleipel.io.slides.formats.opening import open_image
from nucleipel.io.slides.formats.stored_image import Level, MppFound, StoredImage

__all__ = ["Level", "MppFound", "StoredImage", "open_image"]
