"""The loop that `train` and `finetune-patches` share, its state on disk, its validation."""
