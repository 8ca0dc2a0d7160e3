"""Zarr stores between the stages: training patches and probability maps."""
