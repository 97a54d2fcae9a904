#!/bin/bash
# test-all.sh: everything on the local PostgreSQL, then its pgTAP and isolation
# suites once more with assertions and undefined-behaviour traps compiled in, the
# validator's with sanitizers, and the same suites on each other supported major in a
# Debian that has it.
#
# A major that cannot be had is named and counts as skipped, and the run fails
# for it unless ES_ALLOW_MISSING is set.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$ROOT"

majors=${ES_MAJORS:-15 17 18}
suites='regress isolation segments tap'
# Of the TAP tests, those of what differs most between majors: processes, hooks,
# shared memory, prepared transactions, replication.
processes=(test/t/{003,009,011,013,018,020,022,023,024,028,04[0-9],05[0-9],06[0-9],07[01]}_*.pl)
passed=0 failed=0 skipped=0 missing='' older='' local_major=''

main() {
	local major
	log=$(mktemp)
	trap 'rm -rf "$log" "${checked:-}"' EXIT
	trap 'exit 130' INT TERM

	"$ROOT/tools/install-deps.sh" test
	PG_CONFIG=$(find_pg_config)
	export PG_CONFIG
	local_major=$("$PG_CONFIG" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')

	run_checked
	leg "sanitizers" "$ROOT/tools/sanitize.sh"
	leg "PostgreSQL $local_major" "$ROOT/tools/test.sh"
	for major in $majors; do
		[ "$major" = "$local_major" ] || run_elsewhere "$major"
	done
	single 'make demo' demo
	[[ $missing == *18* ]] || single pgindent "$ROOT/tools/indent.sh" --check

	note "all legs"
	sed -n 's/^LEG //p' "$log"
	if [ -n "$missing" ]; then
		echo "NOT TESTED, could not be had: PostgreSQL$missing"
	fi
	report '' "$passed" "$failed" "$skipped"
	[ "$failed" = 0 ] && { [ -z "$missing" ] || [ -n "${ES_ALLOW_MISSING:-}" ]; }
}

# A trap needs no runtime library in the server. Runs first, so that the library
# which stays installed is the ordinary one.
run_checked() {
	checked=$(make_work_dir checked)
	copy_tree "$checked/tree"
	leg "with assertions and traps" env ES_PARTS='regress isolation' ES_MAKE_FLAGS=with_llvm=no \
		PGOPTIONS='-c jit=off' \
		ES_CFLAGS='-DUSE_ASSERT_CHECKING -fsanitize=undefined -fsanitize-undefined-trap-on-error' \
		"$checked/tree/tools/test.sh"
	rm -rf "$checked"
}

run_elsewhere() {
	note "PostgreSQL $1"
	if ! "$ROOT/tools/chroot.sh" make "$1"; then
		echo "PostgreSQL $1 could not be had: NOT TESTED"
		missing+=" $1"
		skipped=$((skipped + 1))
		return
	fi
	lend_older "$1"
	leg_elsewhere "PostgreSQL $1" "$1" test/sql/*.sql test/specs/iso_*.spec "${processes[@]}"
}

# For the test that upgrades from one major to the next: those before the newest, as
# Debian's releases have them. The local one may be a later minor, from whose databases
# the others' minors cannot upgrade. Newest first: a library that two of them bring is
# the newer one's.
lend_older() {
	local major
	older=''
	# shellcheck disable=SC2086
	[ "$1" = "$(printf '%s\n' $majors | sort -n | tail -n 1)" ] || return 0
	# shellcheck disable=SC2086
	for major in $(printf '%s\n' $majors | sort -rn); do
		if [ "$major" -lt "$1" ] && "$ROOT/tools/chroot.sh" make "$major" && install_elsewhere "$major" &&
			"$ROOT/tools/chroot.sh" lend "$1" "$major"; then
			older="/usr/lib/postgresql/$major/bin $older"
		fi
	done
}

# The others were installed by their tests.
install_elsewhere() {
	[ "$1" != "$local_major" ] || "$ROOT/tools/chroot.sh" run "$1" make -s -j"$(nproc)" install with_llvm=no \
		PG_CONFIG="/usr/lib/postgresql/$1/bin/pg_config"
}

# leg_elsewhere LABEL MAJOR FILE ...
leg_elsewhere() {
	local label=$1 major=$2
	shift 2
	leg "$label" "$ROOT/tools/chroot.sh" run "$major" env -u ES_DATA_DIR \
		ES_OLDER_MAJORS="$older" ES_LABEL="$label" ES_PARTS="$suites" ES_NO_INSTALL_DEPS=yes ES_MAKE_FLAGS=with_llvm=no LC_ALL=C \
		PG_CONFIG="/usr/lib/postgresql/$major/bin/pg_config" tools/test.sh "$@"
}

# The demo is what a newcomer sees first, so it is a test too: it must tell its story.
demo() {
	local told line missing=''
	told=$(mktemp)
	"$ROOT/tools/demo.sh" | tee "$told" || return 1
	"$ROOT/tools/demo.sh" stop
	for line in 'is not allowed in state' 'requires a reason' 'financing' 'rejected by guard "six_attempts"' \
		'UPDATE on "eventsource.events" is not allowed' '--- Proof' 'stateDiagram-v2' \
		'CartAbandoned' '--- Why did we send her this?' 'social 0.00, email 133.90'; do
		grep -qF -e "$line" "$told" || missing+=" \"$line\""
	done
	grep -qE '^ +0 \| +0 \| +0 \| +0$' "$told" || missing+=' four zeros of the proof'
	rm -f "$told"
	[ -z "$missing" ] || {
		echo "the demo does not say:$missing"
		return 1
	}
}

# single LABEL COMMAND ...: one command that passes or fails as a whole.
single() {
	local label=$1
	shift
	note "leg: $label"
	if "$@" </dev/null; then
		passed=$((passed + 1))
		echo "LEG $label: passed" >>"$log"
	else
		failed=$((failed + 1))
		echo "LEG $label: FAILED" >>"$log"
	fi
}

# leg LABEL COMMAND ...: one run of test.sh; a leg that does not get to its
# closing line has failed.
leg() {
	local label=$1 out result=0 counts
	shift
	note "leg: $label"
	out=$(mktemp)
	ES_LABEL=$label "$@" 2>&1 </dev/null | tee "$out" || result=$?
	counts=$(sed -n "s/^$label: \([0-9]*\) passed, \([0-9]*\) failed\(, \([0-9]*\) skipped\)\?$/\1 \2 \4/p" "$out")
	rm -f "$out"
	# shellcheck disable=SC2086
	set -- $counts
	passed=$((passed + ${1:-0}))
	failed=$((failed + ${2:-1}))
	skipped=$((skipped + ${3:-0}))
	if [ "$result" != 0 ] && [ "${2:-1}" = 0 ]; then
		failed=$((failed + 1))
	fi
	echo "LEG $label: ${1:-0} passed, ${2:-did not finish, 1} failed${3:+, $3 skipped}" >>"$log"
}

main "$@"
