"""Ownership of output folders, what counts as finished, and the checksums that prove it."""
