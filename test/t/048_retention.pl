# Retention through faults: kill -9 in the middle of archive_due(), a dump and its
# restore, the worker that does it, an archive tablespace, appends and readers meanwhile.
use strict;
use warnings;

use EventLog;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_server('retention', 'shared_preload_libraries = eventsource', 'eventsource.segment_size = 1000',
	'allow_in_place_tablespaces = on');
my $db = 'log';

sub value { return $node->safe_psql($db, $_[0]); }

# What must hold whatever happened.
sub check_log
{
	my ($name) = @_;
	is(value('SELECT count(*) FROM eventsource.verify_log()'), '0', "$name: the log verifies");
	is(value(q{SELECT count(*) FROM eventsource.verify_projection('visits')}), '0',
		"$name: the projection is what is left");
	is( value(
			q{SELECT count(*) FROM eventsource.segments s WHERE s.state = 'archived' AND NOT EXISTS
			(SELECT FROM eventsource.summary m WHERE m.lower_bound = s.lower_bound)}),
		'0', "$name: whatever is archived has summaries");
	return;
}

sub fill
{
	my ($from, $count) = @_;
	value(
		qq{INSERT INTO eventsource.events (stream, type, data)
		SELECT CASE WHEN n % 4 = 0 THEN 'order-' || n % 10 ELSE 'page-' || n % 50 END, 'viewed',
			jsonb_build_object('n', n, 'pad', CASE WHEN n % 100 = 0 THEN (SELECT string_agg(md5((n + i)::text), '') FROM generate_series(1, 200) i) END)
		FROM generate_series($from, $from + $count - 1) n});
	return;
}

value(q{
	CREATE TABLE visits (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
	SELECT eventsource.create_projection('visits', '{page,order}', '{"viewed": "n = row.n + 1"}', key => '{"key": "event.stream"}');
	SELECT eventsource.set_retention('page', '0', '0', 'disposable');
	SELECT eventsource.set_retention('order', '0', class => 'kept');
});
fill(1, 3500);
my $checkpoint = value('SELECT eventsource.seal(); SELECT eventsource.checkpoint()');
$checkpoint =~ s/^\(.*\)\n//;
check_log('before');

# Killed in the middle, at moments that differ.
for my $round (1 .. 4)
{
	my $session = IPC::Run::start(
		[ 'psql', '-X', '-d', $node->connstr($db), '-c', 'BEGIN; SELECT count(*) FROM eventsource.archive_due(); SELECT pg_sleep(100)' ],
		'<', \undef, '>', \my $out, '2>', \my $err);
	sleep(0.04 * $round);
	kill_server($node);
	$session->finish;
	$node->start;
	is(value(q{SELECT count(*) FROM eventsource.segments WHERE state = 'archived'}),
		'0', "round $round: nothing was done");
	is(value(q{SELECT count(*) FROM eventsource.events WHERE category IN ('page', 'order')}),
		'3500', "round $round: nothing is gone");
}
check_log('after kill -9');

# Done, into a tablespace of its own, while others append to streams that lose their heads.
value('CREATE TABLESPACE archive LOCATION \'\'');
$node->append_conf('postgresql.conf', q{eventsource.archive_tablespace = 'archive'});
$node->reload;
my @writers = map {
	my $session = $node->background_psql($db, on_error_stop => 0);
	$session->query_until(qr/begun/, "\\echo begun\nSELECT count(eventsource.append('page-' || n % 50, 'viewed')) FROM generate_series(1, 300) n;\n");
	$session;
} 1 .. 2;
ok(wait_until(sub {
	my ($out, $err) = ('', '');
	$node->psql($db, 'SELECT count(*) FROM eventsource.archive_due()', stdout => \$out, stderr => \$err) == 0;
}), 'archived while others append');
$_->quit for @writers;
is(value(q{SELECT count(*) >= 3, bool_and(pruned_events > 0) FROM eventsource.segments WHERE state = 'archived'}),
	't|t', 'all that are full');
my $end = value(q{SELECT max(upper_bound) FROM eventsource.segments WHERE state = 'archived'});
is( value(
		q{SELECT count(*) = 3 * count(DISTINCT s.lower_bound) FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace JOIN eventsource.segments s
		ON s.table_name = c.relname OR c.relname LIKE s.table_name || '\_%' WHERE s.state = 'archived' AND t.spcname = 'archive'}),
	't', 'with their indexes in the tablespace');
is(value(q{SELECT sum(total_events) FROM eventsource.event_summaries WHERE category = 'order'}),
	value(qq{SELECT count(*) FROM eventsource.events WHERE category = 'order' AND position < $end}), 'orders are all there, and summarised');
is( value(
		qq{SELECT count(*) FROM eventsource.streams s WHERE s.category = 'page' AND s.version <> (SELECT m.total_events FROM eventsource.event_summaries m WHERE m.subject = s.stream)
		+ (SELECT count(*) FROM eventsource.events e WHERE e.stream = s.stream AND e.position >= $end)}),
	'0', 'no event was lost between the segments and their summaries');
check_log('archived');
is(value(qq{SELECT count(*) FROM eventsource.verify_log('$checkpoint')}), '0', 'a checkpoint from before holds');

# A dump has all of it.
my $dump = $node->backup_dir . '/dump.sql';
command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr($db) ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('copy') ], 'restore');
for my $query (
	'SELECT count(*), sum(total_events) FROM eventsource.event_summaries',
	'SELECT lower_bound, state, pruned_events FROM eventsource.segments WHERE pruned_events > 0 ORDER BY 1',
	'SELECT stream, version, state FROM eventsource.streams WHERE category IN (\'page\', \'order\') ORDER BY 1')
{
	is($node->safe_psql('copy', $query), value($query), "restored: $query");
}
is($node->safe_psql('copy', qq{SELECT count(*) FROM eventsource.verify_log('$checkpoint')}), '0', 'the copy verifies');
is($node->safe_psql('copy', q{SELECT eventsource.append('page-1', 'viewed') IS NULL}), 'f', 'and goes on');
is( $node->safe_psql('copy', q{SELECT version - 1 FROM eventsource.streams WHERE stream = 'page-1'}),
	value(q{SELECT version FROM eventsource.streams WHERE stream = 'page-1'}), 'where the other was');

# The worker does it by itself.
fill(5000, 2000);
$node->append_conf('postgresql.conf', 'eventsource.worker_enabled = on');
$node->restart;
ok(wait_until(sub { value(q{SELECT count(*) FROM eventsource.segments WHERE state = 'archived'}) >= 5 }),
	'the worker archives what is due');
ok(wait_until(sub { value(q{SELECT count(*) FROM eventsource.segments WHERE state = 'archived' AND pruned_events = 0}) == 0 }),
	'and takes away what has expired');
check_log('worker');

$node->stop;
done_testing;
