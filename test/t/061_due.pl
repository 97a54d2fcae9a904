# 061_due.pl: the worker does what is due: calls that hang, and that end its process, cost
# an attempt each and nobody else anything. Clocks that jump and servers that were down: what
# is due is done once, in order.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @worker = (
	'shared_preload_libraries = eventsource', 'eventsource.worker_enabled = on',
	'eventsource.worker_interval = 50ms', 'restart_after_crash = on');

my $setup = <<'SQL';
CREATE TABLE said (n serial, stream text, step int, attempt int, at timestamptz DEFAULT clock_timestamp());
-- Attempts of whom an error forgets are counted here.
CREATE SEQUENCE called;
CREATE FUNCTION ask(e eventsource.events, call jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM nextval('public.called');
	INSERT INTO public.said (stream, step, attempt) VALUES (e.stream, (call->>'step')::int, (call->>'attempt')::int);
	IF e.data ? 'run' THEN
		EXECUTE e.data->>'run';
	END IF;
	RETURN e.data->'decide';
END
$$;
SELECT eventsource.create_reaction('ask', 'cart', 'left', action => '{"call": "public.ask(eventsource.events,jsonb)"}',
	run_at => $$ event.occurred_at + interval '1 hour' $$, key => 'event.key');
SELECT eventsource.create_state_machine('ticket', '{"create": {"opened": "OPEN"}, "states": {
	"OPEN": {"on": {"lapsed": "CLOSED"}, "after": {"1 minute": "lapsed"}}, "CLOSED": {"type": "final"}}}');
SELECT eventsource.create_category('ticket', 'ticket');
CREATE FUNCTION deaf(key text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	LOOP
		BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN NULL; END;
	END LOOP;
END
$$;
SELECT eventsource.create_state_machine('deaf', '{"create": {"opened": "OPEN"}, "states": {
	"OPEN": {"on": {"lapsed": "CLOSED"}, "after": {"1 minute": {"type": "lapsed", "guard": "public.deaf(event.key)"}}}, "CLOSED": {"type": "final"}}}');
SELECT eventsource.create_category('deaf', 'deaf');
CREATE FUNCTION kill_server() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	COPY (SELECT) TO PROGRAM 'kill -9 $PPID';
	RETURN true;
END
$$;
CREATE FUNCTION deadly(key text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.kill_server(); END';
SELECT eventsource.create_state_machine('deadly', '{"create": {"opened": "OPEN"}, "states": {
	"OPEN": {"on": {"lapsed": "CLOSED"}, "after": {"1 minute": {"type": "lapsed", "guard": "public.deadly(event.key)"}}}, "CLOSED": {"type": "final"}}}');
