"""nucleipel: train, tile, fine-tune with PEL, predict and stitch nuclei on whole slides.

    import nucleipel as npl
    labels = npl.segment(image)                                # (H, W[, C]) array to (H, W) uint32
    result = npl.segment_slide("slide.svs", out="OUT", at_mpp=0.5)

The names stand in `__init__.pyi`. Each is imported when it is first used: torch takes seconds.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
