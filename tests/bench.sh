#!/bin/bash
# bench.sh: what vestibule costs, as ratios between things measured in one run, in a box.
# NO_BUILD=1: takes the programs as they are. PART=forward: only that part.
set -euo pipefail
cd "$(dirname "$0")/.."
tests/setup.sh
[[ -n ${NO_BUILD-} ]] || make --no-print-directory build
target=$(realpath "${CARGO_TARGET_DIR:-target}")
exec tests/lib/box --bind "$target" --env "CARGO_TARGET_DIR=$target" ${PART:+--env "PART=$PART"} \
    ${PROFILE:+--env "PROFILE=$PROFILE"} tests/bench/inside