SELECT eventsource.create_category('deadly', 'deadly');
CREATE TABLE cart (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('cart', '{cart}', '{"left": "n = row.n + 1"}', mode => 'async');
SQL

my $node;
sub sql { return $node->safe_psql('log', $_[0]) }
sub leave
{
	my ($key, $data, $ago) = @_;
	$data =~ s/'/''/g;
	return sql("SELECT eventsource.append('cart-$key', 'left', '$data', occurred_at => clock_timestamp() - interval '$ago')");
}
sub run_of { return sql("SELECT concat_ws(' ', state, attempts, error_code) FROM eventsource.job WHERE stream = 'cart-$_[0]' AND queue = '\$reaction'") }
my $calls_run_due = 0;
sub becomes
{
	my ($key, $want, $what, $seconds) = @_;
	sql('SELECT * FROM eventsource.run_due()') if $calls_run_due;
	# The worker may be ending its process, and all others with it.
	wait_until(sub { return (eval { run_of($key) } // '') =~ /^$want$/ }, $seconds // 30);
	like(run_of($key), qr/^$want$/, $what);
	return;
}

# ---- the worker ----

$node = new_server('due', @worker, 'eventsource.call_timeout = 2s');
sql($setup);
leave('first', '{}', '2 hours');
becomes('first', 'done 1', 'the worker does what is due');
is(sql('SELECT count(*) FROM said'), '1', 'once');
leave('soon', '{}', '59 minutes 58 seconds');
is(run_of('soon'), 'scheduled 0', 'not before it is due');
becomes('soon', 'done 1', 'and when it is');
is(sql("SELECT at BETWEEN due AND due + interval '2 seconds' FROM said, (SELECT occurred_at + interval '1 hour' AS due FROM eventsource.read_stream('cart-soon')) d WHERE stream = 'cart-soon'"),
	't', 'not much later');

# What is finished is forgotten as fast as it comes.
sql("SELECT eventsource.create_queue('brief', keep => '0'); SELECT count(eventsource.enqueue('brief')) FROM generate_series(1, 8000);"
	. " SELECT count(eventsource.complete(job_id, worker => 'w')) FROM eventsource.claim('brief', 10000, worker => 'w')");
ok(wait_until(sub { sql("SELECT count(*) FROM eventsource.job WHERE queue = 'brief'") eq '0' }, 15), 'thousands of finished jobs are forgotten soon');

# What hangs is cancelled, and others are done.
leave('hangs', '{"run": "SELECT pg_sleep(1000)"}', '3 hours');
leave('after', '{}', '2 hours');
becomes('after', 'done 1', 'others are done');
is(run_of('hangs'), 'scheduled 1 TIMEOUT', 'what hangs was cancelled, and has used up an attempt');
is(sql("SELECT count(*) FROM said WHERE stream = 'cart-hangs'"), '0', 'what it had written is undone');

# While a run is performed a later event takes its key: what each of the two sends is its own.
leave('twice', q({"run": "SELECT eventsource.append('cart-twice', 'left', '{\"decide\": {\"send\": {\"queue\": \"twice\"}}}', occurred_at => now() - interval '2 hours')", "decide": {"send": {"queue": "twice"}}}), '2 hours');
ok(wait_until(sub { sql("SELECT count(*) FROM eventsource.job WHERE queue = 'twice'") eq '2' }, 30), 'two runs of a key send a message each');
is(sql("SELECT count(eventsource.complete(job_id)) FROM eventsource.claim('twice', 10)"), '2', 'both are sent');
ok(wait_until(sub { sql("SELECT string_agg(state, ' ') FROM eventsource.job WHERE stream = 'cart-twice' AND queue = '\$reaction'") eq 'done done' }, 30),
	'both runs go on');
sql("DELETE FROM said WHERE stream = 'cart-twice'");

# What is called performs nothing else.
leave('within', '{"run": "SELECT eventsource.run_due()"}', '2 hours');
becomes('within', 'scheduled 1 55000', 'run_due() is not for who is called by the worker');

# What waits for a lock is only put off.
my $holder = $node->background_psql('log');
$holder->query_safe("BEGIN; SELECT eventsource.lock_stream('customer-1')");
leave('waits', q({"run": "SELECT eventsource.lock_stream('customer-1')"}), '2 hours');
ok(wait_until(sub { return sql("SELECT payload ? 'postponed' FROM eventsource.job WHERE stream = 'cart-waits'") eq 't' }, 30),
	'what waits for a lock is put off');
$holder->query_safe('COMMIT');
$holder->quit;
becomes('waits', 'done \d+', 'and done later');

# What others are at is left to them, and looked at again now and then. While a stream and a run are locked
# for long, the worker does not turn round and round, and does what else is due.
sub passes_and_commits
{
	return split /\|/, sql("SELECT w.passes, d.xact_commit FROM eventsource.workers w, pg_stat_database d WHERE w.database = 'log' AND d.datname = 'log'");
}

sub within
{
	my ($seconds) = @_;
	my @before = passes_and_commits();
	sleep $seconds;
	my @after = passes_and_commits();
	return map { $after[$_] - $before[$_] } 0, 1;
}
sub error_of_worker { return sql("SELECT concat_ws(' ', last_error_at, last_error) FROM eventsource.workers WHERE database = current_database()") }
my $error = error_of_worker();
my ($quiet) = within(3);
$holder = $node->background_psql('log');
sql("SELECT eventsource.append('ticket-1', 'opened', occurred_at => clock_timestamp() - interval '58 seconds')");
leave('locked', '{}', '59 minutes 58 seconds');
$holder->query_safe("BEGIN; SELECT eventsource.lock_stream('ticket-1');"
	  . " SELECT eventsource.cancel_job(job_id) FROM eventsource.jobs WHERE stream = 'cart-locked'");
is(sql("SELECT count(*) FROM eventsource.jobs WHERE state = 'scheduled' AND stream IN ('ticket-1', 'cart-locked')"), '2',
	'others have what is not due yet');
ok(wait_until(sub { sql("SELECT count(*) FROM eventsource.jobs WHERE state = 'available' AND stream IN ('ticket-1', 'cart-locked')") eq '2' }, 30),
	'it comes due');
my ($busy, $commits) = within(3);
note "passes within 3 seconds: $quiet, and $busy ($commits transactions) while two are locked";
cmp_ok($busy, '<', $quiet + 300, 'the worker waits for it in peace');
cmp_ok($commits, '<', 3000, 'with few transactions');
leave('free', '{}', '2 hours');
becomes('free', 'done 1', 'and does what else is due', 5);
is(error_of_worker(), $error, 'without an error');
$holder->query_safe('ROLLBACK');
$holder->quit;
becomes('locked', 'done 1', 'when they let go, it is done');
ok(wait_until(sub { sql("SELECT string_agg(type, ' ' ORDER BY version) FROM eventsource.read_stream('ticket-1')") eq 'opened lapsed' }, 30),
	'all of it');

# Who cancels a job while it is performed waits for nobody, and what was done is undone; should he think better of it, it is done again.
leave('slow', '{"run": "SELECT pg_sleep(1)"}', '2 hours');
my $is_called = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'eventsource %' AND wait_event = 'PgSleep'";
ok(wait_until(sub { sql($is_called) eq '1' }, 30), 'a step is performed');
$holder = $node->background_psql('log');
$holder->query_safe("BEGIN; SELECT eventsource.cancel_job(job_id) FROM eventsource.jobs WHERE stream = 'cart-slow'");
ok(wait_until(sub { sql($is_called) eq '0' }, 30), 'to its end');
is(run_of('slow') . ', ' . sql("SELECT count(*) FROM said WHERE stream = 'cart-slow'"), 'claimed 1, 0', 'who cancels it meanwhile is not waited for');
$holder->query_safe('ROLLBACK');
$holder->quit;
becomes('slow', 'done 2', 'it is performed again', 30);

# While more is due than is done, too.
sql("SELECT eventsource.append('ticket-held', 'opened', occurred_at => clock_timestamp() - interval '58 seconds')");
$holder = $node->background_psql('log');
$holder->query_safe("BEGIN; SELECT eventsource.lock_stream('ticket-held')");
ok(wait_until(sub { sql("SELECT count(*) FROM eventsource.jobs WHERE state = 'available' AND stream = 'ticket-held'") eq '1' }, 30), 'a timeout is due');
sql(q(SELECT count(eventsource.append('cart-queued' || n, 'left', '{"run": "SELECT pg_sleep(0.5)"}', occurred_at => clock_timestamp() - interval '59 minutes 58 seconds')) FROM generate_series(1, 80) n));
ok(wait_until(sub { sql("SELECT count(*) FROM said WHERE stream LIKE 'cart-queued%'") > 0 }, 30), 'and much behind it');
$holder->query_safe('ROLLBACK');
$holder->quit;
ok(wait_until(sub { sql("SELECT count(*) FROM eventsource.read_stream('ticket-held')") eq '2' }, 60), 'when it is free it is done');
cmp_ok(sql("SELECT count(*) FROM said WHERE stream LIKE 'cart-queued%'"), '<', 80, 'before all that is behind it');
sql("SELECT count(eventsource.cancel_job(job_id)) FROM eventsource.jobs WHERE stream LIKE 'cart-queued%' AND state IN ('available', 'claimed', 'scheduled')");

# What catches the cancelling ends with its process.
leave('deaf', '{"run": "DO $x$ BEGIN LOOP BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $x$"}', '3 hours');
leave('heard', '{}', '2 hours');
becomes('heard', 'done \d', 'others are done', 60);
ok(wait_until(sub { (eval { sql("SELECT n FROM cart WHERE key = 'heard'") } // '') eq '1' }, 60), 'and so are the worker\'s other duties');
becomes('deaf', 'discarded 3 LEASE_EXPIRED', 'what will not be cancelled is given up', 60);
is(sql("SELECT count(*) FROM said WHERE stream = 'cart-deaf'"), '0', 'and has left nothing');

# So does a guard of a timeout. (The launcher waits longer each time that a worker ends soon; but not in a server just started.)
$node->restart;
sql("SELECT eventsource.append('deaf-1', 'opened', occurred_at => clock_timestamp() - interval '1 hour')");
sql("SELECT eventsource.append('ticket-2', 'opened', occurred_at => clock_timestamp() - interval '50 minutes')");
ok(wait_until(sub { (eval { sql("SELECT count(*) FROM eventsource.read_stream('ticket-2')") } // '') eq '2' }, 60), 'other timeouts are done');
ok(wait_until(sub { (eval { sql("SELECT concat_ws(' ', state, attempts, error_code) FROM eventsource.job WHERE stream = 'deaf-1'") } // '') eq 'discarded 3 LEASE_EXPIRED' }, 60),
	'a guard that will not be cancelled is given up');
is(sql("SELECT count(*) FROM eventsource.read_stream('deaf-1')"), '1', 'without an event');

# Nor one that ends the whole server each time, even if commits are not waited for.
sql('ALTER SYSTEM SET synchronous_commit = off');
$node->restart;
sql("SELECT eventsource.append('ticket-33', 'opened', occurred_at => clock_timestamp() - interval '50 minutes');"
	. " SELECT eventsource.append('deadly-1', 'opened', occurred_at => clock_timestamp() - interval '1 hour'); CHECKPOINT");
sub state_of_deadly { return (eval { sql("SELECT concat_ws(' ', state, attempts, error_code) FROM eventsource.job WHERE stream = 'deadly-1'") } // '') }
ok(wait_until(sub { state_of_deadly() eq 'discarded 3 LEASE_EXPIRED' }, 60), 'a guard that kills the server is given up') or diag state_of_deadly();
is(sql("SELECT string_agg(stream, ' ' ORDER BY stream) FROM eventsource.events WHERE type = 'lapsed' AND stream IN ('ticket-33', 'deadly-1')"),
	'ticket-33', 'and others\' timeouts happen');
sql('ALTER SYSTEM RESET synchronous_commit');

# What ends its process has used up an attempt all the same, and is given up.
$node->restart;
leave('kills', '{"run": "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(10)"}', '3 hours');
leave('beside', '{}', '2 hours');
becomes('beside', 'done \d', 'others are done', 60);
becomes('kills', 'discarded 3 LEASE_EXPIRED', 'what ends its process is given up', 60);
is(sql("SELECT count(*) FROM said WHERE stream = 'cart-kills'"), '0', 'and has left nothing');

# A server that was down does it late, in the order in which it was due.
sql("SELECT eventsource.append('cart-late' || n, 'left', occurred_at => now() - interval '59 minutes 52 seconds' - n * interval '0.1 seconds')"
	  . " FROM unnest('{5,2,9,1,7,3,8,4,6,10}'::int[]) n");
is(sql("SELECT count(*) FROM eventsource.jobs WHERE stream LIKE 'cart-late%' AND state = 'scheduled'"), '10', 'some are to be done soon');
my $due = sql("SELECT extract(epoch FROM max(run_at)) FROM eventsource.job WHERE stream LIKE 'cart-late%'");
$node->stop;
ok(wait_until(sub { time > $due + 1 }, 30), 'it is past their time');
$node->start;
becomes("late$_", 'done 1', "cart-late$_ is done") for 1, 10;
is(sql("SELECT string_agg(stream, ' ' ORDER BY n) FROM said WHERE stream LIKE 'cart-late%'"),
	join(' ', map { "cart-late$_" } reverse 1 .. 10), 'in the order in which they were due');
is(sql("SELECT string_agg(stream, ' ') FROM (SELECT stream, count(*) AS n FROM said GROUP BY stream) s WHERE n > (SELECT count(*) FROM eventsource.read_stream(s.stream))"), '', 'nothing was done twice');
is(problems_of($node, 'log'), '', 'the log is whole');
$node->stop;

# ---- clocks ----

my ($fake) = grep { -f } glob '/usr/lib/*/faketime/libfaketime.so.1';
SKIP:
{
	skip 'libfaketime is not installed', 1 unless $fake;
	my $clock = PostgreSQL::Test::Utils::tempdir . '/clock';

	# The clock of the server's processes is that many seconds off. But not of workers: up to 15 they are
	# forked where the library holds its breath. So this is the scheduler's part.
	my $jump = sub {
		open my $file, '>', "$clock.new" or die;
		printf $file "%+d\n", $_[0];
		close $file;
		rename "$clock.new", $clock or die;
		return;
	};
	$jump->(0);
	{
		local $ENV{FAKETIME_TIMESTAMP_FILE} = $clock;
		local $ENV{FAKETIME_NO_CACHE} = 1;
		local $ENV{FAKETIME_DONT_FAKE_MONOTONIC} = 1;
		local $ENV{LD_PRELOAD} = $fake;

		$node = new_server('clock');
		sql($setup);
		$calls_run_due = 1;
		leave('fails', '{"run": "SELECT 1/0"}', '3 hours');
		leave($_, '{}', "$_ minutes") for 10, 50, 30;
		becomes('fails', 'scheduled 1 22012', 'a call fails');
		is(run_of('50'), 'scheduled 0', 'others are not due yet');

		$jump->(3600);
		becomes('fails', 'scheduled 2 22012', 'an hour later it fails again');
		becomes('10', 'done 1', 'and all is done');
		is(sql("SELECT string_agg(stream, ' ' ORDER BY n) FROM said"), 'cart-50 cart-30 cart-10', 'in the order in which it was due');

		$jump->(-86400);
		leave('back', '{}', '61 minutes');
		becomes('back', 'done 1', 'a clock that was set back');
		is(sql('SELECT count(*) FROM said'), '4', 'nothing is done twice');

		$jump->(3600);
		leave("week$_", '{}', '0') for 1 .. 20;
		my $due = sql("SELECT count(*) FROM eventsource.job WHERE state = 'scheduled'");
		is($due, '21', 'all of it is scheduled');
		$node->stop;
		$jump->(8 * 86400);
		$node->start;
		becomes('week20', 'done 1', 'a server that was down for a week catches up');
		becomes('fails', 'discarded 3 22012', 'and gives up what failed three times');
		is(sql("SELECT string_agg(stream, ' ' ORDER BY n) FROM said WHERE stream LIKE 'cart-week%'"), join(' ', map { "cart-week$_" } 1 .. 20),
			'in the order in which it was due');

		# Between failures, lost races forgive none of them.
		sql('CREATE SEQUENCE mixed');
		leave('mixed', q({"run": "DO $x$ BEGIN IF nextval('public.mixed') % 2 = 1 THEN PERFORM 1/0; ELSE RAISE serialization_failure; END IF; END $x$"}), '2 hours');
		for my $hours (1 .. 5)
		{
			sql('SELECT * FROM eventsource.run_due()');
			$jump->(8 * 86400 + $hours * 3600);
		}
		is(run_of('mixed'), 'discarded 5 22012', 'what fails every other time is given up');

		# A timeout that happens, and whose state stays; and one whose state is left first.
		my $room = q('{"create": {"opened": "OPEN"}, "states": {"OPEN": {"on": {"noted": {}, "closed": "CLOSED"}}, "CLOSED": {"type": "final"}}}'::jsonb);
		sql("SELECT eventsource.create_state_machine('room', $room); SELECT eventsource.create_category('room', 'room');"
			. " SELECT eventsource.append('room-1', 'opened', occurred_at => clock_timestamp() - interval '1 hour');"
			. " SELECT eventsource.append('ticket-9', 'opened'); SELECT eventsource.append('ticket-9', 'lapsed')");
		sql(qq(SELECT eventsource.create_state_machine('room', jsonb_set($room, '{states,OPEN,after}', '{"1 minute": "noted"}'))));
		is(sql("SELECT eventsource.schedule_timeouts('room')"), '1', 'a timeout of a state that got it later');
		sql('SELECT * FROM eventsource.run_due()');
		is(sql("SELECT string_agg(stream || ' ' || state, ', ' ORDER BY stream) FROM eventsource.job WHERE queue = '\$timeout'"), 'room-1 done, ticket-9 cancelled', 'happens');

		# What is finished is kept for a while, and forgotten; those of states that were left, sooner.
		$jump->(10 * 86400);
		is(sql("SELECT * FROM eventsource.run_due()"), 'forgotten|1', 'timeouts whose state was left are not kept for long');
		is(sql("SELECT count(*) > 1, string_agg(stream, ' ') FILTER (WHERE queue = '\$timeout') FROM eventsource.job"), 't|room-1', 'other finished jobs are');
		$jump->(30 * 86400);
		like(sql('SELECT * FROM eventsource.run_due()'), qr/^forgotten\|\d+$/, 'but not for ever');
		is(sql('SELECT count(*) FROM eventsource.job'), '0', 'all of them');
		is(sql("SELECT eventsource.schedule_timeouts('room')"), '0', 'what happened does not happen again');
		is(problems_of($node, 'log'), '', 'the log is whole');
		$node->stop;
	}
}
done_testing();
