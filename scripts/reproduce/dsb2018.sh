#!/usr/bin/env bash
# Train, calibrate, tile, fine-tune, average, calibrate again, predict, stitch and score on DSB2018, with
# the settings in configs/: the trained network, and its mean with the fine-tuned one.
#   scripts/reproduce/dsb2018.sh DATA_ROOT [OUT]
# DATA_ROOT holds dsb2018/images and dsb2018/labels (see data_manifests/README.md).
# After a kill the same command continues. About two hours on two CPU cores, by estimate.
set -euo pipefail

data_root=${1:?usage: scripts/reproduce/dsb2018.sh DATA_ROOT [OUT]}
out=${2:-dsb2018_out}
here=$(cd "$(dirname "$0")/../.." && pwd)
rows=(--manifest "$here/data_manifests/dsb2018.csv" --data-root "$data_root")

if [ ! -d "$data_root/dsb2018/images" ]; then
    echo "error: $data_root: has no dsb2018/images; expected the folder above dsb2018" >&2
    exit 1
fi
mkdir -p "$out"

nucleipel train "${rows[@]}" --config "$here/configs/recipes/train_dsb2018.yaml" --out "$out/train"
nucleipel calibrate --checkpoint "$out/train" "${rows[@]}" --split val --out "$out/base"

nucleipel tile "${rows[@]}" --config "$here/configs/recipes/tile_dsb2018.yaml" --out "$out/patches.zarr"
# from the network before calibration: a rule calibrated for it would not fit the fine-tuned one
nucleipel finetune-patches --checkpoint "$out/train" --patches "$out/patches.zarr" \
    --config "$here/configs/recipes/finetune_patches_dsb2018.yaml" --set pel.form=jaccard --set pel.n=2 \
    --out "$out/finetune"
nucleipel average "$out/base" "$out/finetune" --out "$out/mean"
nucleipel calibrate --checkpoint "$out/mean" --config "$here/configs/recipes/calibrate_dsb2018.yaml" \
    "${rows[@]}" --split val --out "$out/packaged"

for run in base packaged; do
    nucleipel predict --checkpoint "$out/$run" "${rows[@]}" --split test \
        --out "$out/predictions_$run.zarr"
    nucleipel stitch --predictions "$out/predictions_$run.zarr" --out "$out/instances_$run"
    nucleipel evaluate "${rows[@]}" --split test --by modality \
        --instances "$out/instances_$run" --out "$out/report_$run.json"
done
