#!/usr/bin/env bash
# Grades the submissions of one assignment: results.xml (JUnit), and a summary in Markdown.
#   bash .github/grade.sh ASSIGNMENT
# COURSE      the course's folder, . if not set
# RESULTS     where the JUnit file goes, results.xml if not set
# GITHUB_STEP_SUMMARY   set by GitHub: the summary is appended there, otherwise it is printed
set -euo pipefail
assignment=${1:?"Which assignment? bash .github/grade.sh ASSIGNMENT"}
root=$(cd "$(dirname "$0")/.." && pwd)
course=${COURSE:-.}
results=${RESULTS:-results.xml}
summary=${GITHUB_STEP_SUMMARY:-/dev/stdout}

if ! command -v proctor >/dev/null; then
    make --directory "$root" --silent .venv/.ready
    export PATH="$root/.venv/bin:$PATH"
fi

# Status 1: a submission has no result. The other results are shown all the same, then the run fails.
exec proctor grade "$assignment" --course "$course" --no-record \
    --format junit --summary "$summary" > "$results"
