#!/bin/sh
# Submits 3 jobs in a chain, once. Needs sbatch, mkdir, env and sed; the runs folder has to be there.
set -eu
cd -- "$(dirname -- "$0")"
mkdir submitted 2>/dev/null || { echo "submitted already; to do it again, remove $PWD/submitted" >&2; exit 1; }

# What belongs to the job that this may run in: sbatch would pass it on, and srun obey it.
for name in $(env | sed -n 's/^\(SLURM_[A-Z0-9_]*\)=.*/\1/p'); do
    case $name in SLURM_CONF | SLURM_CLUSTERS) ;; *) unset "$name" ;; esac
done

# submit NAME DEPENDENCY HOME: send NAME.sh, note its number in HOME for slurm/status.py, and print it.
submit() {
    if [ "$3/submitted.json" -nt submit.sh ]; then
        echo "$1 has been submitted since these scripts were written: write new ones" >&2
        return 1
    fi
    id=$(sbatch --parsable ${2:+"--dependency=$2"} "$1.sh")
    id=${id%%;*}
    sed "s/@THE-NUMBER-OF-THIS-JOB@/$id/g" "$1.json" > "$3/submitted.json"
    echo "$id"
}

j1=$(submit 0001-data-scenes "" /HERE/runs/jobs/data/scenes); printf '%s\n' data/scenes": job $j1"
j2=$(submit 0002-simclr-demo-seed0-pretrain "afterok:${j1}" /HERE/runs/jobs/simclr-demo-seed0/pretrain); printf '%s\n' simclr-demo-seed0/pretrain": job $j2"
j3=$(submit 0003-byol-demo-seed0-pretrain "afterok:${j1}" /HERE/runs/jobs/byol-demo-seed0/pretrain); printf '%s\n' byol-demo-seed0/pretrain": job $j3"
