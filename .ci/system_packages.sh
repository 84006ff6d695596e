#!/usr/bin/env bash
# What a bare Debian or Ubuntu lacks: make, a Python that can make environments, a second PostgreSQL major beside
# the 18 that comes with the embedded wheel, and PgBouncer and Redis, without which a part of one test and one of
# the compared caches are left out. Does nothing where all of it is there.
set -euo pipefail
shopt -s nullglob

missing=()
command -v make >/dev/null || missing+=(make)
.ci/find_python.sh >/dev/null 2>&1 || missing+=(python3 python3-venv)
majors=(/usr/lib/postgresql/1[3-7]/bin/postgres)
[ ${#majors[@]} -gt 0 ] || missing+=(postgresql)

optional=()
PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null || optional+=(pgbouncer)
command -v redis-server >/dev/null || optional+=(redis-server)

if [ ${#missing[@]} -eq 0 ] && [ ${#optional[@]} -eq 0 ]; then
    echo "nothing to install; system PostgreSQL: ${majors[*]}"
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "note: not installed, because that takes root and apt: ${missing[*]} ${optional[*]}"
    echo "note: the tests run on those PostgreSQL majors that they find"
    exit 0
fi

# Only the programs are wanted: without this the package starts a server of its own that nobody stops.
install -d /etc/postgresql-common/createcluster.d
echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/no-main-cluster.conf

# PgBouncer's and Redis's would be started at once.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -qq -y --no-install-recommends)
# Two screens of installer talk, of interest only when it fails.
if ! log=$(apt-get update -qq 2>&1 && { [ ${#missing[@]} -eq 0 ] || "${install[@]}" "${missing[@]}" 2>&1; }); then
    echo "$log" >&2
    exit 1
fi
for package in "${optional[@]}"; do
    "${install[@]}" "$package" >/dev/null 2>&1 || echo "note: there is no package $package to be had"
done
echo "installed: ${missing[*]} ${optional[*]}"
