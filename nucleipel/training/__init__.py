"""The training loop, its processes, state on disk and validation; the search of `calibrate`."""
