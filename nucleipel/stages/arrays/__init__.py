"""What the stages do with files, on arrays in memory: nothing is written."""
