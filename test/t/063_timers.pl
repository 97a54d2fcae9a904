# 063_timers.pl: timeouts of state machines where other tests do not reach: COPY, dumps, the worker, an
# outage, many who look for what is due beside writers, and kill -9 of the server in the midst of it, ES_TIMER_ROUNDS times.

use strict;
use warnings;

use EventLog;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_server('timers', 'eventsource.segment_size = 500', 'shared_preload_libraries = eventsource');
my $dir = PostgreSQL::Test::Utils::tempdir;
my $seed = $ENV{ES_SEED} // time;
srand $seed;
note "seed $seed";

sub value { return $node->safe_psql('log', $_[0]) }

# What waits although the stream is not in that visit, or was timed out; and what does not wait although it should.
my $oracle = <<'SQL';
WITH visit AS (
	SELECT stream, state, max(entered_version) AS version FROM eventsource.state_periods WHERE is_current GROUP BY 1, 2),
due AS (
	SELECT v.stream, v.version, t.after FROM visit v JOIN eventsource.state_machine_timeouts t ON t.state = v.state AND t.is_current),
job AS (
	SELECT j.stream, (j.payload ->> 'entered_version')::bigint AS version, (j.payload ->> 'after')::interval AS after,
		   j.state IN ('scheduled', 'available', 'claimed') AS waits
	  FROM eventsource.jobs j WHERE j.queue = '$timeout' AND j.state <> 'cancelled')
SELECT stream, version, after, 'waits in vain' FROM job WHERE waits AND NOT EXISTS (SELECT FROM due d WHERE (d.*) = (job.stream, job.version, job.after))
UNION ALL
SELECT stream, version, after, 'is not scheduled' FROM due WHERE NOT EXISTS (SELECT FROM job j WHERE (j.stream, j.version, j.after) = (due.stream, due.version, due.after))
SQL

# One job that is done and has a result for each event of a timeout.
my $ledger = <<'SQL';
SELECT e.position, j.job_id FROM (SELECT * FROM eventsource.events WHERE actor = 'system:timeout') e
  FULL JOIN (SELECT * FROM eventsource.jobs WHERE queue = '$timeout' AND state = 'done' AND result IS NOT NULL) j ON (j.result ->> 'position')::bigint = e.position
 WHERE e.position IS NULL OR j.job_id IS NULL
SQL

value(<<'SQL');
SELECT eventsource.create_state_machine('ask', '{"create": {"asked": "OPEN"}, "states": {
	"OPEN": {"on": {"answered": "ANSWERED", "reminded": {}, "silence": "CLOSED"}, "after": {"7 days": "reminded", "21 days": "silence"}},
	"ANSWERED": {"on": {"asked_again": "OPEN", "filed": "CLOSED"}, "after": {"1 day": "filed"}},
	"CLOSED": {"on": {"asked_again": "OPEN"}}}, "on": {"noted": {}}}');
SELECT eventsource.create_category('ask', 'ask');
SQL

# ---- COPY ----

$node->safe_psql('log', join "\n", 'COPY eventsource.events (stream, type, occurred_at) FROM stdin;',
	(map { "ask-copied$_\tasked\t2020-01-01Z" } 1 .. 3000),
	(map { "ask-copied$_\tanswered\t2020-01-02Z" } 1 .. 2999),
	(map { "ask-copied$_\tasked_again\t2050-01-01Z" } 1 .. 1000), "\\.\n");
is(value(q{SELECT count(*) FROM eventsource.jobs WHERE state IN ('scheduled', 'available')}), 2 * 1000 + 1999 + 2, 'COPY schedules what is left of it');
is(value($oracle), '', 'and nothing else');

# ---- dump and restore ----

