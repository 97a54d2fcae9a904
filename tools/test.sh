#!/bin/bash
# test.sh [FILE ...]: builds and installs the extension and runs the tests on a
# private cluster, or only the named files:
#
#   tools/test.sh test/sql/append.sql test/specs/iso_append.spec test/t/001_crash.pl
#
# Environment: PG_CONFIG picks the server; ES_PARTS the parts (see "parts"
# below); ES_CFLAGS adds compiler flags, ES_MAKE_FLAGS arguments of make;
# ES_FUZZ_COUNT is the number of inputs per fuzzer, PROVE_FLAGS goes to prove,
# ES_TAP_SECONDS is how long all TAP tests may take, and ES_TAP_JOBS how many of
# their files run at once (by default two where there are two processors).
# Ends with "N passed, N failed"; the exit code says the same.
set -euo pipefail
. "$(dirname "$0")/common.sh"

parts=${ES_PARTS:-lint regress isolation fuzz segments tap}
small_segment=300
# Of a log that nobody has analyzed, plans look so dear that they are compiled, for seconds each:
# so servers do by default, and so does the first run of the suites; the others do without.
no_jit='jit=off'
passed=0 failed=0 skipped=0

main() {
	[ -n "${ES_NO_INSTALL_DEPS:-}" ] || "$ROOT/tools/install-deps.sh" test
	PG_CONFIG=$(find_pg_config) || die "no PostgreSQL server found"
	export PG_CONFIG
	bin=$("$PG_CONFIG" --bindir)
	pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")/..

	note "building for $("$PG_CONFIG" --version)"
	# shellcheck disable=SC2086
	build_and_install "$ROOT" ${ES_MAKE_FLAGS:-}

	work=$(make_work_dir test)
	trap finish EXIT
	trap 'exit 130' INT TERM
	tree=$work/tree cluster=$work/pg
	copy_tree "$tree"
	copy_data
	name_tests "$@"

	if has lint; then run_lints; fi
	if has regress || has isolation || has fuzz || has segments; then
		make_cluster
		has regress && run_regress "pgTAP"
		has isolation && run_isolation "isolation"
		has fuzz && run_fuzz
		if has segments && [ -n "$regress$isolation" ]; then
			set_segment_size
			run_regress "pgTAP, segments of $small_segment"
			run_isolation "isolation, segments of $small_segment"
		fi
		check_server_log "$cluster/log"
	fi
	if has tap; then run_tap; fi

	note "result of $("$PG_CONFIG" --version)"
	report "${ES_LABEL:+$ES_LABEL: }" "$passed" "$failed" "$skipped"
	[ "$failed" = 0 ]
}

has() { [[ " $parts " == *" $1 "* ]]; }

