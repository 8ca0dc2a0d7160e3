"""Who owns an output folder, what counts as finished, and the checksums that prove it."""
