#!/bin/sh
# Installs the programs of Debian that tests/peers/ and benchmarks/ run.  Needs root.
set -eu
packages="docker.io containerd skopeo buildah podman docker-registry wrk strace prometheus curl redis-server nginx-light haproxy slowhttptest sslscan faketime"
missing=""
for package in $packages; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
if [ -n "$missing" ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
