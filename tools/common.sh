# Shared by the scripts in this folder; sourced, never run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

note() { printf '\n== %s\n' "$*"; }

die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

# The administrator's rights, for what only they can do.
as_root() {
	if is_root; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "needs root or sudo for: $*"
	fi
}

# Prints the pg_config to build with: the one given by hand, else the one found.
find_pg_config() {
	local candidate
	if [ -n "${PG_CONFIG:-}" ]; then
		command -v "$PG_CONFIG" || die "PG_CONFIG=$PG_CONFIG cannot be run"
		return
	fi
	for candidate in pg_config $(printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -rV); do
		if has_server "$candidate"; then
			command -v "$candidate"
			return
		fi
	done
	return 1
}

# A server to run and the headers to build against, not just a client.
has_server() {
	command -v "$1" >/dev/null 2>&1 || return 1
	[ -x "$("$1" --bindir)/postgres" ] && [ -f "$("$1" --pgxs)" ] &&
		[ -f "$("$1" --includedir-server)/postgres.h" ]
}

# The user that servers run as: initdb refuses root.
cluster_user() {
	if ! is_root; then
		id -un
	elif id postgres >/dev/null 2>&1; then
		echo postgres
	else
		id eventsource-test >/dev/null 2>&1 || useradd --system --no-create-home eventsource-test
		echo eventsource-test
	fi
}

as_cluster_user() {
	if is_root; then
		runuser -u "$(cluster_user)" -- "$@"
	else
		"$@"
	fi
}

# make_work_dir NAME [BASE]: a new folder that only the cluster's user enters, with
# a path short enough for a socket (107 bytes), wherever the checkout lies.
make_work_dir() {
	local dir
	dir=$(mktemp -d "${2:-/tmp}/eventsource-$1.XXXXXX")
	if is_root; then
		chown "$(cluster_user)" "$dir"
	fi
	echo "$dir"
}

# copy_tree TO: the checkout without what was built in it. Tests run in such a
# copy, since the cluster's user may neither read nor write the checkout.
copy_tree() {
	mkdir -p "$1"
	tar -C "$ROOT" --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.d' --exclude='*.so' \
		--exclude=./.build_flags --exclude=./results --exclude=./regression.diffs \
		--exclude=./tmp_check -cf - . | tar -C "$1" -xf -
	if is_root; then
		chown -R "$(cluster_user)" "$1"
	fi
}

# Builds the tree in folder $1 (more arguments go to make) and installs it.
build_and_install() {
	local dir=$1
	shift
	# As arguments, since sudo passes no environment on.
	set -- PG_CONFIG="$PG_CONFIG" ES_CFLAGS="${ES_CFLAGS:-}" "$@"
	make -s -C "$dir" -j"$(nproc)" "$@" all
	if [ -w "$("$PG_CONFIG" --pkglibdir)" ]; then
		make -s -C "$dir" "$@" install
	else
		as_root make -s -C "$dir" "$@" install
	fi >/dev/null
}

# report LABEL PASSED FAILED SKIPPED: the closing line.
report() {
	if [ "$4" -gt 0 ]; then
		echo "$1$2 passed, $3 failed, $4 skipped"
	else
		echo "$1$2 passed, $3 failed"
	fi
}
