# shellcheck shell=bash
# shellcheck disable=SC2154 # work and seconds are run.sh's
# schema.sh: the rows about JSON Schema. Sourced by run.sh.

# What an appender pays for schemas; "plain" is the same append to a category without.
row_schema() {
	local kind what
	sql -f schema.sql
	for kind in flat nested; do
		what='an event of 10 fields'
		[ $kind = flat ] || what='a nested document of 2 kB'
		compare "append of $what, checked (plain: not), CPU" us "$([ $kind = nested ] || echo '<= 1.05')" \
			checked_cost $kind
	done
	get_ajv || return 0
	for kind in flat nested; do
		what='events of 10 fields'
		[ $kind = flat ] || what='nested documents of 2 kB'
		{
			sql -c "SELECT schema FROM bench.document_schema WHERE kind = '$kind'"
			sql -c "SELECT doc FROM bench.document WHERE kind = '$kind'"
		} >"$work/documents"
		compare "$what, checked (plain: by node's ajv, parsed already)" /s '' checks $kind parsed
		compare "$what, checked (plain: by node's ajv, JSON.parse included)" /s '' checks $kind parse
	done
}

# checked_cost KIND SIDE: microseconds. Both sides are measured at once, when the first
# is asked for.
checked_cost() {
	if [ "$2" = plain ]; then
		sql -c 'SET synchronous_commit = off' -c "CALL bench.measure_checks('$1', $((seconds * 50)))" >"$work/out"
	fi
	sql -c "SELECT round(us, 2) FROM bench.checked_cost WHERE side = '$2'"
}

# The folder that ES_AJV names has it, or the npm registry.
get_ajv() {
	ajv=${ES_AJV:-$work/ajv}
	if ! [ -d "$ajv/node_modules/ajv" ]; then
		npm install --silent --no-fund --no-audit --prefix "$ajv" ajv@8 >"$work/out" 2>&1 || {
			echo 'not measured: checks beside ajv, which npm could not get' >&2
			return 1
		}
	fi
}

# checks KIND MODE SIDE: documents a second, over and over again the same 5,000.
checks() {
	local passes=$((seconds * 300))
	if [ "$3" = plain ]; then
		NODE_PATH=$ajv/node_modules node ajv.js "$work/documents" "$2" "$seconds"
		return
	fi
	[ "$1" = flat ] || passes=$((passes / 10))
	sql -c "SELECT schema FROM bench.document_schema WHERE kind = '$1'" >"$work/schema"
	calculate "5000 * $passes / $(duration sql -v kind="$1" -v schema="$(cat "$work/schema")" -v passes=$passes <<-'SQL'
		SET max_parallel_workers_per_gather = 0;
		SET work_mem = '1GB';
		SELECT count(*) FROM generate_series(1, :passes) n, (SELECT doc FROM bench.document WHERE kind = :'kind' OFFSET 0) d
		 WHERE eventsource.jsonb_matches_schema(:'schema', CASE WHEN n > 0 THEN doc END);
	SQL
	)"
}
