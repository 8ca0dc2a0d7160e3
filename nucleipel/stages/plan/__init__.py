"""Estimate memory, disk and time of the pipeline before it runs."""