# Real logs beside the checkout, for the tests that use them when they are there.
copy_data() {
	if [ -d "$ROOT/../shared/data" ]; then
		mkdir "$work/data"
		cp "$ROOT"/../shared/data/* "$work/data"
		chmod -R a+rX "$work/data"
		export ES_DATA_DIR=$work/data
	fi
}

# Sorts the files asked for (by default: all) into suites.
name_tests() {
	local file
	regress='' isolation='' tap='' fuzz=''
	if [ $# = 0 ]; then
		cd "$ROOT"
		set -- test/sql/*.sql test/specs/iso_*.spec test/t/*.pl test/fuzz/*
	elif [ -z "${ES_PARTS:-}" ]; then
		parts="regress isolation fuzz tap"
	fi
	cd "$tree"
	for file in "$@"; do
		[ -f "$file" ] || [[ $file == *\** ]] || die "no such test: $file"
		case $file in
			*\**) ;;
			test/sql/*.sql) regress+=" $(basename "$file" .sql)" ;;
			test/specs/*.spec) isolation+=" $(basename "$file" .spec)" ;;
			test/t/*.pl) tap+=" $file" ;;
			test/fuzz/*) if [ -x "$file" ]; then fuzz+=" $file"; fi ;;
			*) die "not a test: $file" ;;
		esac
	done
}

make_cluster() {
	"$ROOT/tools/cluster.sh" create "$cluster"
	# What a test kills or loses here, nobody misses.
	as_cluster_user tee -a "$cluster/data/postgresql.conf" >/dev/null <<-CONF
		fsync = off
		shared_buffers = 256MB
		max_wal_size = 4GB
		log_checkpoints = off
	CONF
	"$ROOT/tools/cluster.sh" start "$cluster"
}

set_segment_size() {
	"$ROOT/tools/cluster.sh" stop "$cluster"
	# And with the library preloaded, as the runs before were without; but no worker
	# that would come between the steps of a test.
	printf '%s\n' "eventsource.segment_size = $small_segment" 'shared_preload_libraries = eventsource' \
		'eventsource.worker_enabled = off' "$no_jit" \
		>>"$cluster/data/postgresql.conf"
	"$ROOT/tools/cluster.sh" start "$cluster"
}

# Runs a command in the copied tree, as the cluster's user, on the cluster.
on_cluster() {
	as_cluster_user env PATH="$bin:$PATH" PGHOST="$cluster" PGPORT=5432 PGUSER=postgres "$@" </dev/null
}

run_lints() {
	local check
	note lint
	for check in "$ROOT"/tools/check-*.sh; do
		if "$check"; then
			pass 1
			echo "ok    $(basename "$check")"
		else
			fail 1 "$(basename "$check")"
		fi
	done
}

# pg_regress looks for sql/NAME.sql before test/sql/NAME.sql, hence nothing but
# install scripts may lie there.
run_regress() {
	local name result=0
	[ -n "$regress" ] || return 0
	note "$1"
	rm -rf "$tree/results" "$tree/regression.diffs"
	# shellcheck disable=SC2086
	on_cluster timeout 1800 "$pgxs/../src/test/regress/pg_regress" --inputdir=test --bindir="$bin" \
		--dbname=regress --load-extension=pgtap --load-extension=eventsource $regress | terse || result=$?
	for name in $regress; do
		count_regress "$name"
	done
	[ $result = 0 ] || show_diffs
}

# pg_regress without its talk about making the database.
terse() { sed -E '/^(=====|SET$|(CREATE|DROP|ALTER) |\(using postmaster|$)|^# /d'; }

# The assertions of one file, and one failure at least where the output differs.
count_regress() {
	local out=results/$1.out ok=0 not_ok=0
	if [ -f "$out" ]; then
		ok=$(grep -c '^ok [0-9]' "$out" || true)
		not_ok=$(grep '^not ok [0-9]' "$out" | grep -vc '# TODO' || true)
	fi
	if [ "$not_ok" = 0 ] && ! cmp -s "expected/$1.out" "$out"; then
		not_ok=1
	fi
	pass "$ok"
	[ "$not_ok" = 0 ] || fail "$not_ok" "$1"
}

# Without --outputdir=. the expected files are looked for under test/ on <= 15.
run_isolation() {
	local name result=0
	[ -n "$isolation" ] || return 0
	note "$1"
	rm -f "$tree/regression.diffs"
	# shellcheck disable=SC2086
	on_cluster timeout 1800 "$pgxs/../src/test/isolation/pg_isolation_regress" --inputdir=test --outputdir=. \
		--bindir="$bin" --dbname=isolation --load-extension=eventsource $isolation | terse || result=$?
	for name in $isolation; do
		if cmp -s "expected/$name.out" "results/$name.out"; then
			pass 1
		else
			fail 1 "$name"
		fi
	done
	[ $result = 0 ] || show_diffs
}

show_diffs() {
	if [ -f "$tree/regression.diffs" ]; then
		head -n 300 "$tree/regression.diffs"
	fi
	tail -n 40 "$cluster/log"
}

# A fuzzer is a program that exits 0 when all its inputs met clean errors.
run_fuzz() {
	local file
	for file in $fuzz; do
		note "$file"
		on_cluster dropdb --if-exists fuzz 2>/dev/null
		on_cluster createdb fuzz
		on_cluster psql -qX -d fuzz -c 'CREATE EXTENSION eventsource'
		if on_cluster env PGDATABASE=fuzz PGOPTIONS="-c $no_jit" ES_FUZZ_COUNT="${ES_FUZZ_COUNT:-100000}" \
			timeout 1800 "./$file"; then
			pass 1
		else
			fail 1 "$file"
			tail -n 40 "$cluster/log"
		fi
	done
}

# Each TAP file makes its own clusters, and for the most part waits: for a server that starts,
# for what is due. So two of them go well together. Modules they share lie in test/.
run_tap() {
	local file result=0 failed_before=$failed
	[ -n "$tap" ] || return 0
	note "TAP"
	mkdir "$work/tap"
	is_root && chown "$(cluster_user)" "$work/tap"
	echo "$no_jit" >"$work/tap/server.conf"
	# shellcheck disable=SC2086
	as_cluster_user env PATH="$tree/test/bin:$bin:$PATH" ES_BINDIR="$bin" ES_TEMPLATES="$work/tap" \
		TEMP_CONFIG="$work/tap/server.conf" \
		PERL5LIB="$pgxs/../src/test/perl:$tree/test${PERL5LIB:+:$PERL5LIB}" \
		PG_REGRESS="$pgxs/../src/test/regress/pg_regress" PGPORT=65432 TESTDIR="$tree" \
		TESTDATADIR="$tree/tmp_check" TESTLOGDIR="$tree/tmp_check/log" \
		PERL_TEST_HARNESS_DUMP_TAP="$work/tap" \
		timeout "${ES_TAP_SECONDS:-3600}" prove --timer -j "${ES_TAP_JOBS:-$(($(nproc) > 1 ? 2 : 1))}" ${PROVE_FLAGS:-} $tap </dev/null || result=$?
	for file in $tap; do
		count_tap "$file" "$work/tap/$file"
	done
	[ $result = 0 ] || [ "$failed" -gt "$failed_before" ] || fail 1 "prove"
}

# A file passes only whole: with a plan, and as many lines as planned.
count_tap() {
	local ok=0 not_ok=0 plan='' lines=0
	if [ -f "$2" ]; then
		ok=$(grep -c '^ok [0-9]' "$2" || true)
		not_ok=$(grep '^not ok [0-9]' "$2" | grep -vc '# TODO' || true)
		lines=$(grep -cE '^(not )?ok [0-9]' "$2" || true)
		plan=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$2" | head -n 1)
		if [ "$plan" = 0 ]; then
			echo "SKIPPED: $2: $(sed -n 's/^1\.\.0 # *//p' "$2" | head -n 1)"
			skipped=$((skipped + 1))
			return
		fi
	fi
	if [ "$not_ok" = 0 ] && [ "$plan" != "$lines" ]; then
		not_ok=1
	fi
	pass "$ok"
	if [ "$not_ok" != 0 ]; then
		fail "$not_ok" "$1"
		tail -n 40 "$tree/tmp_check/log/regress_log_$(basename "$1" .pl)" 2>/dev/null || true
	fi
}

# No test of these suites may bring a server process down.
check_server_log() {
	if grep -E 'PANIC|TRAP:|was terminated by signal' "$1"; then
		fail 1 "a server process died"
		cp "$1" "$tree/server.log"
	else
		pass 1
	fi
}

pass() { passed=$((passed + $1)); }

fail() {
	failed=$((failed + $1))
	echo "FAILED: $2"
}

# Leaves results/ in the checkout, to look at or to make expected files of.
finish() {
	local code=$?
	trap '' INT TERM
	"$ROOT/tools/cluster.sh" stop "$cluster" immediate
	if [ -w "$ROOT" ]; then
		rm -rf "$ROOT/results" "$ROOT/regression.diffs" "$ROOT/tmp_check"
		cp -r "$tree/results" "$ROOT/" 2>/dev/null || true
		if [ $code != 0 ]; then
			mkdir -p "$ROOT/tmp_check"
			cp "$tree/regression.diffs" "$ROOT/" 2>/dev/null || true
			cp -r "$cluster/log" "$tree/tmp_check/log" "$ROOT/tmp_check/" 2>/dev/null || true
		fi
	fi
	rm -rf "$work"
	exit $code
}

main "$@"
