#!/bin/bash
# demo.sh [--built]: the way from an empty store to a shell in a container, in a box that is gone afterwards.
# --built: takes the programs as `make build` left them, and installs no package.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
if [[ ${1-} != --built ]]; then
    echo "== what building and running need"
    tests/setup.sh --demo
    echo "== make build"
    make --no-print-directory build
fi
options=()
[[ -z ${CARGO_TARGET_DIR-} ]] || options+=(--env "CARGO_TARGET_DIR=$(realpath "$target")")
[[ -z ${PROFILE-} ]] || options+=(--env "PROFILE=$PROFILE")
exec tests/lib/box --bind "$(realpath "$target")" "${options[@]}" tests/lib/demo-inside
