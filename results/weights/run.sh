#!/usr/bin/env bash
# The weights that ship and their model card: train, put into the package, judge, audit, write the card.
#
#   bash results/weights/run.sh DATA RUN
#
# DATA holds manifest.csv with the sources named below; RUN is the folder of the run. A finished run is kept, an
# interrupted one goes on. Only sources whose terms allow it are learned from; the others judge.
set -euo pipefail
data=$1 run=$2
root=$(cd "$(dirname "$0")/../.." && pwd)

# The arguments of `multimix train`; the model card quotes these lines.
TRAIN=(
  --method multimix-t --recipe tuned --set objective.dice_weight=50
  --class-source kermany,nih --mask-source kermany_v7
  --class-labels all --mask-labels all
  --size 128 --precision bf16-mixed --seed 0 --steps 3000 --set validate_every=250
)

multimix train "$data" "${TRAIN[@]}" --out "$run" --resume
multimix explain "$run" "$data" --split val --source kermany_v7 --store
python "$root/tools/ship_weights.py" "$run" chest-xray
multimix evaluate --weights chest-xray "$data" --split test --class-source kermany,nih \
  --mask-source kermany_v7,covidcxr_v7,jsrt,montgomery,shenzhen --parquet --out "$run/evaluation/shipped"
# Its exit status is 1 where it finds something wrong, as that half the bits answer a little differently; the card says
# what it finds of shortcuts.
multimix audit "$run" --data "$data" --json "$run/evaluation/shipped/audit.json" || true
python "$root/tools/model_card.py" "$run/evaluation/shipped" "$data"
