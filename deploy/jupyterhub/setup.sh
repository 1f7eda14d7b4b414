#!/usr/bin/env bash
# Makes a JupyterHub for this course on this machine, or brings it up to date: run it again after a
# change of the course, of the settings or of who takes part. It asks nothing and removes nothing.
#
#     deploy/jupyterhub/setup.sh [MEMBERS.csv | --environment]
#
# MEMBERS.csv has the columns id,role,password: id is the account's name, role is student or
# instructor, password is for a new account (none: set it with passwd). It is kept, without the
# passwords, beside the settings: $HUB_CONF/hub.env, by default /etc/tinytorch/hub.env. With
# --environment it installs, and makes no account.
set -euo pipefail
umask 022
cd "$(dirname "$0")/../.."
HERE=deploy/jupyterhub
CONF=${HUB_CONF:-/etc/tinytorch}

fail() { echo "setup.sh: $*" >&2; exit 1; }
say() { echo "-- $*"; }

# What has to be there ----------------------------------------------------------------------------

[ "$(id -u)" = 0 ] || fail "This makes accounts and installs for all: run it as root (sudo $0)."
for program in git node npm useradd runuser tar; do
  command -v $program >/dev/null || \
    fail "There is no '$program'. Debian: apt-get install git nodejs npm passwd util-linux tar"
done
node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' || \
  fail "Node is $(node --version); the Hub's proxy needs 20 or newer (Debian 13 has it, Debian 12 not)."
mkdir -p "$CONF"
[ -e "$CONF/hub.env" ] || install -m 644 $HERE/hub.env "$CONF/hub.env"
. "$CONF/hub.env"
GRADER=grader-$COURSE
MEMBERS=$COURSE-members  # a group of the machine's: whom setup.sh has let in
[ -z "${TLS_KEY}" ] || [ -r "$TLS_KEY" ] || fail "$CONF/hub.env: TLS_KEY names '$TLS_KEY', which can't be read."
git rev-parse --verify --quiet HEAD >/dev/null || fail "$PWD is no git repository with a commit."
"$PYTHON" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
  fail "$CONF/hub.env: PYTHON is '$PYTHON'; 3.11 or newer with venv is needed. Debian: apt-get install python3-venv"
runuser -u nobody -- "$PYTHON" -c '' 2>/dev/null || \
  fail "$CONF/hub.env: PYTHON is '$PYTHON', which other users can't run. Name one outside of /root."
! runuser -u nobody -- test -r "$PWD/source" || \
  fail "Every account can read $PWD, with the solutions and hidden tests. chmod 700 '$PWD', then again."

# Who takes part -----------------------------------------------------------------------------------

if [ "${1:-}" != --environment ]; then
  given=${1:-$CONF/members.csv}
  [ -r "$given" ] || fail "There is no '$given'. Give a CSV with the columns id,role,password."
  roster=$("$PYTHON" $HERE/roster.py "$given" "$GRADER") || exit 1  # it has said why
fi

# The environment, readable for everyone ------------------------------------------------------------

