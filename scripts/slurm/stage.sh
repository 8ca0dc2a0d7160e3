# The function `stage`, which runs one command in a Slurm job. Every *.sbatch file reads it from here.
# Slurm copies a batch script to a folder of its own, so the script needs the path of this file:
# chain.sh exports STAGE_SH; without it the file is searched below the folder where sbatch started.

# How often Slurm starts a job again: one that saved its state and stopped, one that failed.
RESTARTS=20
RETRIES=2

source "$(dirname "${BASH_SOURCE[0]}")/../../nucleipel/io/stage.sh"
