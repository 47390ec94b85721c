#!/bin/bash

# Parameters
#SBATCH --cpus-per-task=4
#SBATCH --error=/HERE/runs/jobs/data/scenes/%j_0_log.err
#SBATCH --job-name=data/scenes
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mem=8GB
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/HERE/runs/jobs/data/scenes/%j_0_log.out
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=60

# setup
export SLURM_EXPORT_ENV=ALL SLURM_TIME_FORMAT=standard
export OMP_NUM_THREADS=4
export PYTHONPATH=/HERE/code"${PYTHONPATH:+:$PYTHONPATH}"

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /HERE/runs/jobs/data/scenes/%j_%t_log.out --error /HERE/runs/jobs/data/scenes/%j_%t_log.err --cpus-per-task=4 --kill-on-bad-exit=1 --chdir=/HERE/code /PYTHON -u -m submitit.core._submit /HERE/runs/jobs/data/scenes


# teardown
code=$?
folder=/HERE/runs/jobs/data/scenes
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