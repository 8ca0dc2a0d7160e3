"""One file a container format, each of which turns a path into a `StoredImage`."""

from nucleipel.io.slides.formats.opening import open_image
from nucleipel.io.slides.formats.stored_image import Level, StoredImage

__all__ = ["Level", "StoredImage", "open_image"]
