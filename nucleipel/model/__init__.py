"""Networks, how far they see, and the checkpoints that hold them."""
