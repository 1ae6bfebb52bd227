#!/usr/bin/env bash
# dermis train on several nodes by SLURM: one torchrun a node, one rank a GPU.
#
#   sbatch --nodes 8 examples/cluster/slurm.sh clip_small --data.manifest cases.parquet --out runs/clip
#
# What is given after the script goes to `dermis train`. SIGTERM comes two minutes before the time is up: the run is
# saved, and requeued it goes on where it was, also on another number of nodes if batch_size × ranks stays the same.
#SBATCH --job-name=dermis
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS=1 # each rank has workers of its own

srun --kill-on-bad-exit=1 torchrun \
  --nnodes "$SLURM_NNODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-8}" \
  --rdzv-backend c10d --rdzv-endpoint "$head:29500" --rdzv-id "$SLURM_JOB_ID" \
  -m dermis train "$@"
