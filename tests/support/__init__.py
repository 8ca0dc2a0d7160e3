"""What tests share: small networks, generated files, processes that are started and killed."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The folder of the repository."""
