#!/usr/bin/env bash
# The packaged weights: the network of reproduce_dsb2018.sh goes on with a slide of H&E beside
# DSB2018, whose nuclei it labelled by their dye, once more with labels of its own, and once more
# with stained windows shown as their dye.
#   scripts/reproduce_default.sh DATA_ROOT [OUT]
# DATA_ROOT holds dsb2018 and slides/CMU-1-Small-Region.svs (see data_manifests/README.md).
# Killed at any point, the same command continues. About five hours on two CPU cores.
set -euo pipefail

data_root=${1:?usage: scripts/reproduce_default.sh DATA_ROOT [OUT]}
out=${2:-default_out}
here=$(cd "$(dirname "$0")/.." && pwd)
rows=(--manifest "$here/data_manifests/dsb2018.csv" --data-root "$data_root")
slide=$data_root/slides/CMU-1-Small-Region.svs

if [ ! -f "$slide" ]; then
    echo "error: $slide: no such file; expected the slide of OpenSlide's test data" >&2
    exit 1
fi
mkdir -p "$out"
"$here/scripts/reproduce_dsb2018.sh" "$data_root" "$out/dsb2018"

# ROUND CHECKPOINT OPTION...: label the slide, put it beside DSB2018
label() {
    local data=$out/data_$1
    [ -f "$data/manifest.csv" ] && return
    mkdir -p "$data"
    ln -sfn "$(realpath "$data_root")/dsb2018" "$data/dsb2018"
    python "$here/scripts/label_stained.py" "$slide" --checkpoint "$2" --out "$data/slide" "${@:3}"
    cat "$here/data_manifests/dsb2018.csv" > "$data/manifest.partial"
    tail -n 1 "$data/slide/manifest.csv" | sed 's#image.png,label.tif#slide/image.png,slide/label.tif#' \
        >> "$data/manifest.partial"
    mv "$data/manifest.partial" "$data/manifest.csv"
}

label 1 "$out/dsb2018/packaged"
nucleipel train --config "$here/configs/train_dsb2018_stained.yaml" \
    --checkpoint "$out/dsb2018/packaged" \
    --manifest "$out/data_1/manifest.csv" --data-root "$out/data_1" --out "$out/round_1"
label 2 "$out/round_1" --colour
nucleipel train --config "$here/configs/train_dsb2018_stained.yaml" --checkpoint "$out/round_1" \
    --set epochs=14 --set learning_rate=5e-4 --set augment.stain=2.0 --set seed=3 \
    --manifest "$out/data_2/manifest.csv" --data-root "$out/data_2" --out "$out/round_2"

rounds=(--manifest "$out/data_2/manifest.csv" --data-root "$out/data_2")
nucleipel tile "${rounds[@]}" --config "$here/configs/tile_dsb2018.yaml" --out "$out/patches.zarr"
nucleipel finetune-patches --checkpoint "$out/round_2" --patches "$out/patches.zarr" \
    --config "$here/configs/finetune_patches_dsb2018.yaml" --set pel.form=jaccard --set pel.n=2 \
    --out "$out/finetune"
nucleipel average "$out/dsb2018/packaged" "$out/round_2" "$out/finetune" --out "$out/colours"
nucleipel train --config "$here/configs/train_dsb2018_dye.yaml" --checkpoint "$out/colours" \
    "${rounds[@]}" --out "$out/dye"
# named twice, it counts two thirds
nucleipel average "$out/colours" "$out/colours" "$out/dye" --out "$out/mean"
nucleipel calibrate --checkpoint "$out/mean" --config "$here/configs/calibrate_dsb2018.yaml" \
    "${rows[@]}" --split val --out "$out/default"
nucleipel segment --checkpoint "$out/default" "${rows[@]}" --split test --out "$out/instances"
nucleipel evaluate "${rows[@]}" --split test --by modality \
    --instances "$out/instances" --out "$out/report.json"
