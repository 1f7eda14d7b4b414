#!/usr/bin/env bash
# Fetches students' repositories and puts what they hand in into submitted/.
#   bash deploy/ci/fetch.sh ASSIGNMENT
# COURSE         the course's folder, . if not set
# REPOSITORIES   a CSV file with the columns id and repository (an address that git clones),
#                COURSE/repositories.csv if not set
# TOKEN          what may read these repositories; it stands on no command line and in no file
# Nothing of a student's runs: a repository is fetched without a working tree, and `proctor collect`
# reads its last commit.
set -euo pipefail
assignment=${1:?"Which assignment? bash deploy/ci/fetch.sh ASSIGNMENT"}
source "$(dirname "$0")/setup.sh"
course=${COURSE:-.}
list=${REPOSITORIES:-$course/repositories.csv}
[ -f "$list" ] || { echo "fetch.sh: there is no $list: a CSV file with the columns id and repository" >&2; exit 2; }
clones=$(mktemp -d)
trap 'rm -rf "$clones"' EXIT

export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
if [ -n "${TOKEN:-}" ]; then
    export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="http.${SERVER:-https://github.com}/.extraheader"
    GIT_CONFIG_VALUE_0="AUTHORIZATION: basic $(printf 'x-access-token:%s' "$TOKEN" | base64 | tr -d '\n')"
    export GIT_CONFIG_VALUE_0
    unset TOKEN
fi

rows=$(python3 "$(dirname "$0")/repositories.py" "$list")  # all of them are looked at first
missing=0
while IFS=$'\t' read -r id address; do
    # One that cannot be fetched keeps nobody else from being graded.
    if ! git clone --quiet --depth 1 --no-checkout --no-tags -- "$address" "$clones/$id" </dev/null; then
        echo "fetch.sh: $id: the repository cannot be fetched" >&2
        missing=$((missing + 1))
    fi
done <<< "$rows"

unset GIT_CONFIG_VALUE_0 GIT_CONFIG_KEY_0 GIT_CONFIG_COUNT
status=0
proctor collect "$clones" --course "$course" --roster "$list" --assignment "$assignment" || status=$?
[ "$status" -le 1 ] || exit "$status"
echo "fetch.sh: $missing could not be fetched"
