#!/usr/bin/env bash
# The packaged weights: a network of DSB2018 labels a slide of H&E by the dye of its nuclei, goes on with
# both, and is averaged with itself fine-tuned on patches; then all of that once more, from the result.
#   scripts/reproduce/default.sh DATA_ROOT [OUT]
# DATA_ROOT holds dsb2018 and slides/CMU-1-Small-Region.svs (see data_manifests/README.md).
# Killed at any point, the same command continues. PRECISION=bfloat16, on processors made for it, took about
# three and a half hours on two busy CPU cores; float32, the default, takes twice as long by estimate.
set -euo pipefail

data_root=${1:?usage: scripts/reproduce/default.sh DATA_ROOT [OUT]}
out=${2:-default_out}
here=$(cd "$(dirname "$0")/../.." && pwd)
rows=(--manifest "$here/data_manifests/dsb2018.csv" --data-root "$data_root")
precision=(--set "precision=${PRECISION:-auto}")
slide=$data_root/slides/CMU-1-Small-Region.svs

if [ ! -f "$slide" ]; then
    echo "error: $slide: no such file; expected the slide of OpenSlide's test data" >&2
    exit 1
fi
mkdir -p "$out"

with_slide() { # DATA CHECKPOINT [OPTION...]: the rows of DSB2018 and the slide as a checkpoint labels it
    local data=$1
    if [ ! -f "$data/manifest.csv" ]; then
        mkdir -p "$data"
        ln -sfn "$(realpath "$data_root")/dsb2018" "$data/dsb2018"
        python "$here/scripts/reproduce/label_stained.py" "$slide" --checkpoint "$2" "${@:3}" --out "$data/slide"
        cat "$here/data_manifests/dsb2018.csv" > "$data/manifest.partial"
        tail -n 1 "$data/slide/manifest.csv" |
            sed 's#image.png,label.tif#slide/image.png,slide/label.tif#' >> "$data/manifest.partial"
        mv "$data/manifest.partial" "$data/manifest.csv"
    fi
    both=(--manifest "$data/manifest.csv" --data-root "$data")
}

go_on() { # FROM TO [OPTION...]: on both, then fine-tuned on patches with PEL
    nucleipel train "${both[@]}" --config "$here/configs/recipes/train_dsb2018_stained.yaml" \
        "${precision[@]}" "${@:3}" --checkpoint "$1" --out "$2"
    nucleipel tile "${both[@]}" --config "$here/configs/recipes/tile_dsb2018.yaml" --out "$2.zarr"
    # from the trained network as it is: numbers calibrated for it would judge its successors unfairly
    nucleipel finetune-patches --checkpoint "$2" --patches "$2.zarr" \
        --config "$here/configs/recipes/finetune_patches_dsb2018.yaml" --set pel.form=jaccard --set pel.n=2 \
        "${precision[@]}" --out "$2_finetuned"
}

mean() { # TO CHECKPOINT...: their mean, calibrated from the numbers of the first
    nucleipel average "${@:2}" --out "$1_mean"
    nucleipel calibrate --checkpoint "$1_mean" --config "$here/configs/recipes/calibrate_dsb2018.yaml" \
        "${rows[@]}" --split val --out "$1"
}

nucleipel train "${rows[@]}" --config "$here/configs/recipes/train_dsb2018.yaml" "${precision[@]}" \
    --out "$out/first"

with_slide "$out/data_second" "$out/first"
go_on "$out/first" "$out/second"
nucleipel calibrate --checkpoint "$out/second" "${rows[@]}" --split val --out "$out/second_calibrated"
mean "$out/before" "$out/second_calibrated" "$out/second_finetuned"

with_slide "$out/data_third" "$out/before" --colour
go_on "$out/before" "$out/third" --set epochs=36 --set seed=3
mean "$out/default" "$out/before" "$out/third" "$out/third_finetuned"

nucleipel segment --checkpoint "$out/default" "${rows[@]}" --split test --out "$out/instances"
nucleipel evaluate "${rows[@]}" --split test --by modality \
    --instances "$out/instances" --out "$out/report.json"
