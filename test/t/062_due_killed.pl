# 062_due_killed.pl: whatever is killed in the midst of what is due, every step is done once.
#
# Orders are runs of five steps: stock is reserved, the customer is charged by a function that is called,
# a message is sent and waited for, a second call decides, the order is shipped; some are given up by then,
# and made good. The worker and callers of run_due() do that beside each other; messages are
# delivered by workers outside. Each round something is killed with SIGKILL: the worker, a caller's
# backend, a deliverer, the whole server; or a backend is terminated.
#
# Outside of the database are what was ordered, as the database said that it was committed; what the functions
# were called for, written whether they commit or not; and what was delivered. ES_DUE_ROUNDS is the number
# of rounds, ES_DUE_SEED the dice.

use strict;
use warnings;

use EventLog;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $rounds = $ENV{ES_DUE_ROUNDS} || 6;
my $seed = $ENV{ES_DUE_SEED} || time;
srand($seed);
note "ES_DUE_SEED=$seed";

my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = new_server('due_killed', 'shared_preload_libraries = eventsource', 'eventsource.worker_enabled = on',
	'eventsource.worker_interval = 50ms', 'restart_after_crash = on');
my $url = $node->connstr('log');

# With the server just killed, or about to be, a statement may fail: again then.
sub ask
{
	my ($sql) = @_;
	my ($out, $err);

	wait_until(sub { return eval { $node->psql('log', $sql, stdout => \$out, stderr => \$err) == 0 } }, 120)
	  or die "no answer to $sql: $err";
	return $out;
}

