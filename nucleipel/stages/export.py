"""Write a checkpoint in the formats of other programs."""

from pathlib import Path

from nucleipel.config import ExportConfig
from nucleipel.io.exported import require_free, write_exported
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.model.export import build_onnx


def export(
    checkpoint: Path,
    config: ExportConfig,
    *,
    onnx: Path | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write the network as an ONNX file; return what was written."""
    if onnx:
        require_free(onnx, suffix=".onnx", overwrite=overwrite)
    model = read_checkpoint(checkpoint)
    payload = build_onnx(model)
    if onnx:
        write_exported(onnx, payload)
    return [path for path in (onnx,) if path]
