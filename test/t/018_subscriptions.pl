# 018_subscriptions.pl: consumers at work while others append, a crash in the middle:
# each event counts once, in order per stream. A waiter is woken. Progress outlives
# dump and restore, and a prepared transaction keeps what it was lent.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_server('consumers', 'eventsource.segment_size = 500',
	'shared_preload_libraries = eventsource', 'eventsource.worker_enabled = off');
my $dir = PostgreSQL::Test::Utils::tempdir;

sub ask
{
	my ($sql) = @_;
	return $node->safe_psql('log', $sql);
}

# ---- consumers, some in one transaction, some in two, some that fail ----

ask(<<'SQL');
CREATE TABLE sink (n bigserial, position bigint, stream text, version bigint);
CREATE TABLE lent (consumer text, position bigint, stream text, version bigint);
SELECT eventsource.create_subscription('work', ARRAY['order'], partitions => 3, max_attempts => 1000000);

-- Poll, write and acknowledge in one transaction; now and then all is undone.
CREATE FUNCTION page(who text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	last bigint;
BEGIN
	WITH p AS (INSERT INTO sink (position, stream, version)
		SELECT p.position, p.stream, p.version FROM eventsource.poll('work', 20, who) p RETURNING *)
	SELECT max(position) INTO last FROM p;
	IF last IS NOT NULL THEN
		PERFORM eventsource.ack('work', last, who);
	END IF;
	IF random() < 0.1 THEN
		RAISE 'changed my mind' USING ERRCODE = 'ZZ999';
	END IF;
EXCEPTION WHEN SQLSTATE 'ZZ999' THEN
END
$$;

-- The same in two: the lease may be over, and others at it, when the second comes.
CREATE FUNCTION lend(who text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM lent WHERE consumer = who;
	INSERT INTO lent SELECT who, p.position, p.stream, p.version FROM eventsource.poll('work', 5, who, '2 milliseconds') p;
END
$$;
CREATE FUNCTION settle(who text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	last bigint := (SELECT max(position) FROM lent WHERE consumer = who);
BEGIN
	IF last IS NULL THEN
		RETURN;
	END IF;
	IF random() < 0.2 THEN
		PERFORM eventsource.nack('work', last, 'bad luck', who);
		RETURN;
	END IF;
	INSERT INTO sink (position, stream, version)
	SELECT position, stream, version FROM lent WHERE consumer = who ORDER BY position;
	PERFORM eventsource.ack('work', last, who);
EXCEPTION WHEN object_not_in_prerequisite_state OR invalid_parameter_value THEN
END
$$;
SQL

my %scripts = (
	append => "\\set n random(1, 20)\nSELECT eventsource.append('order-' || :n, 'placed');\n",
	page => "BEGIN;\nSET LOCAL synchronous_commit = off;\nSELECT page('p' || :client_id);\nEND;\n",
	lend => "SELECT lend('l' || :client_id);\nSELECT settle('l' || :client_id);\n");
for my $name (keys %scripts)
{
	open my $file, '>', "$dir/$name.sql" or die;
	print $file $scripts{$name};
	close $file;
}

sub work
{
	my ($transactions) = @_;
	return [
		'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', 6, '-t', $transactions,
		'-f', "$dir/append.sql\@5", '-f', "$dir/page.sql\@2", '-f', "$dir/lend.sql\@3", 'log' ];
}

command_ok(work(60), 'six clients append and consume');
my ($out, $err) = ('', '');
my $bench = IPC::Run::start(work(100000), '<', \undef, '>', \$out, '2>', \$err);
wait_until(sub { ask('SELECT count(*) > 300 FROM sink') eq 't' });
kill_server($node);
$bench->finish;
$node->start;
command_ok(work(60), 'and after a crash');
wait_until(sub { ask("SELECT page('end')"); ask("SELECT lag FROM eventsource.subscriptions WHERE name = 'work'") eq '0' });

is(ask('SELECT count(*) - count(DISTINCT position) FROM sink'), '0', 'no event counts twice');
is(ask("SELECT count(*) FROM eventsource.events e WHERE category = 'order' AND NOT EXISTS (SELECT FROM sink s WHERE s.position = e.position)"),
	'0', 'each counts once');
is(ask('SELECT count(*) FROM (SELECT version, lag(version) OVER (PARTITION BY stream ORDER BY n) AS before FROM sink) s WHERE version <> coalesce(before, 0) + 1'),
	'0', 'in order per stream');
is(ask("SELECT count(*) FROM eventsource.parked_events"), '0', 'and none is parked');

# ---- who waits is woken ----

my $started = time;
my $waiting = IPC::Run::start([ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-d', 'log', '-c',
		"SELECT eventsource.wait_for_events('work', '60 seconds')" ], '<', \undef, '>', \$out, '2>', \$err);
wait_until(sub { ask("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%wait\\_for%' AND pid <> pg_backend_pid() AND wait_event IS NOT NULL") > 0 });
ask("SELECT eventsource.append('order-1', 'placed')");
$out = '';
$waiting->finish;
is($out, "t\n", 'who waits is told');
cmp_ok(time - $started, '<', 30, 'before the time is over');
ask("SELECT page('end') FROM generate_series(1, 30)");

# ---- who has looked in vain goes on from there, and misses nothing that is final later ----

ask("SELECT eventsource.create_subscription('rare', ARRAY['rare'], from_position => NULL, partitions => 2)");
ask("BEGIN; SELECT eventsource.append('rare-1', 'low'); PREPARE TRANSACTION 'low'");
$started = time;
my @waiting = map {
	my $said = '';
	{   said => \$said,
		run => IPC::Run::start([ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-d', 'log', '-c',
				"SELECT eventsource.wait_for_events('rare', '60 seconds')" ], '<', \undef, '>', \$said) }
} 1 .. 2;
wait_until(sub { ask("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%wait\\_for%' AND pid <> pg_backend_pid() AND wait_event IS NOT NULL") == 2 });
ask("SELECT eventsource.append('order-1', 'placed')") for 1 .. 5;
ask("COMMIT PREPARED 'low'");
ask("SELECT eventsource.append('order-1', 'placed')") for 1 .. 5;
$_->{run}->finish for @waiting;
is(join('', map { ${ $_->{said} } } @waiting), "t\nt\n", 'one is told, and then, as it does not poll, the other one');
cmp_ok(time - $started, '<', 30, 'before the time is over');
is(ask("SELECT type FROM eventsource.poll('rare')"), 'low', 'of what was final later');
ask("SELECT page('end') FROM generate_series(1, 30)");

# ---- who waits while very much is appended, and is told less often, misses nothing ----

ask(<<'SQL');
CREATE TABLE taken (n bigserial, position bigint, stream text, version bigint);
SELECT eventsource.create_subscription('load', ARRAY['load'], partitions => 4);
SQL
my %load = (
	burst => "\\set n random(1, 9)\nSELECT count(eventsource.append('load-' || :n || i, 'placed')) FROM generate_series(1, 50) i;\n",
	take => <<'SQL');
SELECT eventsource.wait_for_events('load', '1 second');
WITH polled AS (SELECT * FROM eventsource.poll('load', 1000)),
	written AS (INSERT INTO taken (position, stream, version) SELECT position, stream, version FROM polled ORDER BY position)
SELECT eventsource.ack('load', max(position)) FROM polled HAVING count(*) > 0;
SQL
for my $name (keys %load)
{
	open my $file, '>', "$dir/$name.sql" or die;
	print $file $load{$name};
	close $file;
}
my @bench = ('pgbench', '-n', '-h', $node->host, '-p', $node->port);
my $takers = IPC::Run::start([ @bench, '-c', 3, '-T', 600, '-f', "$dir/take.sql", 'log' ], '<', \undef, '>', \$out, '2>', \$err);
command_ok([ @bench, '-c', 2, '-t', 40, '-f', "$dir/burst.sql", 'log' ], 'much is appended');
wait_until(sub { ask('SELECT count(*) FROM taken') eq '4000' });
ask("SELECT eventsource.append('load-last', 'placed')");
wait_until(sub { ask('SELECT count(*) FROM taken') eq '4001' });
$takers->signal('INT');
eval { $takers->finish };
is(ask('SELECT count(DISTINCT position) FROM taken'), '4001', 'all of it is taken, once');
is(ask('SELECT count(*) FROM (SELECT version, lag(version) OVER (PARTITION BY stream ORDER BY n) AS before FROM taken) s WHERE version <> coalesce(before, 0) + 1'),
	'0', 'in order per stream');

# ---- a prepared transaction keeps what it was lent ----

ask("SELECT eventsource.append('order-1', 'placed')");
ask("BEGIN; SELECT page('prepared') FROM generate_series(1, 3); PREPARE TRANSACTION 'page'");
my $before = ask('SELECT count(*) FROM sink');
is(ask("SELECT count(*) FROM eventsource.poll('work', consumer => 'x')"), '0', 'a prepared transaction is lent it');
$node->restart;
is(ask("SELECT count(*) FROM eventsource.poll('work', consumer => 'x')"), '0', 'also after a restart');
ask("COMMIT PREPARED 'page'");
is(ask('SELECT count(*) FROM sink') - $before, 1, 'it counts');
is(ask("SELECT count(*) FROM eventsource.poll('work', consumer => 'x')"), '0', 'once');

# ---- dump and restore ----

ask(<<'SQL');
SELECT eventsource.create_subscription('kept', ARRAY['order'], max_attempts => 1);
SELECT eventsource.nack('kept', (SELECT min(position) FROM eventsource.events WHERE category = 'order'), 'bad');
SELECT eventsource.ack('kept', max(position), 'c') FROM eventsource.poll('kept', 30, 'c');
SQL
my $progress = "SELECT s.name, s.position, s.parked, s.partitions, s.lag > 0 FROM eventsource.subscriptions s ORDER BY 1;
	SELECT subscription, partition, position, consumer, attempts FROM eventsource.subscription_partitions ORDER BY 1, 2;
	SELECT subscription, position, error, state FROM eventsource.parked_events";
my $had = ask($progress);
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'pg_dump', '-f', "$dir/dump.sql", 'log' ], 'dumped');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', 'copy', '-f', "$dir/dump.sql" ], 'restored');
is($node->safe_psql('copy', $progress), $had, 'progress is in the dump');
my $next = "SELECT string_agg(position::text, ' ') FROM eventsource.poll('kept', 10)";
is($node->safe_psql('copy', $next), ask($next), 'and goes on from there');

# ---- a consumer that dies of an event, and is started again under its name ----

ask("SELECT eventsource.create_subscription('fragile', ARRAY['order'], max_attempts => 3)");
my $first = "SELECT min(position) FROM eventsource.poll('fragile', 10, 'mail-1', '1 hour')";
my $poison = ask($first);
is(ask($first), $poison, 'another session of that name gets the same') for 1 .. 2;
isnt(ask($first), $poison, 'until it has died of it too often');
is(ask("SELECT position, attempts, error FROM eventsource.parked_events WHERE subscription = 'fragile'"),
	qq($poison|3|consumer "mail-1" began anew without a word on what it had), 'then the event is parked');

# ---- a consumer of several sessions, as through a pool, that acknowledges in part ----

ask("SELECT eventsource.create_subscription('pooled', ARRAY['order'], max_attempts => 1)");
my @positions = split / /, ask("SELECT string_agg(position::text, ' ' ORDER BY position) FROM eventsource.poll('pooled', 4, 'pool', '1 hour')");
my $rest = ask("SELECT eventsource.ack('pooled', $positions[0], 'pool'); SELECT min(position) FROM eventsource.poll('pooled', 4, 'pool', '1 hour')");
is($rest, "\n$positions[1]", 'an acknowledgement is a word, from whichever session');
ask("SELECT eventsource.ack('pooled', $positions[3], 'pool')");
is(ask("SELECT count(*) FROM eventsource.parked_events WHERE subscription = 'pooled'"), 0, 'nothing failed');

is(problems_of($node, 'log'), '', 'the log is whole');
done_testing();
