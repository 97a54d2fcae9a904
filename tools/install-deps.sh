#!/bin/bash
# install-deps.sh [test]: installs by apt what is missing to build (and test)
# the extension. With PG_CONFIG given by hand, the server is left alone.
set -euo pipefail
. "$(dirname "$0")/common.sh"

# Debian's default cluster is not ours to create or start.
no_main_cluster=/etc/postgresql-common/createcluster.d/eventsource-no-main-cluster.conf

main() {
	local want=${1:-build} pg_config='' major packages=''

	command -v gcc >/dev/null || packages+=' gcc libc6-dev'
	command -v make >/dev/null || packages+=' make'
	if [ "$want" = test ] && ! perl -MIPC::Run -e 1 2>/dev/null; then
		packages+=' perl libipc-run-perl'
	fi
	# One test is an application, which needs a driver.
	if [ "$want" = test ] && ! /usr/bin/python3 -c 'import psycopg2' 2>/dev/null; then
		packages+=' python3-psycopg2'
	fi

	# Delivery: what CloudEvents are judged by, what the relay is built with, and whom
	# it delivers to.
	if [ "$want" = test ]; then
		has_module jsonschema || packages+=' python3-jsonschema'
		has_module aiosmtpd || packages+=' python3-aiosmtpd'
		has_header libpq-fe.h || packages+=' libpq-dev'
		has_header curl/curl.h || packages+=' libcurl4-openssl-dev'
	fi

	# Whose clock jumps.
	if [ "$want" = test ] && ! compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null; then
		packages+=' libfaketime'
	fi

	# What validators of JSON Schema are held against.
	if [ "$want" = test ] && ! [ -d /usr/share/json-schema-test-suite ]; then
		packages+=' json-schema-test-suite'
	fi

	pg_config=$(find_pg_config) || pg_config=''
	if [ -n "${PG_CONFIG:-}" ]; then
		has_server "$PG_CONFIG" || die "PG_CONFIG=$PG_CONFIG has no server or no PGXS"
	elif [ -z "$pg_config" ]; then
		apt_update
		major=$(apt-cache show postgresql | sed -n 's/^Version: \([0-9]*\).*/\1/p' | sort -n | tail -1)
		[ -n "$major" ] || die "apt knows no postgresql"
		packages+=" postgresql-$major postgresql-server-dev-$major postgresql-$major-pgtap postgresql-$major-wal2json"
	elif [ "$want" = test ]; then
		major=$("$pg_config" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
		[ -f "$("$pg_config" --sharedir)/extension/pgtap.control" ] || packages+=" postgresql-$major-pgtap"
		[ -f "$("$pg_config" --pkglibdir)/wal2json.so" ] || packages+=" postgresql-$major-wal2json"
	fi

	if [ -n "$packages" ]; then
		install_packages "$packages"
	fi
	if [ "$want" = test ]; then
		pg_config=$(find_pg_config)
		[ -f "$("$pg_config" --sharedir)/extension/pgtap.control" ] ||
			die "pgTAP is not installed for $("$pg_config" --version)"
		install_dashboard
	fi
}

# What the dashboard is drawn with, and a browser that draws it. Large, and the one thing
# that a registry other than Debian's has: where it cannot be had, its test is skipped.
install_dashboard() {
	local packages='' dir=$ROOT/examples/dashboard
	command -v node >/dev/null && command -v npm >/dev/null || packages+=' nodejs npm'
	command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null ||
		packages+=' chromium-headless-shell'
	if [ -n "$packages" ] && ! (install_packages "$packages"); then
		echo "the dashboard will not be tested: could not install$packages"
		return
	fi
	# A lock file that is younger than what was installed by it asks for another look.
	[ "$dir/node_modules/.package-lock.json" -nt "$dir/package-lock.json" ] && return
	echo "installing: the packages of examples/dashboard"
	if ! timeout 300 npm --prefix "$dir" ci --ignore-scripts --no-audit --no-fund </dev/null >/tmp/eventsource-npm.$$ 2>&1; then
		tail -n 5 /tmp/eventsource-npm.$$
		rm -rf "$dir/node_modules"
		echo "the dashboard will not be tested: could not install its packages"
	fi
	rm -f /tmp/eventsource-npm.$$
}

has_module() { /usr/bin/python3 -c "import $1" 2>/dev/null; }

# Where the compiler, or the client library's own folder, has it.
has_header() {
	echo "#include <$1>" | gcc -E -I"$(pg_config --includedir 2>/dev/null || echo /usr/include/postgresql)" \
		-I/usr/include/postgresql -xc - >/dev/null 2>&1
}

apt_update() {
	command -v apt-get >/dev/null || die "no apt-get here: install PostgreSQL and its headers by hand"
	if [ -z "${apt_updated:-}" ]; then
		as_root apt-get -qq update
		apt_updated=yes
	fi
}

install_packages() {
	local remove_conf=''
	echo "installing:$1"
	apt_update
	if ! [ -e "$no_main_cluster" ]; then
		as_root mkdir -p "$(dirname "$no_main_cluster")"
		echo 'create_main_cluster = false' | as_root tee "$no_main_cluster" >/dev/null
		remove_conf=yes
	fi
	# shellcheck disable=SC2086
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $1 \
		</dev/null >/tmp/eventsource-apt.$$ 2>&1 || {
		cat /tmp/eventsource-apt.$$ >&2
		[ -z "$remove_conf" ] || as_root rm -f "$no_main_cluster"
		die "could not install:$1"
	}
	rm -f /tmp/eventsource-apt.$$
	[ -z "$remove_conf" ] || as_root rm -f "$no_main_cluster"
}

main "$@"
