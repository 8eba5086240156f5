#!/bin/sh
# One command for the whole stack: builds the images, makes keys if there are none, starts everything,
# shows what the trainer says, stops everything when it has ended, and ends with its exit code.
#
# Not `up --exit-code-from trainer`: that ends everything as soon as any container ends, also one
# that is about to be started again.
set -eu
cd "$(dirname "$0")"

docker compose version >/dev/null 2>&1 || {
  echo "docker compose is missing: the stack needs Docker with Compose 2" >&2
  exit 69
}
docker version >/dev/null 2>&1 || {
  echo "no Docker engine answers: start one, or set DOCKER_HOST" >&2
  exit 69
}

docker compose build
# The folder is this user's; what is in it, keys.sh explains.
keys=${GENSERVER_KEYS:-./keys}
[ -d "$keys" ] || mkdir -m 0700 "$keys"
docker compose run --rm keys

stop() {
  trap '' INT TERM
  docker compose stop
}
trap 'stop; exit 130' INT TERM
since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
docker compose up --detach
docker compose logs --follow --since "$since" trainer &
wait $! || true
code=$(docker wait "$(docker compose ps --all --quiet trainer)")
stop
exit "$code"
