#!/bin/bash

# Parameters
#SBATCH --account=vision
#SBATCH --constraint='[a100&ib]|h100'
#SBATCH --cpus-per-task=1
#SBATCH --dependency='afterany:<1>:<2>:<3>:<4>'
#SBATCH --error=/HERE/runs/jobs/results/%j_0_log.err
#SBATCH --exclusive
#SBATCH --job-name=results
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mail-type=FAIL
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/HERE/runs/jobs/results/%j_0_log.out
#SBATCH --partition=cpu
#SBATCH --qos=normal
#SBATCH --requeue
#SBATCH --signal=USR2@300
#SBATCH --time=60
#SBATCH --wckey=w

# setup
module load cuda
export NCCL_DEBUG=WARN
export SLURM_EXPORT_ENV=ALL SLURM_TIME_FORMAT=standard
export OMP_NUM_THREADS=1
export PYTHONPATH=/HERE/code"${PYTHONPATH:+:$PYTHONPATH}"
export TMPDIR=/local/"${USER}"/"$SLURM_JOB_ID"
srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 sh -c 'rm -rf "$TMPDIR" && mkdir -p "$TMPDIR"'
trap : TERM  # cancelled or queued again: the shell outlives the tasks, which save
other_nodes() { [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; }
trap 'rm -rf "$TMPDIR"; ! other_nodes || srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 rm -rf "$TMPDIR" 2>/dev/null' EXIT

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /HERE/runs/jobs/results/%j_%t_log.out --error /HERE/runs/jobs/results/%j_%t_log.err --cpus-per-task=1 --kill-on-bad-exit=1 --chdir=/HERE/code apptainer exec --nv --bind /shared:/my/data '/images/torch 2.sif' python3 -u -m submitit.core._submit /HERE/runs/jobs/results


# teardown
code=$?
folder=/HERE/runs/jobs/results
id="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"; id="${id:-$SLURM_JOB_ID}"
requeue() {  # a job that runs; a controller that does not answer is asked again, for an hour
    command -v scontrol > /dev/null || return
    for try in $(seq 360); do
        if shown=$(scontrol --oneliner show job "$id"); then
            echo "$shown" | grep -Eq "JobState=(RUNNING|SIGNALING|STOPPED) .*$1" || return
            scontrol requeue "$id" && return
        fi
        sleep 10
    done
}
case $code in
    0) rm -f "$folder/$id"_*.pkl "$folder/${id}_exit" ;;
    140) requeue ;;  # SIGUSR2, not answered by Python
    143) requeue "PreemptTime=[0-9]" ;;  # or SIGTERM, at a preemption
    75) ;;  # saved, and in the queue again
    *) echo $code > "$folder/${id}_exit" ;;  # of a task that was killed nothing else tells
esac
exit $code