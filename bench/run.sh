#!/bin/bash
# run.sh: what the store costs beside plain SQL that does the same. Both sides run
# in turns, A B A B ..., so that whatever else the machine does meets both; what
# counts is the ratio, never a time. Run by "make bench" on a fresh cluster; PG*
# variables name a database that has the extension and nothing else.
#
#   BENCH_SECONDS   length of one measurement (2)
#   BENCH_WARM_UP   length of the run before a row's measurements, on either side (5)
#   BENCH_ROUNDS    measurements of each side (5)
#   BENCH_ROWS      only these: append cpu batch copy projection reaction jobs capture
#                   as_of wal disk read rebuild followed readers latency modes schema proof personal
#   BENCH_LONG=1    also "long" (10 million events add some ten minutes and 20 GB), of
#                   BENCH_LONG_EVENTS events (10000000); BENCH_LONG_SEALED=1: sealed and archived
#   BENCH_OUT       file to add the table to
#
# The plain side is in setup.sql and *.plain.sql: prepared statements, the same
# streams, types, payloads and commit settings, one statement per transaction.
# It gets its versions for nothing (random ones): it need not read the head of
# the stream as a real client would. Autovacuum is off while it runs, since it
# would hit one side and not the other.
set -euo pipefail
shopt -s inherit_errexit
export LC_ALL=C
cd "$(dirname "$0")"

long_events=${BENCH_LONG_EVENTS:-10000000}
seconds=${BENCH_SECONDS:-2} rounds=${BENCH_ROUNDS:-5} warm_up=${BENCH_WARM_UP:-5}
rows=${BENCH_ROWS:-append cpu batch copy projection reaction jobs capture wal disk read rebuild as_of followed readers latency modes schema proof personal${BENCH_LONG:+ long}}

type=step_done
data='{"channel": "phone", "outcome": "no answer", "attempt": 3, "agent": "agent-17", "amount": 12.50}'
metadata='{"correlation_id": "b3f1c9d2-7a55-4c1e"}'
# Low and high are the numbers of streams that exist.
variables=(-D "type=$type" -D "data=$data" -D "metadata=$metadata" -D low=10000 -D high=99999)

work=$(mktemp -d)
trap 'reset_server; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# ---- tools ----

die() {
	printf '%s\n' "$*" >&2
	exit 1
}

sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

calculate() { awk "BEGIN { printf \"%.6f\", $1 }"; }

# set_server NAME VALUE: until the end of the run, or the next call.
set_server() {
	sql -c "ALTER SYSTEM SET $1 = $2" -c 'SELECT pg_reload_conf()' >/dev/null
	sleep 1
}

reset_server() {
	sql -c 'ALTER SYSTEM RESET autovacuum' -c 'ALTER SYSTEM RESET full_page_writes' \
		-c 'ALTER SYSTEM RESET eventsource.worker_enabled' \
		-c 'SELECT pg_reload_conf()' >/dev/null
}

# Seconds that a command takes.
duration() {
	local start=$EPOCHREALTIME
	"$@" >"$work/out"
	calculate "$EPOCHREALTIME - $start"
}

# run_script FILE ARGUMENTS...: pgbench, which must have no failed transaction.
run_script() {
	local file=$1 out
	shift
	out=$(pgbench -n -M prepared "${variables[@]}" "$@" -f "$file" 2>&1) || die "$file: $out"
	printf '%s\n' "$out"
}

# compare LABEL UNIT BUDGET COMMAND...: runs COMMAND SIDE ROUND, which prints a
# number, in turns for both sides.
compare() {
	local label=$1 unit=$2 budget=$3 round side value
	shift 3
	printf '%s\n' "$label" >&2
	for ((round = 1; round <= rounds; round++)); do
		for side in plain eventsource; do
			value=$("$@" "$side" "$round")
			printf '%s\t%s\t%s\t%s\t%s\n' "$label" "$unit" "$budget" "$side" "$value" >>"$work/results"
		done
	done
}