ask(<<"SQL");
CREATE TABLE charged (key text, job_id bigint, attempt int);
CREATE FUNCTION charge(e eventsource.events, call jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
BEGIN
	EXECUTE format('COPY (SELECT %L) TO PROGRAM %L', call->>'key', 'cat >> $dir/charges');
	INSERT INTO public.charged VALUES (call->>'key', (call->>'job_id')::bigint, (call->>'attempt')::int);
	PERFORM pg_sleep(random() * 0.02);
	RETURN NULL;
END
\$\$;
CREATE FUNCTION decide(e eventsource.events, call jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
BEGIN
	IF (e.data->>'n')::int % 5 = 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'P9001', MESSAGE = 'out of stock';
	END IF;
	RETURN NULL;
END
\$\$;
SELECT eventsource.set_error_code('P9001', false);
SELECT eventsource.create_queue('mail', max_attempts => 1000, backoff => '0.1 seconds', strategy => 'fixed', jitter => 0);
SELECT eventsource.create_reaction('order', 'order', 'placed', key => 'event.key', run_at => 'event.occurred_at', action => '{"steps": [
	{"append": "reserved", "stream": "''stock-'' || event.key", "compensate": {"append": "released", "stream": "''stock-'' || event.key"}},
	{"call": "public.charge(eventsource.events,jsonb)", "compensate": {"append": "refunded", "stream": "''stock-'' || event.key"}},
	{"enqueue": "mail", "payload": "event.data"},
	{"call": "public.decide(eventsource.events,jsonb)", "wait": "0.1 seconds"},
	{"append": "shipped", "stream": "''stock-'' || event.key"}]}');
SQL

# ---- those who work ----

# Delivered is what was written down; completed afterwards.
my $deliver = <<'SH';
me=$$
while :; do
	for id in $(psql -XAtqc "SELECT job_id FROM eventsource.claim('mail', 5, '1 second', 'deliverer $me')" "$0" 2>/dev/null); do
		echo "$id" >>"$1"
		psql -XAtqc "SELECT eventsource.complete($id, worker => 'deliverer $me')" "$0" >/dev/null 2>&1
	done
	sleep 0.05
done
SH
my $run = <<'SH';
while :; do
	psql -XAtqc "SET application_name = 'run_due'; SELECT eventsource.run_due(10)" "$0" >/dev/null 2>&1
	sleep 0.05
done
SH

sub start { return IPC::Run::start([ 'sh', '-c', @_ ], '<', \undef, '>', '/dev/null', '2>', '/dev/null') }
my @deliverers = map { start($deliver, $url, "$dir/mails") } 1 .. 2;
my @callers = map { start($run, $url) } 1 .. 2;

# A process of the server, by SQL that finds it.
sub pid_of { return (split /\n/, ask($_[0]))[0] }

my @victims = (
	[   'the worker' => sub {
			my $pid = pid_of("SELECT pid FROM eventsource.workers WHERE database = 'log' AND pid IS NOT NULL");
			kill 'KILL', $pid if $pid;
		} ],
	[ 'the server' => sub { kill_server($node); sleep rand 0.5; $node->start } ],
	[   'who calls run_due()' => sub {
			my $pid;
			wait_until(sub { $pid = pid_of("SELECT pid FROM pg_stat_activity WHERE application_name = 'run_due'") }, 10);
			kill 'KILL', $pid if $pid;
		} ],
	[   'who delivers' => sub {
			my $n = int rand @deliverers;
			$deliverers[$n]->kill_kill;
			$deliverers[$n] = start($deliver, $url, "$dir/mails");
		} ],
	[   'the worker, told to end,' => sub {
			ask("SELECT pg_terminate_backend(pid) FROM eventsource.workers WHERE database = 'log' AND pid IS NOT NULL");
		} ]);

# ---- rounds ----

my @ordered;
for my $round (1 .. $rounds)
{
	my ($victim, $kill) = @{ $victims[ ($round - 1) % @victims ] };

	for my $n (1 .. 4)
	{
		my @new = map { "$round.$n.$_" } 1 .. 10;
		my $events = join ', ', map { my $i = (split /\./)[2]; qq({"stream": "order-$_", "type": "placed", "data": {"n": $i}, "idempotency_key": "$_"}) } @new;
		ask("SELECT count(*) FROM eventsource.append_events('[$events]')");
		push @ordered, @new;
		sleep rand 0.1;
	}
	sleep rand 0.4;
	$kill->();
	ok( wait_until(
			sub { ask("SELECT count(*) FROM eventsource.job WHERE finished_at IS NULL OR run IS NOT NULL") eq '0' }, 120),
		"round $round, $victim killed: all is done");
}
$_->kill_kill for @deliverers, @callers;

# ---- the ledgers against the log ----

sub lines_of { return -e $_[0] ? split /\n/, slurp_file($_[0]) : () }
my @charges = lines_of("$dir/charges");
my @mails = lines_of("$dir/mails");
my %charged_outside = map { $_ => 1 } @charges;
my %mailed_outside = map { $_ => 1 } @mails;
my @bad = grep { (split /\./)[2] % 5 == 0 } @ordered;

is(ask("SELECT string_agg(key, ' ' ORDER BY key COLLATE \"C\") FROM charged"), join(' ', sort @ordered), 'each was charged, once');
is(join(' ', grep { !$charged_outside{$_} } @ordered), '', 'nothing is recorded for which no function was called');
is(ask("SELECT count(*) FROM charged c JOIN eventsource.job j ON j.id = c.job_id WHERE j.stream <> 'order-' || c.key"), '0', 'by its own run');
is(ask("SELECT types || ' ' || count(*) FROM (SELECT string_agg(type, ' ' ORDER BY version) AS types FROM eventsource.events WHERE category = 'stock' GROUP BY stream) s GROUP BY types ORDER BY types"),
	sprintf("reserved refunded released %d\nreserved shipped %d", scalar @bad, @ordered - @bad), 'each step that appends, once, in order');
is(ask("SELECT string_agg(split_part(stream, '-', 2), ' ' ORDER BY stream COLLATE \"C\") FROM eventsource.read_all(0, 1000000) WHERE type = 'released'"),
	join(' ', sort @bad), 'made good are those that were given up');
my @sent = split /\n/, ask("SELECT id FROM eventsource.job WHERE queue = 'mail' AND state = 'done'");
is(scalar @sent, scalar @ordered, 'a message each');
is(join(' ', grep { !$mailed_outside{$_} } @sent), '', 'none is done that was not delivered');
is(ask("SELECT state || ' ' || count(*) FROM eventsource.job WHERE queue = '\$reaction' AND step > 0 GROUP BY state ORDER BY state"),
	sprintf("discarded %d\ndone %d", scalar @bad, @ordered - @bad), 'each run has ended as it should');
note sprintf '%d calls for %d charges, %d deliveries of %d messages', scalar @charges, scalar @ordered, scalar @mails, scalar @sent;
is(problems_of($node, 'log'), '', 'the log is whole');
done_testing();
