# Segments that become one, beside readers with older snapshots or lists of segments, open
# and prepared transactions, a standby, a dump, and killed at any moment: what is left is
# what was left, in order, and proven.
use strict;
use warnings;

use EventLog;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $node = PostgreSQL::Test::Cluster->new('merged');
my $dir = $node->basedir;
my $verifier = "$ENV{TESTDIR}/tools/verify_log.py";
my $batches = 'CALL eventsource.archive_due_in_batches()';
my $sum = q{SELECT count(*), md5(string_agg(e.position || ' ' || e.stream || ' ' || e.version || ' ' || e.data, ';')) FROM eventsource.read_all(0, 1000000) e WHERE e.category = 'order'};
my $streams = q{SELECT md5(string_agg(s.stream || ' ' || a.versions::text || b.versions::text, ';' ORDER BY s.stream)) FROM eventsource.streams s
	CROSS JOIN LATERAL (SELECT array_agg(version) AS versions FROM eventsource.read_stream(s.stream)) a
	CROSS JOIN LATERAL (SELECT array_agg(version) AS versions FROM eventsource.read_stream(s.stream, backward => true)) b WHERE s.category = 'order'};
my $full = q{SELECT count(*) FROM eventsource.segments WHERE state <> 'open'};

$node->init(allows_streaming => 1, extra => [ '-E', 'UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', join "\n",
	'log_statement = none', 'shared_preload_libraries = eventsource', 'eventsource.worker_enabled = off',
	'max_prepared_transactions = 20', 'eventsource.segment_size = 300', 'allow_in_place_tablespaces = on', 'autovacuum = off');
$node->start;
create_log($node, 'log');

sub value { return $node->safe_psql('log', $_[0]); }

# Nine in ten are pages, which go.
sub fill
{
	my ($count, $db) = @_;
	$node->safe_psql($db // 'log',
		qq{INSERT INTO eventsource.events (stream, type, data)
		SELECT CASE WHEN n % 10 = 0 THEN 'order-' || n % 70 ELSE 'page-' || n % 50 END, 'viewed',
			jsonb_build_object('n', n, 'pad', CASE WHEN n % 100 = 0 THEN (SELECT string_agg(md5((n + i)::text), '') FROM generate_series(1, 200) i) END)
		FROM generate_series(1, $count) n});
	return;
}

sub write_file
{
	my ($name, $text) = @_;
	append_to_file("$dir/$name", "$text\n");
	return "$dir/$name";
}

# What must hold whatever happened.
sub check_log
{
	my ($name, $node, $db) = @_;
	is($node->safe_psql($db, q{SELECT count(*) FROM eventsource.verify_log() WHERE status = 'tampered'}), '0', "$name: the log verifies");
	is($node->safe_psql($db, q{SELECT sum(upper_bound - lower_bound) = max(upper_bound) - 1, bool_and(is_attached) FROM eventsource.segments}),
		't|t', "$name: segments follow each other");
	is($node->safe_psql($db, q{SELECT string_agg(guard || ' ' || detail, ', ') FROM eventsource.check_guards() WHERE NOT is_intact}), '', "$name: guards are where they were");
	return;
}

value(q{
	SELECT eventsource.set_retention('page', '0', '0', 'disposable');
	SELECT eventsource.set_retention('order', '0', class => 'kept');
	SELECT eventsource.create_subscription('feed', '{order}');
});
fill(3100);
my $old = value('SELECT size FROM eventsource.seal()');
value('SELECT eventsource.publish_watermark()');
my $checkpoint = write_file('old', value('SELECT eventsource.checkpoint()'));
my $expected = value($sum);
my $expected_streams = value($streams);
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('merged_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = 100ms');
$standby->start;
my $far = $standby->background_psql('log', on_error_stop => 0);
is($far->query_safe($sum), $expected, 'on a standby');

# Who has a lock on the log keeps neighbours apart, and what was pruned is.
my $open = $node->background_psql('log', on_error_stop => 0);
$open->query_safe(q{BEGIN; SELECT FROM eventsource.events WHERE position > 3090 LIMIT 1});
value($batches);
is(value($full), '10', 'left alone while somebody has read the log');
is(value(q{SELECT count(*) FROM eventsource.segments WHERE pruned_events > 200}), '10', 'but for what had to go');
$open->query_safe('COMMIT');
value(q{BEGIN; SELECT eventsource.append('order-1', 'viewed', '{"n": 0}'); PREPARE TRANSACTION 'late'});
value($batches);
is(value($full), '10', 'or is about to append');
value(q{COMMIT PREPARED 'late'});
$expected = value($sum);
$expected_streams = value($streams);

# Older snapshots and lists of segments, and a batch that is lent.
my $older = $node->background_psql('log', on_error_stop => 0);
my $cached = $node->background_psql('log', on_error_stop => 0);
$older->query_safe(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM eventsource.read_stream('none-1')});
is($cached->query_safe($sum), $expected, 'before');
is($cached->query_safe($streams), $expected_streams, 'before, by stream');
my $lent = value(q{SELECT max(position) FROM eventsource.poll('feed', 20, 'me')});
value('CREATE TABLESPACE archive LOCATION \'\'');
$node->append_conf('postgresql.conf', q{eventsource.archive_tablespace = 'archive'});
$node->reload;
value($batches);
cmp_ok(value($full), '<=', 3, 'merged');
is( value(
		q{SELECT string_agg(c.relname, ' ') FROM pg_class c LEFT JOIN pg_class t ON t.reltoastrelid = c.oid JOIN eventsource.segments s ON s.table_name = c.relname OR c.relname LIKE s.table_name || '\_%' OR t.relname = s.table_name
		WHERE s.upper_bound > s.lower_bound + 300 AND NOT EXISTS (SELECT FROM pg_tablespace p WHERE p.oid = c.reltablespace AND p.spcname = 'archive')}),
	'', 'where the archive is');
