# Archiving and pruning, a transaction for each segment, beside appends and readers, and
# killed at any moment: nothing is lost, counted in plain SQL.
use strict;
use warnings;

use EventLog;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_server('beside', 'shared_preload_libraries = eventsource', 'eventsource.segment_size = 500', 'deadlock_timeout = 100ms');
my $db = 'log';
my $dir = $node->basedir;
my $batches = 'CALL eventsource.archive_due_in_batches()';

sub value { return $node->safe_psql($db, $_[0]); }

# What has gone and what is left is all that was appended, stream by stream.
sub check_all
{
	my ($name) = @_;
	is( value(
			q{SELECT count(*) FROM eventsource.streams s
			  LEFT JOIN eventsource.pruned_streams p ON p.stream = s.stream
			  LEFT JOIN (SELECT e.stream, count(*) AS n, min(e.version) AS first FROM eventsource.events e GROUP BY 1) e ON e.stream = s.stream
			 WHERE s.category IN ('page', 'order')
			   AND (s.version <> coalesce(p.pruned_events, 0) + coalesce(e.n, 0) OR coalesce(e.first, s.version + 1) <> coalesce(p.pruned_events, 0) + 1)}),
		'0', "$name: what has gone and what is left is all there was");
	is(value(q{SELECT sum(pruned_events) FROM eventsource.pruned_streams}),
		value(q{SELECT sum(pruned_events) FROM eventsource.segments}), "$name: counted both ways");
	is(value('SELECT count(*) FROM eventsource.verify_log()'), '0', "$name: the log verifies");
	is(value(q{SELECT count(*) FROM unnest('{visits,pages}'::regclass[]) p, eventsource.verify_projection(p) v}),
		'0', "$name: projections are the fold of what is left");
	return;
}

value(q{
	CREATE TABLE visits (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0, last bigint);
	SELECT eventsource.create_projection('visits', '{page,order}', '{"viewed": "n = row.n + 1, last = (event.data->>''n'')::bigint"}', key => '{"key": "event.stream"}');
	CREATE TABLE pages (digit text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
	SELECT eventsource.create_projection('pages', '{page}', '{"viewed": "n = row.n + 1"}', key => '{"digit": "event.data->>''digit''"}', mode => 'async');
	SELECT eventsource.set_retention('page', '0', '0', 'disposable');
	SELECT eventsource.set_retention('order', '0', '100 years');
});

# Appends, readers and archiving beside each other.
append_to_file("$dir/append.sql", q{
\set s random(1, 40)
\set n random(1, 1000)
SELECT eventsource.append(CASE WHEN :s > 30 THEN 'order-' ELSE 'page-' END || :s, 'viewed', jsonb_build_object('n', :n, 'digit', :n % 10)) IS NULL;
});
append_to_file("$dir/read.sql", q{
\set s random(1, 40)
SELECT count(*) FROM eventsource.read_stream('page-' || :s);
SELECT count(*) FROM eventsource.read_all(0, 2000);
});
my @benches = map {
	my ($script, $clients) = @$_;
	my $bench = { name => $script, out => '' };
	$bench->{run} = IPC::Run::start([ 'pgbench', '-n', '-c', $clients, '-T', 6, '-f', "$dir/$script.sql", $node->connstr($db) ],
		'<', \undef, '>', \$bench->{out}, '2>&1');
	$bench;
} [ 'append', 3 ], [ 'read', 1 ];
my $calls = 0;
while (grep { $_->{run}->pumpable } @benches)
{
	value("SELECT count(*) FROM eventsource.run_projections(); $batches");
	$calls++;
	$_->{run}->pump_nb for grep { $_->{run}->pumpable } @benches;
}
$_->{run}->finish for @benches;
my ($appended) = $benches[0]{out} =~ /actually processed: (\d+)/;
ok(!$_->{run}->result, "$_->{name} goes on") || diag($_->{out}) for @benches;
unlike($benches[0]{out} . $benches[1]{out}, qr/aborted|ERROR/, 'and none of it fails');
is( value(q{SELECT sum(version) FROM eventsource.streams WHERE category IN ('page', 'order')}),
	$appended, 'what was acknowledged is there');
value("SELECT count(*) FROM eventsource.run_projections(); $batches");
cmp_ok(value(q{SELECT count(*) FROM eventsource.segments WHERE pruned_events > 0}), '>', 2, "pruned meanwhile ($calls calls, $appended events)");
is(value(q{SELECT count(*) FROM eventsource.segments WHERE state = 'full'}), '0', 'and all that is full is archived');
cmp_ok(value(q{SELECT count(*) FROM eventsource.segments WHERE state = 'archived' AND upper_bound > lower_bound + 500}), '>', 0, 'and merged');
check_all('beside others');

# Killed at any moment: what was committed is done, the rest as it was.
for my $round (1 .. 5)
{
	value(q{SELECT count(eventsource.append('page-' || n % 50, 'viewed', jsonb_build_object('n', n, 'digit', n % 10))) FROM generate_series(1, 1500) n});
	value('SELECT count(*) FROM eventsource.run_projections()');
	my $session = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr($db), '-c', $batches ], '<', \undef, '>', \my $out, '2>', \my $err);
	sleep(0.01 + rand 0.25);
	kill_server($node);
	$session->finish;
	$node->start;
	check_all("killed, round $round");
}
value($batches);
is(value(q{SELECT count(*) FROM eventsource.segments WHERE state = 'full'}), '0', 'the next call does the rest');
check_all('after all');

# Not in a transaction of somebody's.
like(error_of($node, $db, "BEGIN; $batches; COMMIT"), qr/2D000/, 'it has transactions of its own');
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'no deadlocks');

# Others who hold a segment do not keep it from the next one.
value(q{SELECT count(eventsource.append('page-1', 'viewed', '{"n": 1, "digit": 1}')) FROM generate_series(1, 2000)});
value('SELECT count(*) FROM eventsource.run_projections()');
my $table = value(q{SELECT table_name FROM eventsource.segments WHERE state = 'full' ORDER BY lower_bound LIMIT 1});
my $reader = $node->background_psql($db, on_error_stop => 0);
$reader->query_safe("BEGIN; SELECT count(*) FROM eventsource.$table");
value($batches);
is(value(q{SELECT table_name FROM eventsource.segments WHERE state = 'full'}), $table, 'one that is read is left for later, the others are done');
$reader->query_safe('COMMIT');
$reader->quit;
value($batches);
is(value(q{SELECT count(*) FROM eventsource.events WHERE category = 'page' AND position < (SELECT min(lower_bound) FROM eventsource.segments WHERE state = 'open')}), '0', 'until that is over');
check_all('at the end');

$node->stop;
done_testing;
