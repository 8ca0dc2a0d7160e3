"""Parts of `bench_slides.py`."""
