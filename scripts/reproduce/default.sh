#!/usr/bin/env bash
# Make the packaged weights. A network trained on DSB2018 labels a slide of H&E by its nuclear dye, is trained
# on both, and is averaged with itself after fine-tuning on patches; then all of this once more, from the result.
# Last, stained tissue gets numbers of its own.
#   scripts/reproduce/default.sh DATA_ROOT [OUT]
# DATA_ROOT holds dsb2018, dsb2018_stained, monuseg and slides/CMU-1-Small-Region.svs (see data_manifests/README.md).
# After a kill the same command continues. PRECISION=bfloat16, on processors made for it, took about three and
# a half hours on two busy CPU cores; float32, the default, takes twice as long by estimate.
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

with_slide() { # DATA CHECKPOINT [OPTION...]: the rows of DSB2018, and the slide, labeled by the checkpoint
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

continue_from() { # FROM TO [OPTION...]: train on both, then fine-tune on patches with PEL
    nucleipel train "${both[@]}" --config "$here/configs/recipes/train_dsb2018_stained.yaml" \
        "${precision[@]}" "${@:3}" --checkpoint "$1" --out "$2"
    nucleipel tile "${both[@]}" --config "$here/configs/recipes/tile_dsb2018.yaml" --out "$2.zarr"
    # from the network before calibration: a rule calibrated for it would not fit the fine-tuned one
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
continue_from "$out/first" "$out/second"
nucleipel calibrate --checkpoint "$out/second" "${rows[@]}" --split val --out "$out/second_calibrated"
mean "$out/before" "$out/second_calibrated" "$out/second_finetuned"

with_slide "$out/data_third" "$out/before" --color
continue_from "$out/before" "$out/third" --set epochs=36 --set seed=3
mean "$out/all" "$out/before" "$out/third" "$out/third_finetuned"
nucleipel calibrate --checkpoint "$out/all" --config "$here/configs/recipes/calibrate_stained.yaml" \
    --manifest "$here/data_manifests/stained_rule.csv" --data-root "$data_root" --split val --out "$out/default"

nucleipel segment --checkpoint "$out/default" "${rows[@]}" --split test --out "$out/instances"
nucleipel evaluate "${rows[@]}" --split test --by modality \
    --instances "$out/instances" --out "$out/report.json"
