#!/usr/bin/env bash
# Measure what PEL gains: the whole ablation, from training the bases to one table of the answer.
#   scripts/reproduce/pel.sh DATA_ROOT [OUT]
# DATA_ROOT holds dsb2018 and, if MoNuSeg is to be run too, monuseg (see data_manifests/README.md).
# After a kill the same command continues. JOBS sets the number of runs at a time (2), each on one core.
#
# Hours on two CPU cores, estimated from measured speeds, not measured as a whole. One core trains
# 3.6 windows of 256 px a second with the default network and 1.7 with BasicUNet, so a run of an arm
# (2048 windows, five validations, its calibration, its scores) takes 13 or 27 minutes on one core.
#   1. the default network on windows, then its saturation           2
#   2. the grid on val, 50 runs, and finalists on test, 24 more      8
#   3. the author's base and its finalists, 30 runs                  5
#   4. further ideas (sampling, teacher, ...), 17 runs, about 12 more 3.5
#   5. BasicUNet, its saturation, three arms with three seeds        4.5
#   6. MoNuSeg, its saturation, three arms with three seeds          2.5
# A day in all. STEPS="1 2" runs those steps only.
set -euo pipefail

data_root=${1:?usage: scripts/reproduce/pel.sh DATA_ROOT [OUT]}
out=${2:-pel_out}
here=$(cd "$(dirname "$0")/../.." && pwd)
configs=$here/configs/recipes
steps=" ${STEPS:-1 2 3 4 5 6} "
jobs=(--set "jobs=${JOBS:-2}")
dsb=(--manifest "$here/data_manifests/dsb2018.csv" --data-root "$data_root")
monuseg=(--manifest "$here/data_manifests/monuseg.csv" --data-root "$data_root")

if [ ! -d "$data_root/dsb2018/images" ]; then
    echo "error: $data_root: has no dsb2018/images; expected the folder above dsb2018" >&2
    exit 1
fi
mkdir -p "$out"

wanted() { [[ $steps == *" $1 "* ]]; }

# saturate NAME RUN PATCHES CONFIG: train RUN with its own loss, as many steps as an arm at a time, until
# they gain less than 0.2 Dice points on the val patches; $OUT/NAME then names the run to start from.
saturate() {
    local name=$1 run=$2 patches=$3 config=$4 round gain
    for round in 1 2 3 4 5 6 7 8; do
        nucleipel finetune-patches --checkpoint "$run" --patches "$patches" --config "$config" \
            --set region_loss=dice --set keep=last --out "$out/$name-on-$round" >&2
        gain=$(awk -F, '
            NR == 1 { for (i = 1; i <= NF; i++) if ($i == "val_dice") column = i; next }
            $column != "" { if (first == "") first = $column; last = $column }
            END { printf "%.3f", 100 * (last - first) }' "$out/$name-on-$round/metrics.csv")
        echo "$name, round $round: $gain Dice points on the val patches" >&2
        if awk "BEGIN { exit !($gain < 0.2) }"; then
            break
        fi
        run=$out/$name-on-$round
    done
    echo "$run" > "$out/$name"
}

# arms KEY: the arms that the grid chose, as a list for --set.
arms() {
    python - "$out/ablation/selection.json" "$1" <<'PYTHON'
import json, sys
print(json.dumps(json.load(open(sys.argv[1]))[sys.argv[2]]))
PYTHON
}

if wanted 1; then
    nucleipel train "${dsb[@]}" --config "$configs/train_dsb2018.yaml" --set optimizer=adamw \
        --out "$out/train_first"
    nucleipel train "${dsb[@]}" --config "$configs/train_dsb2018_on.yaml" \
        --checkpoint "$out/train_first" --out "$out/train"
    nucleipel tile "${dsb[@]}" --config "$configs/tile_dsb2018.yaml" --out "$out/patches.zarr"
    saturate windows "$out/train" "$out/patches.zarr" "$configs/finetune_patches_dsb2018.yaml"
fi

if wanted 2; then
    nucleipel ablate "${dsb[@]}" --config "$configs/ablation_dsb2018.yaml" "${jobs[@]}" \
        --checkpoint "$(cat "$out/windows")" --out "$out/ablation"
fi

if wanted 3; then
    nucleipel train "${dsb[@]}" --config "$configs/train_whole_dsb2018.yaml" --out "$out/train_whole"
    nucleipel ablate "${dsb[@]}" --config "$configs/ablation_dsb2018.yaml" "${jobs[@]}" \
        --set "finalists.arms=$(arms finalists)" \
        --checkpoint "$out/train_whole" --out "$out/ablation_whole"
fi

if wanted 4; then
    nucleipel ablate "${dsb[@]}" --config "$configs/ablation_further_dsb2018.yaml" "${jobs[@]}" \
        --checkpoint "$(cat "$out/windows")" --out "$out/ablation_further"
fi

if wanted 5; then
    nucleipel train "${dsb[@]}" --config "$configs/train_basic_unet_dsb2018.yaml" \
        --out "$out/train_basic_unet"
    saturate basic_unet "$out/train_basic_unet" "$out/patches.zarr" \
        "$configs/finetune_patches_dsb2018.yaml"
    nucleipel ablate "${dsb[@]}" --config "$configs/ablation_dsb2018.yaml" "${jobs[@]}" \
        --set "finalists.arms=$(arms transfer)" --set "finalists.seeds=[0, 1, 2]" \
        --checkpoint "$(cat "$out/basic_unet")" --out "$out/ablation_basic_unet"
fi

if wanted 6 && [ -d "$data_root/monuseg/images" ]; then
    nucleipel train "${monuseg[@]}" --checkpoint "$out/train" \
        --config "$configs/train_monuseg.yaml" --set optimizer=adamw --set learning_rate=2e-3 \
        --out "$out/train_monuseg"
    nucleipel tile "${monuseg[@]}" --config "$configs/tile_monuseg.yaml" \
        --out "$out/patches_monuseg.zarr"
    saturate monuseg "$out/train_monuseg" "$out/patches_monuseg.zarr" \
        "$configs/finetune_patches_monuseg.yaml"
    nucleipel ablate "${monuseg[@]}" --config "$configs/ablation_monuseg.yaml" "${jobs[@]}" \
        --set "finalists.arms=$(arms transfer)" \
        --checkpoint "$(cat "$out/monuseg")" --out "$out/ablation_monuseg"
fi

found=()
for name in ablation ablation_whole ablation_further ablation_basic_unet ablation_monuseg; do
    [ -f "$out/$name/report.md" ] && found+=("$name=$out/$name")
done
if [ "${#found[@]}" -gt 0 ]; then
    python "$here/scripts/reproduce/pel_table.py" --out "$out/answer" "${found[@]}"
fi