# Between rows, so that none pays for the one before.
settle() { sql -c 'VACUUM ANALYZE' -c CHECKPOINT; }

# ---- rows ----

# warm SCRIPT: as many clients as will be, so that no side is measured with what
# the server keeps in memory still cold.
warm() {
	local side
	for side in plain eventsource; do
		PGOPTIONS='-c synchronous_commit=off' run_script "$1.$side.sql" -c 8 -j 2 -T "$warm_up" >"$work/out"
	done
}

# throughput SCRIPT CLIENTS SYNCHRONOUS_COMMIT SIDE: transactions a second.
throughput() {
	PGOPTIONS="-c synchronous_commit=$3" run_script "$1.$4.sql" -c "$2" -j 2 -T "$seconds" |
		awk '/^tps = / { print $3 }'
}

row_append() {
	local clients sync
	warm append
	for sync in on off; do
		for clients in 1 8; do
			compare "append, $clients client$([ "$clients" = 1 ] || echo s), synchronous_commit $sync" \
				/s '>= 1.00' throughput append "$clients" "$sync"
		done
	done
}

# cpu_time SCRIPT EVENTS SIDE: CPU of the backend per event in microseconds. The
# script asks its own backend after a warm-up and again at the end.
cpu_time() {
	local script=$work/cpu.sql first=1000 n=$2
	{
		echo '\set n :n + 1'
		printf '\\if :n = %s\nSELECT bench.cpu_used() AS before \\gset\n\\endif\n' "$first"
		cat "$1.$3.sql"
		printf '\\if :n = %s\nINSERT INTO bench.cpu SELECT bench.cpu_used() - :before;\n\\endif\n' $((first + n - 1))
	} >"$script"
	sql -c 'TRUNCATE bench.cpu'
	PGOPTIONS='-c synchronous_commit=off' run_script "$script" -D n=0 -t $((first + n)) >"$work/out"
	sql -c "SELECT round(seconds * 1e6 / $n, 2) FROM bench.cpu"
}

# Short and often: what one event costs depends on what else the caches hold.
row_cpu() {
	warm append
	rounds=$((rounds * 3)) compare 'append, CPU of the backend per event' us '<= 1.00' \
		cpu_time append $((seconds * 2000))
}

