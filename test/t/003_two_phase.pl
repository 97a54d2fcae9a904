# 003_two_phase.pl: appends in prepared transactions. Until it is decided, a
# prepared transaction holds the watermark below its events and the lock of its
# streams, also over a crash; then it is as if it had been an ordinary one.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('prepared', 'eventsource.segment_size = 200',
	'shared_preload_libraries = eventsource');
my $has_projections = has_function($node, 'log', 'create_projection');

$node->safe_psql('log', <<'SQL');
CREATE TABLE counter (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0, last bigint);
SQL
$node->safe_psql('log', <<'SQL') if $has_projections;
SELECT eventsource.create_projection('counter', ARRAY['order'],
	jsonb_build_object('*', $$ n = row.n + 1, last = event.version $$));
SQL
$node->safe_psql('log', "SELECT eventsource.append('order-1', 'placed')");

sub watermark { return $node->safe_psql('log', 'SELECT eventsource.watermark()') }
sub version { return $node->safe_psql('log', "SELECT eventsource.stream_version('$_[0]')") }
sub fed { return $node->safe_psql('log', "SELECT count(*) FROM eventsource.read_all(0, NULL) WHERE category = 'order'") }

sub counter_of
{
	my ($key) = @_;
	return $node->safe_psql('log', "SELECT n || ' ' || last FROM counter WHERE key = '$key'");
}

# ---- the session that prepares: its caches hold words and streams that may never be ----

my $session = $node->background_psql('log');

sub in_session
{
	my ($sql) = @_;
	my $out = $session->query_safe($sql);
	chomp $out;
	return $out;
}

in_session(<<'SQL');
BEGIN;
SELECT eventsource.append('order-1', 'paid', '{"n": 1}', reason => 'new word 1', idempotency_key => 'k1');
SELECT eventsource.append('order-2', 'first of its type 1', '{"n": 2}');
SELECT count(eventsource.append('order-3', 'placed')) FROM generate_series(1, 500);
PREPARE TRANSACTION 'to be committed';
SQL
in_session(<<'SQL');
BEGIN;
SELECT eventsource.append('order-4', 'first of its type 2', '{"n": 3}', reason => 'new word 2');
SAVEPOINT s;
SELECT eventsource.append('order-5', 'first of its type 3');
RELEASE s;
PREPARE TRANSACTION 'to be rolled back';
SQL
my $mark = watermark();
my $before = fed();
is($before, 1, 'what is prepared is not in the feed');

# What was met in a prepared transaction must be met again.
is( in_session(<<'SQL'), "1\ntrue|true|false", 'the session goes on, words and streams right');
SELECT version FROM eventsource.append('order-6', 'first of its type 2', reason => 'new word 2');
SELECT bool_and(type = 'first of its type 2' AND reason = 'new word 2') || '|' ||
	   (count(*) = 1) || '|' || bool_or(stream IS NULL) FROM eventsource.events WHERE stream = 'order-6';
SQL
is(watermark(), $mark, 'the watermark stays below what is prepared');
is( $node->safe_psql('log', 'SELECT gid, pid IS NULL, lower_bound > eventsource.watermark() FROM eventsource.open_appenders WHERE holds_watermark'),
	'to be committed|t|t',
	'and open_appenders says which one it is');
is(fed(), $before, 'and so does the feed');

# ---- its streams are locked, others are not ----

like(error_of($node, 'log', "SET lock_timeout = '200ms'; SELECT eventsource.append('order-1', 'paid')"),
	qr/ERROR:  55P03:/, 'a prepared stream waits');
like(error_of($node, 'log', "SET lock_timeout = '200ms'; SELECT eventsource.append('order-4', 'paid')"),
	qr/ERROR:  55P03:/, 'a new prepared stream waits');
is($node->safe_psql('log', "SELECT version FROM eventsource.append('order-7', 'placed')"),
	1, 'another stream does not');

# ---- over restarts ----

