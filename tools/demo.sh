#!/bin/bash
# demo.sh: from a checkout to a story on a private cluster, which it leaves
# running to look at. demo.sh stop removes it. As for test.sh, PG_CONFIG picks the server,
# ES_NO_INSTALL_DEPS leaves the machine as it is, ES_MAKE_FLAGS are arguments of make.
set -euo pipefail
. "$(dirname "$0")/common.sh"

# Where the cluster of the last run is, for the next run and for stop.
remember=$ROOT/.demo-cluster

drop_demo() {
	if [ -f "$remember" ]; then
		"$ROOT/tools/cluster.sh" drop "$(cat "$remember")"
		rm -f "$remember"
	fi
}

interrupted() {
	trap - EXIT
	trap '' INT TERM
	drop_demo
	printf '\nstopped; nothing is left running\n'
	exit 130
}

failed() {
	local code=$?
	[ $code = 0 ] || drop_demo
	exit $code
}

tell() { "$bin/psql" -X -q -h "$dir" -U postgres -d demo -P pager=off -v VERBOSITY=default "$@"; }

main() {
	[ -n "${ES_NO_INSTALL_DEPS:-}" ] || "$ROOT/tools/install-deps.sh"
	PG_CONFIG=$(find_pg_config) || die "no PostgreSQL server found"
	export PG_CONFIG
	bin=$("$PG_CONFIG" --bindir)

	trap failed EXIT
	trap interrupted INT TERM
	note "building for $("$PG_CONFIG" --version)"
	# shellcheck disable=SC2086
	build_and_install "$ROOT" ${ES_MAKE_FLAGS:-}

	drop_demo
	dir=$(make_work_dir demo)
	echo "$dir" >"$remember"
	note "a cluster of its own in $dir"
	"$ROOT/tools/cluster.sh" create "$dir"
	"$ROOT/tools/cluster.sh" start "$dir"
	"$bin/createdb" -h "$dir" -U postgres demo

	cd "$ROOT/examples"
	tell -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION eventsource' </dev/null
	tell -v ON_ERROR_STOP=1 -f lead_lifecycle.sql </dev/null
	tell <demo.sql 2>&1

	note "the second act: the CRM, in a database of its own"
	"$bin/createdb" -h "$dir" -U postgres crm
	tell -d crm -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION eventsource_crm CASCADE' -c 'SELECT crm.install()' >/dev/null 2>&1 </dev/null
	tell -d crm <crm_story.sql 2>&1

	cat <<-END

		The cluster keeps running. Look around:

		    $bin/psql -h $dir -U postgres demo
		    $bin/psql -h $dir -U postgres crm

		Charts of a larger one: examples/dashboard/README.md, "Try it".

		Remove it:

		    make demo-stop
	END
}

case ${1:-} in
	'') main ;;
	stop) drop_demo ;;
	*) die "unknown command $1" ;;
esac
