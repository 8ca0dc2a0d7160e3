#!/usr/bin/env bash
# Submit the whole pipeline to Slurm with plain sbatch; `nucleipel submit` does it from a profile.
#   MANIFEST=M.csv OUT=/shared/out TASKS=8 scripts/slurm/chain.sh
# Adapt partitions, accounts and limits in the *.sbatch files of this folder.
set -euo pipefail
: "${MANIFEST:?a CSV of images}" "${OUT:?a folder on a shared disk}"
export MANIFEST OUT SPLIT="${SPLIT:-test}" TASKS="${TASKS:-8}"
here="$(cd "$(dirname "$0")" && pwd)"
export STAGE_SH="$here/stage.sh"
submit() { sbatch --parsable --kill-on-invalid-dep=yes "$@"; }

train=$(submit "$here/train.sbatch")
tiles=$(submit --array="1-$TASKS" --output=%x-%a.log "$here/tile.sbatch")
tile=$(submit --dependency="afterany:$tiles" "$here/tile.sbatch")
tuned=$(submit --dependency="afterok:$train:$tile" "$here/finetune-patches.sbatch")
maps=$(submit --dependency="afterok:$tuned" --array="1-$TASKS" "$here/predict.sbatch")
stitched=$(submit --dependency="afterany:$maps" --array="1-$TASKS" "$here/stitch.sbatch")
submit --dependency="afterany:$stitched" "$here/evaluate.sbatch"