for my $mode ('fast', 'immediate')
{
	$session->quit;
	$node->stop($mode);
	$node->start;
	$session = $node->background_psql('log');
	cmp_ok(watermark(), '<=', $mark, "$mode restart: the watermark is held");
	cmp_ok(fed(), '<=', $before, "$mode restart: the feed is held");
	like(error_of($node, 'log', "SET lock_timeout = '200ms'; SELECT eventsource.append('order-1', 'paid')"),
		qr/ERROR:  55P03:/, "$mode restart: a prepared stream waits");
	is( $node->safe_psql('log', "SELECT version > 0 FROM eventsource.append('order-8', 'placed')"),
		't', "$mode restart: another stream does not");
	is($node->safe_psql('log', "SELECT count(*) FROM eventsource.verify_chain()"), 0, "$mode restart: the chain");
}

# ---- decided ----

in_session("COMMIT PREPARED 'to be committed'");
is(version('order-1'), 2, 'committed: its events are there');
is(version('order-3'), 500, 'committed: over several segments');
is( $node->safe_psql('log',
		"SELECT version, is_duplicate FROM eventsource.append('order-1', 'paid', '{\"n\": 1}', reason => 'new word 1', idempotency_key => 'k1')"
	),
	'2|t',
	'committed: so is its key');
is(version('order-4'), 0, 'the other one still waits');
cmp_ok(watermark(), '>', $mark, 'the watermark moves on');
my $middle = fed();
cmp_ok($middle, '>=', 503, 'the feed moves on to the next prepared one');
is($node->safe_psql('log', "SELECT count(*) FROM eventsource.read_all(0, NULL) WHERE stream = 'order-6'"),
	0, 'but no further');

in_session("ROLLBACK PREPARED 'to be rolled back'");
is(version('order-4'), 0, 'rolled back: nothing of it is there');
is( $node->safe_psql('log', "SELECT count(*) FROM eventsource.read_all(0, NULL) WHERE stream = 'order-6'"),
	1, 'the feed moves on to the end');
is(in_session("SELECT version FROM eventsource.append('order-4', 'first of its type 2')"),
	1, 'the stream that was never made is made');
is(in_session("SELECT version FROM eventsource.append('order-1', 'sent', expected_version => 2)"),
	3, 'the stream goes on');

if ($has_projections)
{
	is(counter_of('1'), '3 3', 'projection: a prepared event and later ones');
	is(counter_of('3'), '500 500', 'projection: many prepared events');
	is(counter_of('4'), '1 1', 'projection: nothing of what was rolled back');
	is(counter_of('5'), '', 'projection: no row of what was rolled back');
}

# ---- the first append of a database, prepared and rolled back ----

create_log($node, 'fresh');
is( $node->safe_psql('fresh', <<'SQL'), "1\n1", 'a log opened by a prepared append that is rolled back');
BEGIN;
SELECT FROM eventsource.append('order-1', 'placed');
PREPARE TRANSACTION 'first';
ROLLBACK PREPARED 'first';
SELECT version FROM eventsource.append('order-1', 'placed');
SELECT count(*) FROM eventsource.events;
SQL

# ---- a wide lock, prepared ----

$node->safe_psql('log', <<'SQL');
BEGIN;
SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'many-' || i, 'type', 'made'))
	FROM generate_series(1, 1500) i));
PREPARE TRANSACTION 'wide';
SQL
like(error_of($node, 'log', "SET lock_timeout = '200ms'; SELECT eventsource.append('order-9', 'placed')"),
	qr/ERROR:  55P03:/, 'a prepared wide lock holds everybody');
$node->safe_psql('log', "COMMIT PREPARED 'wide'");
is(version('many-1500'), 1, 'until it is decided');

$session->quit;
is(problems_of($node, 'log'), '', 'the log is whole');
is(problems_of($node, 'fresh'), '', 'the fresh log is whole');
$node->stop;
done_testing;
