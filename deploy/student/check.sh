#!/usr/bin/env bash
# Runs the visible checks of every notebook in this repository; hidden tests are not here.
#   bash check.sh [NOTEBOOK…]
# PROCTOR   what pip installs proctor from: the wheel's address or its path
set -euo pipefail
command -v proctor >/dev/null ||
    python3 -m pip install --quiet "${PROCTOR:?"Set PROCTOR to the address of the wheel that your course hands out."}"
if [ $# = 0 ]; then
    shopt -s nullglob
    set -- *.ipynb */*.ipynb
    [ $# -gt 0 ] || { echo "check.sh: there is no notebook here" >&2; exit 2; }
fi
form=table
[ -z "${GITHUB_ACTIONS:-}" ] || form=annotations
mkdir -p results
status=0
for notebook; do
    name=$(basename "$notebook" .ipynb)
    proctor check "$notebook" --format "$form" --output "junit=results/$name.xml" \
        --output "markdown=results/$name.md" || status=1
    cat "results/$name.md" >> "${GITHUB_STEP_SUMMARY:-/dev/null}"
done
exit "$status"