# batch_throughput SIZE SIDE: events a second. The number of a stream is a prefix,
# other for each event of the batch, and a random rest.
batch_throughput() {
	local size=$1 digits=$((${#1} - 1)) low arrays
	low=$((10 ** (4 - digits)))
	arrays=$(sql -v size="$size" -v digits="$digits" -v type="$type" -v data="$data" -v metadata="$metadata" <<-'SQL'
		SELECT array_agg(prefix), array_agg(:'type'::text), array_agg(:'data'::jsonb), array_agg(:'metadata'::jsonb),
			   jsonb_agg(jsonb_build_object('stream', 'order-' || prefix || '@', 'type', :'type'::text,
											'data', :'data'::jsonb, 'metadata', :'metadata'::jsonb))
		  FROM (SELECT lpad(n::text, :digits, '0') FROM generate_series(0, :size - 1) n) p (prefix)
	SQL
	)
	IFS='|' read -r prefixes types datas metadatas events <<<"$arrays"
	PGOPTIONS='-c synchronous_commit=off' run_script "batch.$2.sql" -T "$seconds" \
		-D low="$low" -D high=$((low * 10 - 1)) -D "prefixes=$prefixes" -D "types=$types" \
		-D "datas=$datas" -D "metadatas=$metadatas" -D "events=$events" |
		awk -v size="$size" '/^tps = / { print $3 * size }'
}

row_batch() {
	local size
	warm append
	for size in 10 100; do
		compare "append_events of $size" /s '>= 1.00' batch_throughput "$size"
	done
}

# make_load TAG STREAMS EVENTS: a file to COPY, the same for both sides.
make_load() {
	awk -v tag="$1" -v streams="$2" -v events="$3" -v type="$type" -v metadata="$metadata" 'BEGIN {
		for (i = 0; i < events; i++)
			printf "order-%sx%d\t%d\t%s\t{\"channel\": \"phone\", \"outcome\": \"no answer\", \"attempt\": %d, \"agent\": \"agent-%d\", \"amount\": %d.50}\t%s\n",
				tag, i % streams, i / streams + 1, type, i % 7, i % 50, i % 1000, metadata
	}' >"$work/load"
}

# copy_load SIDE
copy_load() {
	local table=bench.plain_event
	[ "$1" = plain ] || table=eventsource.events
	sql -c "COPY $table (stream, version, type, data, metadata) FROM STDIN" <"$work/load"
}

# copy_throughput SIDE ROUND: events a second; ten events in each of new streams.
copy_throughput() {
	local events=200000
	make_load "copy$2" $((events / 10)) $events
	calculate "$events / $(duration copy_load "$1")"
}

row_copy() { compare 'COPY of 200,000 events' /s '>= 0.70' copy_throughput; }

row_projection() {
	warm projection
	compare 'append + one inline projection, 1 client' /s '>= 1.00' throughput projection 1 off
	compare 'append + one inline projection, 8 clients' /s '>= 1.00' throughput projection 8 off
}

# An event that leads to a job, beside a row that goes into a queue with it.
row_reaction() {
	warm reaction
	compare 'append + one reaction that enqueues, 1 client' /s '' throughput reaction 1 off
	compare 'append + one reaction that enqueues, 8 clients' /s '' throughput reaction 8 off
	sql -c 'TRUNCATE bench.plain_job'
}

# fill_queue SIDE JOBS
fill_queue() {
	local payload='{"to": "joe@example.com", "template": "welcome", "number": 17}'
	if [ "$1" = plain ]; then
		sql -c "INSERT INTO bench.plain_job (queue, payload) SELECT 'bench', '$payload' FROM generate_series(1, $2)" \
			-c 'VACUUM ANALYZE bench.plain_job'
	else
		sql -c "SELECT count(eventsource.enqueue('bench', '$payload')) FROM generate_series(1, $2)" \
			-c 'VACUUM ANALYZE eventsource.job' >/dev/null
	fi
}

# job_throughput CLIENTS SYNCHRONOUS_COMMIT SIDE: jobs a second that are claimed and completed, out of
# a queue that holds just as many; those that are done stay in the table.
job_throughput() {
	local each=$((seconds * 4000 / $1))
	fill_queue "$3" $((each * $1))
	PGOPTIONS="-c synchronous_commit=$2" run_script "jobs.$3.sql" -c "$1" -j 2 -t "$each" |
		awk '/^tps = / { print $3 }'
}

row_jobs() {
	local clients sync
	for sync in on off; do
		for clients in 1 8; do
			compare "jobs claimed and completed, $clients worker$([ "$clients" = 1 ] || echo s), synchronous_commit $sync" \
				/s '' job_throughput "$clients" "$sync"
		done
	done
	sql -c 'TRUNCATE bench.plain_job'
}

# update_time SYNCHRONOUS_COMMIT SIDE: microseconds per UPDATE of one row.
update_time() {
	PGOPTIONS="-c synchronous_commit=$1" run_script "update.$2.sql" -D low=0 -D high=99999 -T "$seconds" |
		awk '/^tps = / { printf "%.2f", 1e6 / $3 }'
}

# extra_time SIDE: what an UPDATE takes beyond a bare one, by the audit trigger
# ("plain") or tracked.
extra_time() {
	local audited=audit
	[ "$1" = plain ] || audited=eventsource
	calculate "$(update_time off "$audited") - $(update_time off plain)"
}

row_capture() {
	compare 'UPDATE of a tracked table, synchronous_commit on' us '<= 1.50' update_time on
	compare 'UPDATE of a tracked table, synchronous_commit off' us '<= 1.50' update_time off
	compare 'its extra cost (plain: that of a PL/pgSQL audit trigger)' us '<= 0.50' extra_time
}

# ten_changes TABLE: ten more to each of its 100,000 rows.
ten_changes() {
	local i
	for ((i = 0; i < 10; i++)); do
		sql -c "UPDATE bench.$1 SET score = score + 1, agent = 'agent-' || (id + $i) % 50, updated_at = now()"
	done
}

# as_of_rate SIDE: queries a second. The plain side takes each lead's last image in
# the audit table.
as_of_rate() {
	local query="SELECT count(l.score) FROM (SELECT DISTINCT ON (lead) new_row FROM bench.audit
		WHERE changed_at <= '$moment' ORDER BY lead, id DESC) a, jsonb_populate_record(NULL::bench.plain_lead, new_row) l"
	[ "$1" = plain ] || query="SELECT count(score) FROM eventsource.as_of(NULL::bench.lead, '$moment')"
	calculate "1 / $(duration sql -c "SET work_mem = '64MB'" -c "$query")"
}

row_as_of() {
	echo 'making a million changes' >&2
	ten_changes audit_lead
	ten_changes lead
	moment=$(sql -c 'SELECT clock_timestamp()')
	settle
	compare 'a table as of a moment, over 1 million changes' /s '' as_of_rate
}

# wal_bytes SIDE: per event. Full-page images are off for this row: they depend on
# how long ago the last checkpoint was. Enough events for the indexes to split pages
# at their usual rate.
wal_bytes() {
	local events=$((seconds * 10000)) start
	start=$(sql -c 'SELECT pg_current_wal_insert_lsn()')
	PGOPTIONS='-c synchronous_commit=off' run_script "append.$1.sql" -t $events >"$work/out"
	sql -c "SELECT round((pg_current_wal_insert_lsn() - '$start') / $events, 1)"
}

row_wal() {
	set_server full_page_writes off
	compare 'WAL per event' bytes '<= 1.15' wal_bytes
	set_server full_page_writes on
}

# Everything a side has on disk: tables, indexes, TOAST, dictionary.
disk_used() {
	if [ "$1" = plain ]; then
		sql -c "SELECT pg_total_relation_size('bench.plain_event')"
	else
		sql -c "SELECT sum(pg_total_relation_size(oid)) FROM pg_class
			WHERE relnamespace = 'eventsource'::regnamespace AND relkind = 'r'"
	fi
}

# disk_bytes SIDE ROUND: per event, ten events in each of new streams.
disk_bytes() {
	local events=200000 start
	make_load "disk$2" $((events / 10)) $events
	start=$(disk_used "$1")
	copy_load "$1"
	calculate "($(disk_used "$1") - $start) / $events"
}

row_disk() { rounds=1 compare 'disk per event, indexes included' bytes '<= 1.10' disk_bytes; }

row_read() {
	compare 'reading 1,000 events of the feed' /s '>= 0.80' throughput read 1 off
	compare 'reading 1,000 events of the view' /s '' throughput view 1 off
	compare 'the same, with an upcaster for a type that none of them has (plain: without)' /s '' \
		beside_upcaster view
	compare 'the same of the feed' /s '' beside_upcaster read
	beside_upcaster '' plain
}

# beside_upcaster SCRIPT SIDE: what all readers pay as soon as there is an upcaster.
beside_upcaster() {
	local change="create_upcaster('of_no_event', 1, 2, 'event.data')"
	[ "$2" != plain ] || change="drop_upcaster(type, from_version) FROM eventsource.upcasters WHERE type = 'of_no_event'"
	sql -c 'SET client_min_messages = warning' -c "SELECT eventsource.$change" >"$work/out"
	[ -z "$1" ] || throughput "$1" 1 off eventsource
}

# rebuild_rate SIDE: rebuilds a second of 20,000 rows from 200,000 events among
# all others.
rebuild_rate() {
	local statement="BEGIN; TRUNCATE bench.plain_ledger; INSERT INTO bench.plain_ledger
		SELECT substr(stream, 8), sum((data->>'amount')::numeric), count(*)
		  FROM bench.plain_event WHERE stream LIKE 'ledger-%' GROUP BY 1; COMMIT"
	[ "$1" = plain ] || statement="SELECT eventsource.rebuild_projection('bench.ledger')"
	calculate "1 / $(duration sql -c "$statement")"
}

row_rebuild() { compare 'rebuild of a projection' '/s' '>= 0.50' rebuild_rate; }

# shellcheck source=bench/feed.sh
. ./feed.sh
# shellcheck source=bench/schema.sh
. ./schema.sh
# shellcheck source=bench/proof.sh
. ./proof.sh

# ---- the long row: one log against a longer one ----

# make_log DATABASE STREAMS: a log of ten events in each of so many streams.
make_log() {
	local streams=$2 version
	createdb "$1"
	sql -d "$1" >"$work/out" <<-'SQL'
		CREATE EXTENSION eventsource;
		SELECT eventsource.create_state_machine('ring', '{"initial": "A",
			"states": {"A": {"on": {"step_done": "B"}}, "B": {"on": {"step_done": "A"}}}}');
		SELECT eventsource.create_category('order', 'ring');
	SQL
	for version in 1 2 3 4 5 6 7 8 9 10; do
		awk -v streams="$streams" -v v="$version" -v type="$type" -v data="$data" -v metadata="$metadata" \
			'BEGIN { for (i = 1; i <= streams; i++) printf "order-%d\t%d\t%s\t%s\t%s\n", i, v, type, data, metadata }' |
			sql -d "$1" -c 'COPY eventsource.events (stream, version, type, data, metadata) FROM STDIN'
	done
	sql -d "$1" -c 'VACUUM ANALYZE' -c CHECKPOINT
}

# append_cost SIDE: microseconds per append. "plain" is the short log here.
append_cost() {
	local database=bench_short high=10000
	[ "$1" = plain ] || database=bench_long high=$((long_events / 10))
	PGDATABASE=$database PGOPTIONS='-c synchronous_commit=off' \
		run_script append.eventsource.sql -D low=1 -D high=$high -T "$seconds" |
		awk '/^tps = / { printf "%.2f", 1e6 / $3 }'
}

# Half of its events go to the archive, the rest is sealed.
seal_long() {
	sql -d bench_long >"$work/out" <<-SQL
		SELECT eventsource.seal();
		SELECT eventsource.set_retention('order', '0', class => 'kept');
		SELECT count(*) FROM eventsource.archive_due((SELECT count(*) / 2 FROM eventsource.segments)::integer);
	SQL
	sql -d bench_long -c 'VACUUM ANALYZE' -c CHECKPOINT
}

row_long() {
	echo "loading $long_events events" >&2
	make_log bench_short 10000
	make_log bench_long $((long_events / 10))
	[ -z "${BENCH_LONG_SEALED:-}" ] || seal_long
	append_cost plain >/dev/null
	append_cost eventsource >/dev/null
	compare "append at $long_events events${BENCH_LONG_SEALED:+, sealed and archived} (plain: at 100 thousand)" us \
		'<= 1.20' append_cost
}

# ---- the run ----

# Where and when, for the record.
describe() {
	local cpu
	cpu=$(sed -n 's/^model name[[:blank:]]*: //p' /proc/cpuinfo | head -n 1)
	printf '%s, %s, %s cores, PostgreSQL %s, eventsource %s; medians of %s rounds of %s s\n\n' \
		"$(date -u +%F)" "${cpu:-$(uname -m)}" "$(nproc)" "$(sql -c 'SHOW server_version')" \
		"$(git describe --always --dirty 2>/dev/null || sql -c "SELECT extversion FROM pg_extension WHERE extname = 'eventsource'")" \
		"$rounds" "$seconds"
}

for row in $rows; do
	declare -F "row_$row" >/dev/null || die "no such row: $row"
done
set_server autovacuum off
sql -f setup.sql
for row in $rows; do
	settle
	"row_$row"
done
{
	echo
	describe
	[ ! -f "$work/results" ] || awk -f report.awk "$work/results"
	[ ! -f "$work/tables" ] || cat "$work/tables"
	echo
} | tee -a "${BENCH_OUT:-/dev/null}"
