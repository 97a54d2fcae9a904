# 027_torture.pl: the feed under everything that happens to one. Writers commit
# their positions in any order, take them back in whole or in part, prepare them,
# and are killed; strangers sit in old transactions, in this database and in
# another. Whoever reads the feed gets every committed event, in order within each
# stream, once per committed checkpoint, and waits for no stranger.
#
# The two ways to read a table of events that one finds everywhere read the same log
# at the same time, and must fail, or this test shows nothing: "position > last"
# skips, "xid < pg_snapshot_xmin" waits for strangers.
#
# ES_TORTURE_SECONDS is the length of the run, ES_TORTURE_SEED the dice.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Torture;

my $seconds = $ENV{ES_TORTURE_SECONDS} || 8;
my $seed = $ENV{ES_TORTURE_SEED} || time;
my $writers = 8;
my $consumers = 4;
my @ours = qw(read_all together apart holding);
my @readers = (@ours, qw(position xid));
srand($seed);
note "ES_TORTURE_SEED=$seed";

my $node = new_server(
	'torture',
	'shared_preload_libraries = eventsource',
	'eventsource.segment_size = 1000',
	'deadlock_timeout = 50ms',    # writers meet in two streams
	'track_commit_timestamp = on',
	'max_connections = 60');
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
$node->safe_psql($_, 'CREATE TABLE unrelated (n int)') for 'log', 'elsewhere';
$node->safe_psql('log', slurp_file(($ENV{TESTDIR} // '.') . '/test/torture/setup.sql'));
$node->safe_psql('log', "SELECT eventsource.append('order-0', 'made')");
$node->safe_psql('log', "INSERT INTO torture.checkpoint (reader) VALUES ('$_')")
  for qw(read_all position xid);

# ---- the run ----

# Each has an id of a transaction and an old snapshot, and does nothing any more.
my @strangers =
  map { start_stranger($node, $_, 'INSERT INTO unrelated VALUES (1)') } 'log', 'elsewhere';
my $stranger_xid = $node->safe_psql('log', 'SELECT pg_snapshot_xmin(pg_current_snapshot())');

my @crowds = (
	start_crowd($node, 'writer', $writers, $seconds, streams => 40, pause => 60),
	start_crowd($node, 'consumer', $consumers, $seconds, reader => 'read_all', levels => 3),
	start_crowd($node, 'consumer', $consumers, $seconds, reader => 'together', levels => 3),
	start_crowd($node, 'borrower', $consumers, $seconds),
	start_crowd($node, 'consumer', $consumers, $seconds, reader => 'holding', levels => 3),
	start_crowd($node, 'redriver', 1, $seconds),
	map { start_crowd($node, 'consumer', 1, $seconds, reader => $_, levels => 1) } 'position', 'xid');

my $killed = 0;
my $end = time + $seconds;
while (time < $end)
{
	sleep 0.05 + rand 0.2;
	$killed += $node->safe_psql('log', <<'SQL');
SELECT count(pg_terminate_backend(pid))
  FROM (SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'torture %' AND state <> 'idle'
		 ORDER BY random() LIMIT 1) victim
SQL
	settle_prepared($node, 0.5);
}
finish_crowd($_) for @crowds;
settle_prepared($node, 0);

# ---- the end: strangers are still there ----

# Lets a reader read until it finds nothing more; what it made of the log. What a
# borrower took with it is to be had when its lease is over.
my %counts;
sub judge
{
	my ($reader) = @_;
	sleep 0.3 if $reader eq 'apart';
	# Each of this one's pages costs a look at all events.
	my $page = $reader eq 'xid' ? 1000000 : 1000;
	my $is_over = $reader eq 'holding' ? 'torture.redrive(NULL, false) = 0' : 'true';
	$node->safe_psql('log', <<"SQL");
DO 'BEGIN LOOP
	WHILE torture.take_$reader($page) IS NOT NULL LOOP COMMIT; END LOOP;
	EXIT WHEN $is_over;
END LOOP; END'
SQL
	my @values = split /\|/, $node->safe_psql('log', "SELECT * FROM torture.judge('$reader')");
	@{ $counts{$reader} }{qw(committed delivered skipped twice unknown out_of_order)} = @values;
	note "$reader: ", join ', ', map { "$_ $counts{$reader}{$_}" } sort keys %{ $counts{$reader} };
	return $counts{$reader};
}

judge($_) for @readers;
note "$killed backends killed; latency from commit to delivery, p50, p99, max in ms: ",
  $node->safe_psql('log', <<'SQL');
SELECT string_agg(reader || ' ' || times::text, '; ')
  FROM (SELECT reader, (percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY greatest(ms, 0)))::int[] AS times
		  FROM (SELECT reader, extract(epoch FROM d.at - pg_xact_commit_timestamp(e.xmin)) * 1000 AS ms
				  FROM torture.delivered d JOIN eventsource.event e USING (position)) l
		 GROUP BY reader) r
SQL

my %faults = map { $_ => 0 } qw(skipped twice unknown out_of_order);
for my $reader (@ours)
{
	my $counts = $counts{$reader};
	is_deeply({ map { $_ => $counts->{$_} } keys %faults },
		\%faults, "$reader: every committed event delivered once, in order per stream, while strangers sit");
	cmp_ok($counts->{delivered}, '>', 20 * $seconds, "$reader: there was load");
}
cmp_ok($node->safe_psql('log', "SELECT count(*) FROM eventsource.events WHERE type = 'event_redriven'"),
	'>', $seconds, 'events were parked and redriven');
cmp_ok($killed, '>', 2, 'backends were killed');
cmp_ok(
	$node->safe_psql('log', "SELECT count(*) FROM eventsource.events WHERE type = 'prepared'"),
	'>', 0, 'prepared transactions took part');

cmp_ok($counts{position}{skipped}, '>', 0, 'a reader of "position > last" skips events for good');
is( $node->safe_psql('log', <<"SQL"), 0,
SELECT count(*) FROM torture.delivered d JOIN eventsource.event e USING (position)
 WHERE d.reader = 'xid' AND e.xmin::text::bigint > $stranger_xid
SQL
	'a reader of "xid < pg_snapshot_xmin" got nothing written since a stranger came');
cmp_ok($counts{xid}{skipped}, '>', 20 * $seconds, 'all of it');

finish_stranger($_) for @strangers;
is(judge('xid')->{skipped}, 0, 'when they are gone it gets there');

is(problems_of($node, 'log'), '', 'nothing is wrong with the log');
$node->stop;
done_testing();
