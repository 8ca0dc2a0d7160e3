"""Round the kernels of a checkpoint to float16, so that its file is half as large.

    python scripts/reproduce/round_weights.py RUN --out OUT

Biases and the numbers of BatchNorm stay float32, and so does all computing. Calibrate
afterwards; `nucleipel calibrate` and `average` write such kernels as they read them.
"""

import argparse
import sys
from pathlib import Path

from nucleipel.errors import NucleipelError
from nucleipel.io.records.output import claim_output
from nucleipel.model.checkpoint import read_checkpoint, write_checkpoint


def main() -> None:
    """Write the rounded checkpoint."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        model = read_checkpoint(options.checkpoint)
        output = claim_output(
            options.out,
            stage="round_weights",
            config={},
            inputs={"checkpoint": model.fingerprint},
            overwrite=False,
        )
        if not output.complete:
            weights = {
                name: tensor.half().float() if tensor.ndim > 1 else tensor
                for name, tensor in model.network.state_dict().items()
            }
            output.commit(checkpoint=write_checkpoint(options.out, model.description, weights))
    except NucleipelError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
