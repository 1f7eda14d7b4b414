# Sourced by the scripts beside it: proctor on the path, from this repository where it is not
# installed.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if ! command -v proctor >/dev/null; then
    make --directory "$root" --silent .venv/.ready >&2
    export PATH="$root/.venv/bin:$PATH"
fi
