#!/usr/bin/env bash
# Train on MoNuSeg's H&E tiles from the packaged weights, calibrate on val, score on test.
#   scripts/reproduce/monuseg.sh DATA_ROOT [OUT]
# DATA_ROOT holds monuseg/images and monuseg/labels (see data_manifests/README.md). The data is
# CC BY-NC-SA: neither it nor weights trained on it may be used commercially.
# After a kill the same command continues. PRECISION=bfloat16, on processors made for it, took 70 minutes on
# one core of a Xeon while the other core ran another training.
# START=none trains from random weights. TTA=true predicts the mean over flips and turns: better PQ on
# val and test (docs/accuracy.md), eight times the work.
set -euo pipefail

data_root=${1:?usage: scripts/reproduce/monuseg.sh DATA_ROOT [OUT]}
out=${2:-monuseg_out}
here=$(cd "$(dirname "$0")/../.." && pwd)
rows=(--manifest "$here/data_manifests/monuseg.csv" --data-root "$data_root")

if [ ! -d "$data_root/monuseg/images" ]; then
    echo "error: $data_root: has no monuseg/images; expected the folder above monuseg" >&2
    exit 1
fi
mkdir -p "$out"

start=(--checkpoint default)
[ "${START:-default}" = none ] && start=()
tta=(--set "tta=${TTA:-false}")
nucleipel train "${start[@]}" "${rows[@]}" --config "$here/configs/recipes/train_monuseg.yaml" \
    --set "precision=${PRECISION:-auto}" --out "$out/train"
# not fine-tuned on patches: after training with Muon it gained nothing on val (docs/choices.md)
nucleipel calibrate --checkpoint "$out/train" --config "$here/configs/recipes/calibrate_monuseg.yaml" \
    "${tta[@]}" "${rows[@]}" --split val --out "$out/calibrated"
nucleipel predict --checkpoint "$out/calibrated" "${tta[@]}" "${rows[@]}" --split test \
    --out "$out/predictions.zarr"
nucleipel stitch --predictions "$out/predictions.zarr" --out "$out/instances"
nucleipel evaluate "${rows[@]}" --split test --instances "$out/instances" --out "$out/report.json"
