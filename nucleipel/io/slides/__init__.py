"""Slides and images: every container format, opened and read by region at the working mpp."""
