#!/usr/bin/env bash
# What the container runs: accounts live in it, so each start makes them anew, with the numbers that
# their homes have and the passwords that they had when it was stopped.
set -euo pipefail
CONF=${HUB_CONF:-/etc/tinytorch}
SETUP=$(dirname "$0")/setup.sh

"$SETUP" --environment  # hub.env, if there is none yet
. "$CONF/hub.env"
passwords=$STATE/passwords
keep() {
  (umask 077; getent shadow $(cut -d, -f1 "$CONF/members.csv" | tail -n +2) | cut -d: -f1,2 > "$passwords")
}

"$SETUP"
[ ! -e "$passwords" ] || chpasswd --encrypted < "$passwords"
keep
cd "$STATE"
"$PREFIX/bin/jupyterhub" -f "$PREFIX/etc/jupyter/jupyterhub_config.py" &
trap 'kill "$!"' TERM INT
wait "$!" || true
wait "$!" || true  # the first one ends when the signal comes
keep
