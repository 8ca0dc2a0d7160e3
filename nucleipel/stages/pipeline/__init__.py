"""The stages of the pipeline, one a file, and the parts that they share."""
