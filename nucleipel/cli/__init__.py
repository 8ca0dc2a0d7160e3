"""Thin click shells over the stages; nothing heavy is imported before a command runs."""

from nucleipel.cli.main import cli, main

__all__ = ["cli", "main"]
