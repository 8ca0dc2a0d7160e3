"""Inspect, import, export and verify files."""
