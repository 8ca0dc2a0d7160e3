"""Settings of the pipeline's stages, one file a stage."""
