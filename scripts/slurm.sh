#!/bin/bash
# Train on SLURM's nodes. Before the time limit the run is saved and goes back to the queue, from where it goes on.
#
#   sbatch --nodes 2 --gpus-per-node 4 scripts/slurm.sh --preset gpu-3x3 --device cuda --out runs/eight-gpus
#   sbatch --nodes 2 --cpus-per-task 4 scripts/slurm.sh --out runs/eight-processors
#
# Options after the script are those of train_nav.py. A rank is started for each GPU of a node, or without GPUs for each
# processor of a task, and a worker for each rank. The folder of --out must be the same on all nodes.
#
#SBATCH --job-name=nav_meta --ntasks-per-node=1 --time=04:00:00
#SBATCH --requeue --open-mode=append
#SBATCH --signal=B:USR1@180
set -u

case " $* " in
  *" --out "* | *" --out="* | *" --resume "* | *" --resume="*) ;;
  *) echo "error: give the run a folder, such as --out runs/mine: it is how a requeued job finds it." >&2; exit 2 ;;
esac

ranks=${SLURM_GPUS_ON_NODE:-${SLURM_CPUS_PER_TASK:-1}}
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
stopped=
# Three minutes before the limit (B:USR1@180) SLURM tells this shell, and this shell the ranks: each ends its update, and
# the first saves. torchrun hears it too and would kill those that are not done after 30 seconds.
trap 'stopped=1; scancel --signal=TERM "$SLURM_JOB_ID"' USR1

srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$ranks" \
  --max-restarts 3 --shutdown-timeout 150 \
  --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$head:$((20000 + SLURM_JOB_ID % 10000))" \
  scripts/train_nav.py --workers "$((SLURM_JOB_NUM_NODES * ranks))" "$@" &
run=$!
wait "$run"
code=$?
if [ "$stopped" ]; then
  wait "$run"  # the signal has cut the first one short
  scontrol requeue "$SLURM_JOB_ID"
  exit
fi
exit "$code"
