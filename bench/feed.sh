# shellcheck shell=bash
# shellcheck disable=SC2154 # work and seconds are run.sh's
# feed.sh: the rows about those who follow the log. Sourced by run.sh.

# in_background COMMAND...; end_background ends it.
in_background() {
	"$@" >"$work/background" 2>&1 &
	background=$!
}

end_background() {
	kill "$background" 2>/dev/null || true
	wait "$background" 2>/dev/null || true
}

# ---- what appenders pay for readers ----

# followed REST SIDE COMMAND...: the command, which measures appends, beside four
# consumers that share a subscription (consume.sql) and are at work when it begins;
# "plain" is without them here.
followed() {
	local rest=$1 side=$2
	shift 2
	if [ "$side" = eventsource ]; then
		sql -c "SELECT eventsource.create_subscription('bench', partitions => 4)" \
			-c "SELECT eventsource.reset_subscription('bench', NULL)" >"$work/out"
		in_background pgbench -n -M prepared -c 4 -T 600 -D rest="$rest" -f consume.sql
	fi
	sleep 1
	"$@"
	if [ "$side" = eventsource ]; then
		end_background
	fi
}

followed_throughput() { followed "$1" "$2" throughput append 8 on eventsource; }

followed_cpu() { followed "$1" "$2" cpu_time append $((seconds * 2000)) eventsource; }

# Consumers need cores of their own: where there are two in all, throughput says how
# much of them was left, and CPU what appenders pay.
row_followed() {
	local rest who
	warm append
	for rest in 100 0; do
		who="4 consumers, a batch each $rest ms"
		[ $rest != 0 ] || who='4 consumers, that wait for events'
		compare "append, 8 clients, $who (plain: none)" /s '>= 0.95' followed_throughput $rest
		compare "CPU of an appender per event, $who" us '<= 1.05' followed_cpu $rest
	done
}

# ---- readers beside each other ----

# read_along READER FOREIGN: 8 writers and a reader for some seconds, under a
# transaction of a stranger if FOREIGN is "open". Prints what was appended and
# delivered a second, how long after the append in milliseconds (p50, p99), and,
# when nothing has been in flight for a second: how many events the reader has gone
# past without seeing them, and how many it has yet to come to.
read_along() {
	local reader=$1 foreign=$2 script=feed.plain.sql table=bench.feed_event start appended
	if [ "$reader" = eventsource ]; then
		script=append.eventsource.sql table="(SELECT * FROM eventsource.events WHERE category = 'order')"
	fi
	start=$(sql -c "SELECT coalesce(max(position), 0) FROM $table t")
	sql -c 'TRUNCATE bench.delivered, bench.checkpoint' \
		-c "INSERT INTO bench.checkpoint SELECT '$reader', $start, pg_snapshot_xmin(pg_current_snapshot())" \
		-c "SELECT eventsource.reset_subscription('reader', NULL)" >"$work/out"
	if [ "$foreign" = open ]; then
		mkfifo "$work/stranger"
		sql <"$work/stranger" >/dev/null &
		exec 9>"$work/stranger"
		echo 'BEGIN; INSERT INTO bench.unrelated VALUES (1);' >&9
		sleep 0.5
	fi
	in_background pgbench -n -c 1 -T $((seconds + 30)) -D "reader=$reader" -f take.sql
	appended=$(PGOPTIONS='-c synchronous_commit=on' run_script "$script" -c 8 -j 2 -T "$seconds" |
		awk '/^number of transactions actually/ { print $6 }')
	sleep 1
	end_background
	sql -F $'\t' -c "SELECT '$reader', '$foreign', $appended / $seconds, count(at) / $seconds,
			percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), percentile_cont(0.99) WITHIN GROUP (ORDER BY ms),
			count(*) FILTER (WHERE at IS NULL AND position < last), count(*) FILTER (WHERE at IS NULL AND position > coalesce(last, 0))
		FROM (SELECT e.position, d.at, extract(epoch FROM d.at - d.recorded_at) * 1000 AS ms,
				max(d.position) OVER () AS last
			  FROM $table e LEFT JOIN bench.delivered d USING (position) WHERE e.position > $start) l"
	if [ "$foreign" = open ]; then
		exec 9>&-
		rm "$work/stranger"
	fi
}

# As a table of its own, since the sides are three.
row_readers() {
	local reader foreign
	sql -f feed.sql
	{
		echo
		echo "| reader, while 8 clients append | other transaction | appended /s | delivered /s | p50 ms | p99 ms | skipped | waiting |"
		echo "|---|---|--:|--:|--:|--:|--:|--:|"
		for foreign in none open; do
			for reader in position xid eventsource; do
				printf 'reader %s, other transaction %s\n' "$reader" "$foreign" >&2
				read_along "$reader" "$foreign"
			done
		done | awk -F '\t' '
			BEGIN { name["position"] = "position > last"; name["xid"] = "xid < pg_snapshot_xmin"; name["eventsource"] = "eventsource" }
			function ms(x) { return x == "" ? "-" : sprintf("%.1f", x) }
			{ printf "| %s | %s | %d | %d | %s | %s | %d | %d |\n", name[$1], $2, $3, $4, ms($5), ms($6), $7, $8 }'
	} >>"$work/tables"
}

# ---- from append to row ----

# latencies RATE: milliseconds, p50 and p99, from the end of an append to the row of an
# async projection that shows it, while others append at that rate (0: nobody does).
latencies() {
	if [ "$1" != 0 ]; then
		PGOPTIONS='-c synchronous_commit=on' in_background pgbench -n -M prepared "${variables[@]}" -c 4 -R "$1" -T 600 \
			-f latency.append.sql
	fi
	sql -c "CALL bench.probe($((seconds * 100)))"
	if [ "$1" != 0 ]; then
		end_background
	fi
	sql -F $'\t' -c "SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric, 1),
			round(percentile_cont(0.99) WITHIN GROUP (ORDER BY ms)::numeric, 1) FROM bench.probed"
}

# By the worker, which must be there: tools/bench.sh preloads the library.
row_latency() {
	local rate
	sql -f latency.sql
	{
		echo
		echo "| from append to a row of an async projection (interval 0), by the worker | p50 ms | p99 ms |"
		echo "|---|--:|--:|"
		for rate in 0 200 2000; do
			printf 'latency beside %s appends a second\n' "$rate" >&2
			latencies "$rate" | awk -F '\t' -v rate="$rate" '
				{ printf "| beside %d other appends a second | %.1f | %.1f |\n", rate, $1, $2 }'
		done
	} >>"$work/tables"
}

# ---- what a follower costs per event ----

# mode_cost MODE SIDE: microseconds per event of appending it and, later, following it;
# "plain" is an event that nobody follows.
mode_cost() {
	local events=$((seconds * 5000)) mode=$1
	[ "$2" = eventsource ] || mode=alone
	calculate "1e6 / $events * $(duration sql -c 'SET synchronous_commit = off' \
		-c "CALL bench.append_many('$mode', $events)" -c 'SELECT * FROM eventsource.run_projections()')"
}

row_modes() {
	local mode
	sql -f modes.sql
	set_server eventsource.worker_enabled off
	mode_cost inline eventsource >/dev/null
	for mode in inline async handler; do
		compare "an event and its row, $mode (plain: the event alone)" us '' mode_cost $mode
	done
	set_server eventsource.worker_enabled on
}
