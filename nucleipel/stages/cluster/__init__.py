"""Run stages on many workers: Dask, and Slurm job chains."""
