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
sub becomes
{
	my ($key, $want, $what, $seconds) = @_;
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

# What hangs is cancelled, and others are done.
leave('hangs', '{"run": "SELECT pg_sleep(1000)"}', '3 hours');
leave('after', '{}', '2 hours');
becomes('after', 'done 1', 'others are done');
is(run_of('hangs'), 'scheduled 1 TIMEOUT', 'what hangs was cancelled, and has used up an attempt');
is(sql("SELECT count(*) FROM said WHERE stream = 'cart-hangs'"), '0', 'what it had written is undone');

# What waits for a lock is only put off.
my $holder = $node->background_psql('log');
$holder->query_safe("BEGIN; SELECT eventsource.lock_stream('customer-1')");
leave('waits', q({"run": "SELECT eventsource.lock_stream('customer-1')"}), '2 hours');
ok(wait_until(sub { return sql("SELECT payload ? 'postponed' FROM eventsource.job WHERE stream = 'cart-waits'") eq 't' }, 30),
	'what waits for a lock is put off');
$holder->query_safe('COMMIT');
$holder->quit;
becomes('waits', 'done \d+', 'and done later');

# What ends its process has used up an attempt all the same, and is given up.
leave('kills', '{"run": "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(10)"}', '3 hours');
leave('beside', '{}', '2 hours');
becomes('beside', 'done \d', 'others are done', 60);
becomes('kills', 'discarded 3 LEASE_EXPIRED', 'what ends its process is given up', 60);
is(sql("SELECT count(*) FROM said WHERE stream = 'cart-kills'"), '0', 'and has left nothing');
is(sql("SELECT string_agg(stream, ' ') FROM (SELECT stream FROM said GROUP BY stream HAVING count(*) > 1) s"), '', 'nothing was done twice');
is(problems_of($node, 'log'), '', 'the log is whole');
$node->stop;

# ---- clocks ----

my ($fake) = grep { -f } glob '/usr/lib/*/faketime/libfaketime.so.1';
SKIP:
{
	skip 'libfaketime is not installed', 1 unless $fake;
	my $clock = PostgreSQL::Test::Utils::tempdir . '/clock';

	# The clock of the server's processes is that many seconds off.
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

		$node = new_server('clock', @worker);
		sql($setup);
		leave('fails', '{"run": "SELECT 1/0"}', '3 hours');
		leave($_, '{}', "$_ minutes") for 10, 50, 30;
		becomes('fails', 'scheduled 1 22012', 'a call fails');
		is(run_of('50'), 'scheduled 0', 'others are not due yet');

		$jump->(3600);
		becomes('fails', 'scheduled 2 22012', 'an hour later it fails again');
		becomes('10', 'done 1', 'and all is done');
		is(sql("SELECT string_agg(stream, ' ' ORDER BY n) FROM said"), 'cart-50 cart-30 cart-10', 'in the order in which it was due');

		$jump->(-86400);
		leave('back', '{}', '59 minutes 58 seconds');
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
		is(sql("SELECT string_agg(stream, ' ' ORDER BY n) FROM said WHERE n > 4"), join(' ', map { "cart-week$_" } 1 .. 20),
			'in the order in which it was due');

		# What is finished is kept for a while, and forgotten.
		$jump->(9 * 86400);
		is(sql("SELECT count(*) > 0 FROM eventsource.job"), 't', 'finished jobs are kept');
		$jump->(30 * 86400);
		ok(wait_until(sub { return sql('SELECT count(*) FROM eventsource.job') eq '0' }, 60), 'but not for ever');
		is(problems_of($node, 'log'), '', 'the log is whole');
		$node->stop;
	}
}
done_testing();
