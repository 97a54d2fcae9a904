# shellcheck shell=bash
# shellcheck disable=SC2154 # work and seconds are run.sh's
# proof.sh: the rows about the tree over the log, and about personal fields. Sourced by run.sh.

# What a seal and a verification do for each event; "plain" hashes as many in a query.
row_proof() {
	compare 'sealing 200,000 events (plain: SHA-256 of each in a query)' /s '' seal_rate
	compare 'verify_log (plain: SHA-256 of each event in a query)' /s '' verify_rate
	compare 'append, 8 clients, beside somebody who seals all the while (plain: nobody)' /s '>= 0.95' \
		beside_sealing
	sql -c 'SELECT eventsource.seal()' >"$work/out"
	compare 'proofs that an event is in the log (plain: reading it by its position)' /s '' proof_rate
}

# The same data, three fields of which are personal: cut out, salted and committed to.
row_personal() {
	sql -c "SELECT eventsource.register_event_type('$type', category => 'person',
		pii => '{\"channel\": \"hash\", \"outcome\": \"redact\", \"agent\": \"null\"}')" >"$work/out"
	warm personal
	compare 'append with three personal fields, 1 client' /s '' throughput personal 1 off
	compare 'append with three personal fields, 8 clients' /s '' throughput personal 8 off
}

# Taken back, so that every round seals the same.
seal_rate() {
	local statement='BEGIN; SELECT eventsource.seal(200000); ROLLBACK'
	[ "$1" = eventsource ] ||
		statement='SELECT count(sha256(hash)) FROM (SELECT hash FROM eventsource.event ORDER BY position LIMIT 200000) e'
	calculate "200000 / $(duration sql -c 'SET max_parallel_workers_per_gather = 0' -c "$statement")"
}

verify_rate() {
	local statement='SELECT count(*) FROM eventsource.verify_log()' events
	[ "$1" = eventsource ] ||
		statement='SELECT count(sha256(convert_to(e::text, '\''UTF8'\''))) FROM eventsource.event e'
	events=$(sql -c 'SELECT count(*) FROM eventsource.event')
	calculate "$events / $(duration sql -c 'SET max_parallel_workers_per_gather = 0' -c "$statement")"
}

beside_sealing() {
	local sealer=''
	if [ "$1" = eventsource ]; then
		while sql -c 'SELECT eventsource.seal()' >"$work/sealed"; do sleep 0.05; done &
		sealer=$!
	fi
	throughput append 8 on eventsource
	if [ -n "$sealer" ]; then
		kill "$sealer"
		wait "$sealer" 2>/dev/null || true
	fi
}

proof_rate() {
	local call='eventsource.inclusion_proof(p.position)'
	[ "$1" = eventsource ] || call='(SELECT e.hash FROM eventsource.event e WHERE e.position = p.position OFFSET 0)'
	calculate "2000 / $(duration sql -c "SELECT count(x) FROM (SELECT $call AS x
		FROM (SELECT position FROM eventsource.event ORDER BY position LIMIT 2000) p OFFSET 0) x")"
}
