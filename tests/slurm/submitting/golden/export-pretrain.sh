#!/bin/bash

# Parameters
#SBATCH --cpus-per-task=10
#SBATCH --error=/HERE/runs/jobs/simclr-demo-seed0/pretrain/%j_0_log.err
#SBATCH --gpus-per-node=8
#SBATCH --job-name=simclr-demo-seed0/pretrain
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mem=160GB
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --open-mode=append
#SBATCH --output=/HERE/runs/jobs/simclr-demo-seed0/pretrain/%j_0_log.out
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=2880

# setup
export SLURM_EXPORT_ENV=ALL SLURM_TIME_FORMAT=standard
export OMP_NUM_THREADS=10
export PYTHONPATH=/HERE/code"${PYTHONPATH:+:$PYTHONPATH}"

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /HERE/runs/jobs/simclr-demo-seed0/pretrain/%j_%t_log.out --error /HERE/runs/jobs/simclr-demo-seed0/pretrain/%j_%t_log.err --cpus-per-task=10 --kill-on-bad-exit=1 --chdir=/HERE/code /PYTHON -u -m slurm.call /HERE/runs/jobs/simclr-demo-seed0/pretrain/call.json


# teardown
code=$?
folder=/HERE/runs/jobs/simclr-demo-seed0/pretrain
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