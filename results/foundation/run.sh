#!/usr/bin/env bash
# The foundation table of docs/results.md: four methods, three seeds, the same labels for every method of a seed.
#
#   bash results/foundation/run.sh DATA RUNS [METHOD...]
#
# DATA holds manifest.csv with the sources named below; RUNS gets a folder per run; the per-image tables and scores are
# copied beside this script. Finished runs are kept, interrupted ones resume. THREADS=1 and two calls with other SEEDS or
# methods use two cores best.
set -euo pipefail
data=$1 runs=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
export OMP_NUM_THREADS=${THREADS:-2}
for seed in ${SEEDS:-0 1 2}; do
  for method in ${*:-multimix umtl enc u-net}; do
    run=$runs/$method-$seed
    multimix train "$data" --class-source kermany --mask-source jsrt --class-labels 100 --mask-labels 10 \
      --method "$method" --size 128 --precision bf16-mixed --seed "$seed" --out "$run" --resume
    multimix evaluate "$run" "$data" --split test --class-source kermany,nih \
      --mask-source jsrt,montgomery,shenzhen --parquet --out "$here/$method-$seed"
  done
done