say "installing into $PREFIX"
mkdir -p "$PREFIX" "$STATE"
chmod 755 "$PREFIX"
chmod 700 "$STATE"
[ -x "$PREFIX/bin/python" ] || "$PYTHON" -m venv "$PREFIX"
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
# What is committed, and of that proctor alone: the course's own package is the answer key.
git archive HEAD proctor pyproject.toml README.md requirements.lock $HERE | tar -x -C "$made"
pip() { "$PREFIX/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install -c "$made/requirements.lock" setuptools -r "$made/$HERE/requirements.txt"
pip install -c "$made/requirements.lock" --no-build-isolation "$made"
[ -x "$PREFIX/proxy/node_modules/.bin/configurable-http-proxy" ] || \
  npm install --prefix "$PREFIX/proxy" --no-audit --no-fund --loglevel error configurable-http-proxy@5.3.0

# Settings: where Jupyter, nbgrader and the Hub look for them ---------------------------------------
# What an account has in its own .jupyter/ is read after everyone's, and wins.

etc=$PREFIX/etc/jupyter
mkdir -p "$etc/labconfig"
install -m 644 "$CONF/hub.env" "$made/$HERE"/{jupyterhub_config,nbgrader_config,jupyter_server_config}.py "$etc"
install -m 644 "$made/$HERE/everyone/page_config.json" "$etc/labconfig"
install -m 644 "$made/$HERE/everyone/jupyter_server_config.json" "$etc"
[ "${1:-}" != --environment ] || exit 0

# Accounts -----------------------------------------------------------------------------------------

getent group "$MEMBERS" >/dev/null || groupadd --system "$MEMBERS"
unused() { # a number that no account has, and none whose home was put back from a backup
  { stat -c %u "$HOMES"/*/ 2>/dev/null; getent passwd | cut -d: -f3; } \
    | awk '$1 >= 1000 && $1 < 60000 && $1 > top { top = $1 } END { print (top ? top : 999) + 1 }'
}
home() { getent passwd "$1" | cut -d: -f6; }
account() { # account NAME: makes it if need be, and closes its home
  if ! id "$1" >/dev/null 2>&1; then
    useradd --create-home --base-dir "$HOMES" --shell /bin/bash \
      --uid "$(stat -c %u "$HOMES/$1" 2>/dev/null || unused)" "$1"
    fresh=yes
  else
    fresh=
  fi
  chmod 700 "$(home "$1")"
  local path=$(home "$1")/.run/kernel-00000000-0000-0000-0000-000000000000-ipc-0
  [ ${#path} -le 107 ] || fail "$(home "$1"): this path is too long for the sockets of Jupyter; 55 characters at most."
}
own() { # own NAME FILE: standard input becomes a file of an account's, written as that account
  runuser -u "$1" -- sh -c 'mkdir -p "$(dirname "$0")" && cat > "$0"' "$(home "$1")/$2"
}

say "accounts below $HOMES"
mkdir -p "$HOMES"
account "$GRADER"
own "$GRADER" .jupyter/labconfig/page_config.json < $HERE/grader/page_config.json
own "$GRADER" .jupyter/jupyter_server_config.json < $HERE/grader/jupyter_server_config.json

without=
while IFS=$'\t' read -r id role password; do
  account "$id"
  if ! id -nG "$id" | tr ' ' '\n' | grep -qx "$MEMBERS"; then
    usermod --append --groups "$MEMBERS" --expiredate '' "$id"
  fi
  if [ "$fresh" ]; then
    if [ "$password" ]; then printf '%s:%s\n' "$id" "$password" | chpasswd; else without+=" $id"; fi
  fi
  if [ "$role" = instructor ]; then
    own "$id" .jupyter/labconfig/page_config.json < $HERE/instructor/page_config.json
  fi
done <<< "$roster"

# Who is not named any more can't log in, and nothing of theirs runs on; their files stay.
for id in $(getent group "$MEMBERS" | cut -d: -f4 | tr , ' '); do
  if ! cut -f1 <<< "$roster" | grep -qx "$id"; then
    usermod --expiredate 1 "$id"
    gpasswd --delete "$id" "$MEMBERS" >/dev/null
    pkill -KILL -u "$id" || true
    say "$id has left: the account is shut, $(home "$id") stays"
  fi
done
cut -f1,2 <<< "$roster" | tr '\t' , | sed 1i'id,role' > "$made/members.csv"
install -m 600 "$made/members.csv" "$CONF/members.csv"
install -m 600 "$made/members.csv" "$etc/members.csv"

# The exchange: a folder that everyone may write into, and that nobody can list or clear but the
# grader. The sticky bit keeps one student from removing another's.

mkdir -p "$EXCHANGE"
chmod 1777 "$EXCHANGE"
for folder in 755: 755:/outbound 3733:/inbound 711:/feedback; do
  install -d -o "$GRADER" -g "$GRADER" -m "${folder%%:*}" "$EXCHANGE/$COURSE${folder#*:}"
done

# The grader's clone of the course -------------------------------------------------------------------

course=$(home "$GRADER")/$COURSE
git bundle create --quiet "$made/course.bundle" HEAD
chmod 755 "$made"
grader() { runuser -u "$GRADER" -- env -C / HOME="$(home "$GRADER")" PATH="$PREFIX/bin:/usr/bin:/bin" "$@"; }
chown "$GRADER" "$made/course.bundle"
chmod 600 "$made/course.bundle"
say "bringing the course in $course up to date"
[ -e "$course/.git" ] || grader git init --quiet --initial-branch main "$course"
grader git -C "$course" pull --quiet --ff-only "$made/course.bundle" HEAD || \
  fail "$course has changes of its own. Commit and merge them there, or carry them over; then again."
{ echo id; awk -F'\t' '$2 == "student" { print $1 }' <<< "$roster"; } > "$made/students.csv"
grader env -C "$course" nbgrader db student import "$made/students.csv" 2>&1 | grep -v INFO || true

# The service ----------------------------------------------------------------------------------------

if [ -d /run/systemd/system ]; then
  sed "s|@PREFIX@|$PREFIX|g; s|@STATE@|$STATE|g" $HERE/jupyterhub.service > /etc/systemd/system/jupyterhub.service
  systemctl daemon-reload
  systemctl enable --quiet jupyterhub
  systemctl restart jupyterhub
  say "the Hub runs: systemctl status jupyterhub"
else
  say "there is no systemd here; the Hub is $PREFIX/bin/jupyterhub -f $etc/jupyterhub_config.py"
fi
[ -z "$without" ] || say "no password yet, set one with passwd:$without"
