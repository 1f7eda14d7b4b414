#!/usr/bin/env bash
# Grades the submissions of one assignment: results.xml (JUnit), results.json, a summary in
# Markdown, and annotations on standard output where GitHub runs it.
#   bash deploy/ci/grade.sh ASSIGNMENT
# COURSE      the course's folder, . if not set
# RESULTS     where results.xml and results.json go, . if not set
# SHARD       I/N: grade the I-th of N parts only; their .proctor/ and autograded/, gathered in one
#             course, are what a last run without SHARD reports without grading again
# GITHUB_STEP_SUMMARY   set by GitHub: the summary is appended there, otherwise it is a file in RESULTS
set -euo pipefail
assignment=${1:?"Which assignment? bash deploy/ci/grade.sh ASSIGNMENT"}
source "$(dirname "$0")/setup.sh"
course=${COURSE:-.}
results=${RESULTS:-.}
mkdir -p "$results"
form=table
[ -z "${GITHUB_ACTIONS:-}" ] || form=annotations

# A fresh clone has no gradebook: releasing the assignment makes one, and proves the reference.
[ -f "$course/gradebook.db" ] ||
    (cd "$course" && nbgrader generate_assignment "$assignment" --force --log-level WARN >&2)

# Status 1: a submission has no result. The other results are shown all the same, then the run fails.
exec proctor grade "$assignment" --course "$course" --shard "${SHARD:-1/1}" \
    --format "$form" --output "junit=$results/results.xml" --output "json=$results/results.json" \
    --summary "${GITHUB_STEP_SUMMARY:-$results/summary.md}"
