#!/bin/bash
# bench.sh: runs bench/run.sh on a private cluster with honest settings: nothing
# that PostgreSQL guarantees is turned off. Arguments go to bench/run.sh.
# ES_BENCH_BASE names the folder (on the disk to measure) to make it in.
set -euo pipefail
. "$(dirname "$0")/common.sh"

"$ROOT/tools/install-deps.sh"
PG_CONFIG=$(find_pg_config) || die "no PostgreSQL server found"
export PG_CONFIG
bin=$("$PG_CONFIG" --bindir)
note "building for $("$PG_CONFIG" --version)"
build_and_install "$ROOT"

dir=$(make_work_dir bench "${ES_BENCH_BASE:-/var/tmp}")
trap '"$ROOT/tools/cluster.sh" drop "$dir"' EXIT
trap 'exit 130' INT TERM
"$ROOT/tools/cluster.sh" create "$dir"
cat >>"$dir/data/postgresql.conf" <<-CONF
	shared_preload_libraries = eventsource
	shared_buffers = 1GB
	max_wal_size = 16GB
	checkpoint_timeout = 30min
	max_connections = 50
	log_checkpoints = off
CONF
"$ROOT/tools/cluster.sh" start "$dir"

export PATH=$bin:$PATH PGHOST=$dir PGPORT=5432 PGUSER=postgres PGDATABASE=bench
export ES_BENCH_CLUSTER=$dir
createdb bench
psql -X -q -c 'CREATE EXTENSION eventsource'
cd "$ROOT"
bench/run.sh "$@"
