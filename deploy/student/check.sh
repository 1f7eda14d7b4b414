#!/usr/bin/env bash
# Runs the visible checks of every notebook in this repository that has some; hidden tests are not
# here. Of each notebook: results/NOTEBOOK.xml (JUnit) and .md (Markdown), on GitHub also in the run's
# summary, and annotations in its log.
#   bash check.sh [NOTEBOOK…]
# PROCTOR   what pip installs proctor from: the wheel's address or its path
set -euo pipefail
command -v proctor >/dev/null ||
    python3 -m pip install --quiet "${PROCTOR:?"Set PROCTOR to the address of the wheel that your course hands out."}"
if [ $# = 0 ]; then
    shopt -s nullglob
    for notebook in *.ipynb */*.ipynb; do  # not those for trying things out
        ! grep -q '"grade": *true' "./$notebook" || set -- "$@" "$notebook"
    done
    [ $# -gt 0 ] || { echo "check.sh: there is no notebook with checks here" >&2; exit 2; }
fi
status=0
for notebook; do
    results=results/${notebook%.ipynb}
    proctor check --output "junit=$results.xml" --output "markdown=$results.md" \
        --output "annotations=$results.txt" -- "$notebook" || status=1
    if [ -n "${GITHUB_ACTIONS:-}" ]; then
        cat "$results.txt"
        cat "$results.md" >> "${GITHUB_STEP_SUMMARY:-/dev/null}"
    fi
    rm -f "$results.txt"
done
exit "$status"
