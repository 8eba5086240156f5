#!/bin/sh
# Makes the keys of the stack in /keys, which is docker/keys on the host; runs in the producers'
# image as root, by `docker compose run --rm keys [NAME]`.
#
# Compose mounts a secret's file as it is, with the owner and the mode that it has on the host. The
# containers run as user 10001, and genserver refuses a secret that belongs to another user. So the
# files are made here, given to that user, and may be read by nobody else; the folders stay the host
# user's own, who can throw the keys away but need not be able to read them.
set -eu
umask 077
name=${1:-trainer}
host_user=$(stat -c %u:%g /keys)
if [ "$name" = trainer ] && [ -e /keys/server/secret.key ]; then
  echo "docker/keys has keys already"
  exit 0
fi
find /keys -type f -exec chown 0:0 {} +
genserver keygen /keys --name "$name" >/dev/null
# A file with all trainers' public keys: a secret is one file. It keeps its place on the disk, so
# that containers which have it mounted see the new one when they are restarted.
cat /keys/server/trainers/*.key >/keys/server/trainers.list
find /keys -type d -exec chown "$host_user" {} + -exec chmod 0700 {} +
find /keys -type f -exec chown 10001:10001 {} + -exec chmod 0400 {} +
echo "docker/keys has the keys of the server and of $name"
