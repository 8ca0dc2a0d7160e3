"""The work of the stages on arrays in memory: nothing is written."""
