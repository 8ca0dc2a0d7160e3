"""Compare losses, and draw where a network deviates from the annotation."""
