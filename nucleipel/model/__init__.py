"""Networks, their receptive field, and the checkpoints that hold them."""
