#!/usr/bin/env bash
# Run once, when Gradescope builds the autograder's image. Everything that pip installs lies in
# wheels/; only Python itself and libseccomp may come from Debian's archive.
set -euo pipefail
root=${AUTOGRADER:-/autograder}
python=python@PYTHON@

debian() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null &&
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$@"
}

if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    debian "$python" "$python-venv" || {
        echo "setup.sh: there is no $python here. Choose an image that has it (Ubuntu 24.04 has 3.12)," \
             "or make the bundle for another one: proctor bundle gradescope --python 3.10" >&2
        exit 1
    }
fi
"$python" -c 'import ctypes; ctypes.CDLL("libseccomp.so.2")' 2>/dev/null || debian libseccomp2 ||
    echo "setup.sh: without libseccomp2 the system-call filter is written by proctor itself"

"$python" -m venv "$root/venv"
"$root/venv/bin/python" -m pip install --quiet --no-index --no-deps "$root"/source/wheels/*.whl
echo "$root/source/lib" > "$("$root/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/proctor.pth"
"$root/venv/bin/python" -m proctor.cli doctor