$node->command_ok([ 'pg_dump', '-f', "$dir/dump.sql", 'log' ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/dump.sql", '-o', '/dev/null', $node->connstr('restored') ], 'restored');
is($node->safe_psql('restored', $oracle), '', 'a restored database has its timers');
is($node->safe_psql('restored', q{SELECT state FROM eventsource.append('ask-copied1', 'answered')}), 'ANSWERED', 'streams go on');
is($node->safe_psql('restored', $oracle), '', 'and cancel them');
is($node->safe_psql('restored', q{SELECT sum(count) FROM eventsource.run_due(5000) WHERE work = 'timeouts'}), 2001, 'what is due happens');
is($node->safe_psql('restored', $oracle), '', 'once');
is($node->safe_psql('restored', $ledger), '', 'with its job');
is(problems_of($node, 'restored'), '', 'its log is whole');
is(value(q{SELECT sum(count) FROM eventsource.run_due(5000) WHERE work = 'timeouts'}), 2001, 'where it came from, too');

# ---- many at once ----

# Streams whose timeouts are due all the time: each comes to OPEN again in the past.
append_to_file("$dir/write.sql", <<'SQL');
\set s random(1, 60)
\set d random(1, 60)
\set r random(1, 4)
SELECT (SELECT state FROM eventsource.append('ask-' || :s, t.type, occurred_at => now() - make_interval(days => :d)))
  FROM (SELECT CASE eventsource.current_state('ask-' || :s) WHEN 'OPEN' THEN CASE WHEN :r = 1 THEN 'noted' ELSE 'answered' END
			WHEN 'ANSWERED' THEN CASE WHEN :r < 3 THEN 'asked_again' ELSE 'filed' END WHEN 'CLOSED' THEN 'asked_again' ELSE 'asked' END AS type) t;
SQL
append_to_file("$dir/due.sql", "SELECT count(*) FROM eventsource.run_due(20);\n");

sub start_bench
{
	my ($file, $clients, $seconds) = @_;
	my $log = '';
	return IPC::Run::start(
		[ 'pgbench', '-n', '--random-seed', int(rand 1e9), '-f', "$dir/$file", '-c', $clients, '-T', $seconds, '--max-tries=1', $node->connstr('log') ],
		'<', \undef, '>', \$log, '2>&1');
}

# A client ends at the first error: a race of writers who looked at a state before; so there are always new ones.
my $until = time + 6;
while (time < $until)
{
	my @running = ((map { start_bench('write.sql', 1, 1) } 1 .. 3), (map { start_bench('due.sql', 1, 1) } 1 .. 3));
	$_->finish foreach @running;
}
value('SELECT * FROM eventsource.run_due(10000)');
is(value($oracle), '', 'after many writers beside many who look for what is due: what waits is what should');
is(value($ledger), '', 'each event has its job, each job its event');
cmp_ok(value(q{SELECT count(*) FROM eventsource.events WHERE actor = 'system:timeout' AND stream !~ 'copied'}), '>', 20, 'there were some');
is(value(q{SELECT array_agg(DISTINCT finish_reason) FROM eventsource.jobs WHERE queue = '$timeout' AND state = 'done' AND result IS NULL}), '', 'none was in vain');
is(value(q{SELECT count(*) FROM eventsource.jobs WHERE queue = '$timeout' AND state = 'discarded'}), 0, 'none failed');

# ---- kill -9 ----

for my $round (1 .. ($ENV{ES_TIMER_ROUNDS} || 6))
{
	my @running = ((map { start_bench('write.sql', 1, 10) } 1 .. 3), (map { start_bench('due.sql', 1, 10) } 1 .. 2));
	sleep(0.3 + rand 0.5);
	kill_server($node);
	eval { $_->finish } foreach @running;
	$node->start;
	is(value($oracle), '', "round $round: what waits is what should");
	is(value($ledger), '', "round $round: each event has its job, each job its event");
}
is(problems_of($node, 'log'), '', 'the log is whole');

# ---- an outage, and the worker ----

value(q{SELECT eventsource.append('ask-out' || n, 'asked', occurred_at => now() - interval '21 days' + make_interval(secs => 3 + n)) FROM generate_series(1, 3) n});
is(value(q{SELECT count(*) FROM eventsource.events WHERE stream LIKE 'ask-out%' AND type = 'silence'}), 0, 'not due yet');
$node->stop;
$node->append_conf('postgresql.conf', 'eventsource.worker_enabled = on');
$node->start;
ok(wait_until(sub { value(q{SELECT count(*) FROM eventsource.events WHERE stream LIKE 'ask-out%' AND type = 'silence'}) == 3 }),
	'the worker does what became due while the server was down, and later');
is(value(q{SELECT string_agg(stream, ' ' ORDER BY position) FROM eventsource.events WHERE stream LIKE 'ask-out%' AND type = 'silence'}), 'ask-out1 ask-out2 ask-out3', 'in order');
is(value(q{SELECT count(*) FROM eventsource.events e JOIN eventsource.events f USING (stream) WHERE stream LIKE 'ask-out%' AND e.type = 'silence' AND f.type = 'asked'
	AND e.occurred_at = f.occurred_at + interval '21 days' AND e.recorded_at >= e.occurred_at}), 3, 'with the time at which it was due, and not before');
is(value($oracle), '', 'nothing waits in vain');

$node->stop;
done_testing();
