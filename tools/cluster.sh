#!/bin/bash
# cluster.sh create|start|stop|drop DIR: a private cluster that lives in DIR
# whole: data, log and socket. It listens on no port, and settings for it can be
# added to DIR/data/postgresql.conf while it is stopped. ES_POSTGRES names a program
# to start as the server.
set -euo pipefail
. "$(dirname "$0")/common.sh"

PG_CONFIG=$(find_pg_config) || die "no PostgreSQL server found"
bin=$("$PG_CONFIG" --bindir)

create() {
	local dir=$1
	[ ${#dir} -lt 90 ] || die "path too long for a socket: $dir"
	mkdir -p "$dir"
	if is_root; then
		chown "$(cluster_user)" "$dir"
	fi
	# The superuser is called postgres, whoever runs it.
	as_cluster_user "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"/dev/null"
	as_cluster_user tee -a "$dir/data/postgresql.conf" >/dev/null <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$dir'
		port = 5432
		max_prepared_transactions = 20
		log_line_prefix = '%m [%p] %q%a '
	CONF
}

start() {
	as_cluster_user "$bin/pg_ctl" ${ES_POSTGRES:+-p "$ES_POSTGRES"} -D "$1/data" -l "$1/log" -w -t 60 start \
		>/dev/null </dev/null || {
		as_cluster_user tail -n 20 "$1/log" >&2
		die "the cluster in $1 did not start"
	}
}

# Quiet about a cluster that does not run.
stop() {
	if [ -f "$1/data/postmaster.pid" ]; then
		as_cluster_user "$bin/pg_ctl" -D "$1/data" -m "${2:-fast}" -w stop >/dev/null 2>&1 || true
	fi
}

drop() {
	stop "$1" immediate
	rm -rf "$1"
}

# pg_ctl looks back at the current folder, which the cluster's user may not read.
dir=$(realpath -m "${2:?folder}")
cd /
case ${1:?create, start, stop or drop} in
	create) create "$dir" ;;
	start) start "$dir" ;;
	stop) stop "$dir" ;;
	drop) drop "$dir" ;;
	*) die "unknown command $1" ;;
esac
