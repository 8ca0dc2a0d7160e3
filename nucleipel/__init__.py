"""nucleipel: train, tile, fine-tune with PEL, predict and stitch nuclei on whole slides."""

__version__ = "0.1.0"