for ([ 'a list from before', $cached ], [ 'a snapshot from before', $older ])
{
	my ($name, $session) = @$_;
	is($session->query_safe($sum), $expected, $name);
	is($session->query_safe($streams), $expected_streams, "$name, by stream");
}
$older->query_safe('COMMIT');
$_->quit for $older, $cached, $open;
value(qq{SELECT eventsource.ack('feed', $lent, 'me')});
is(value(q{SELECT min(position) FROM eventsource.poll('feed', 20, 'me')}), value(qq{SELECT min(position) FROM eventsource.events WHERE category = 'order' AND position > $lent}), 'what was lent is acknowledged, and the next ones come');
value('SELECT eventsource.publish_watermark()');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($far->query_safe($sum), $expected, 'on the standby that had another list');
is($far->query_safe($streams), $expected_streams, 'by stream, too');
$far->quit;
check_log('merged', $node, 'log');
$standby->stop;

# Proofs, here and outside.
value('SELECT eventsource.seal()');
is(value(qq{SELECT count(*) FROM eventsource.verify_log(pg_read_file('$checkpoint'))}), '0', 'a checkpoint from before');
$node->safe_psql('log', "\\o $dir/export\nSELECT * FROM eventsource.export_log()");
my $new = write_file('new', value('SELECT eventsource.checkpoint()'));
my $proof = write_file('proof', value(qq{SELECT to_json(ARRAY(SELECT encode(h, 'hex') FROM unnest(eventsource.consistency_proof($old)) h))}));
command_ok([ 'python3', $verifier, 'log', "$dir/export", $checkpoint, $new ], 'verified outside');
command_ok([ 'python3', $verifier, 'consistency', $checkpoint, $new, $proof ], 'and that the one goes on from the other');

# A dump has them as they are.
command_ok([ 'pg_dump', '-f', "$dir/dump.sql", '-d', $node->connstr('log') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/dump.sql", '-d', $node->connstr('copy') ], 'restore');
is($node->safe_psql('copy', $_), value($_), 'restored') for $sum, $streams, 'SELECT lower_bound, upper_bound, table_name, state, pruned_events FROM eventsource.segments';
# So many that hold nothing in front of one that does that these are two runs.
$node->safe_psql('postgres', 'ALTER DATABASE copy SET eventsource.segment_size = 100');
$node->safe_psql('copy', q{INSERT INTO eventsource.events (stream, type) SELECT 'page-' || n % 50, 'viewed' FROM generate_series(1, 4300) n});
fill(300, 'copy');
$expected = $node->safe_psql('copy', $sum);
$node->safe_psql('copy', $batches);
is($node->safe_psql('copy', $sum), $expected, 'restored, appended to, merged');
is( $node->safe_psql('copy', q{SELECT count(*) FROM eventsource.segments s WHERE s.state = 'archived' AND NOT EXISTS (SELECT FROM eventsource.event e WHERE e.position >= s.lower_bound AND e.position < s.upper_bound)}),
	'0', 'none is empty');
cmp_ok($node->safe_psql('copy', q{SELECT count(*) FROM eventsource.segments WHERE table_name <> 'event_' || lower_bound}), '>', 0, 'one got the range in front of it');
check_log('restored, appended to, merged', $node, 'copy');
is($node->safe_psql('copy', qq{SELECT count(*) FROM eventsource.verify_log(pg_read_file('$checkpoint'))}), '0', 'which is what it was');

# Killed at any moment.
for my $round (1 .. 3)
{
	fill(1500);
	my @before = (value($sum), value($streams));
	my $session = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('log'), '-c', $batches ], '<', \undef, '>', \my $out, '2>', \my $err);
	sleep(0.05 + rand 0.3);
	kill_server($node);
	$session->finish;
	$node->start;
	is_deeply([ value($sum), value($streams) ], \@before, "killed, round $round: what is left is what was left");
	check_log("killed, round $round", $node, 'log');
}
value($batches);
is(value(q{SELECT count(*) FROM eventsource.events WHERE category = 'page' AND position < (SELECT min(lower_bound) FROM eventsource.segments WHERE state = 'open')}), '0', 'in the end all is done');
is( value(
		q{SELECT count(*) FROM (SELECT a.events + lead(a.events) OVER w AS together, greatest(a.events, lead(a.events) OVER w) AS more FROM eventsource.archive a WINDOW w AS (ORDER BY a.lower_bound)) n
		WHERE together <= 300 AND more <= 2 * (together - more)}),
	'0', 'and none could be merged');
check_log('in the end', $node, 'log');
is(value(qq{SELECT count(*) FROM eventsource.verify_log(pg_read_file('$checkpoint'))}), '0', 'of which the first checkpoint still holds');
unlike(slurp_file($node->logfile), qr/deadlock detected|PANIC|TRAP/, 'no deadlock, no crash of its own');

$node->stop;
done_testing;
