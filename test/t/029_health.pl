# 029_health.pl: health() where there is nothing to look at, or little that one may
# see: an empty store, a plain reader, a standby.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('health', 'wal_level = replica', 'max_wal_senders = 4', 'hot_standby = on');
my $not_healthy = q(SELECT coalesce(string_agg("check" || ': ' || message, '; '), 'none') FROM eventsource.health() WHERE status <> 'healthy');

# ---- nothing is there ----

is($node->safe_psql('log', $not_healthy), 'none', 'a store before its first event is healthy');
is($node->safe_psql('log', 'SELECT status FROM eventsource.health_status'), 'healthy', 'in one row as well');
is($node->safe_psql('log', q(SELECT value FROM eventsource.metrics WHERE metric = 'watermark')), 0, 'its watermark is 0');
is($node->safe_psql('log', 'SELECT eventsource.log_id() IS NULL'), 't', 'and asking opened nothing');

# ---- a plain reader, in a session that has done nothing else ----

$node->safe_psql('log', <<'SQL');
CREATE ROLE reader LOGIN;
SELECT eventsource.grant_reader('reader');
CREATE TABLE counter (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('counter', '{order}', '{"*": "n = row.n + 1"}');
SELECT eventsource.create_subscription('mail', from_position => NULL);
SELECT eventsource.append('order-' || i % 7, 'made') FROM generate_series(1, 50) i;
SQL

sub as_reader
{
	my ($server, $sql) = @_;
	return $server->safe_psql('log', $sql, extra_params => [ '-U', 'reader' ]);
}

# A worker makes the segments ahead, which nobody waits for.
wait_until(sub { return as_reader($node, $not_healthy) eq 'none' });
is(as_reader($node, $not_healthy), 'none', 'a reader who may not read the projection');
cmp_ok(as_reader($node, 'SELECT count(*) FROM eventsource.metrics'), '>', 5, 'reads the metrics');

# ---- others who are open, as a reader sees them ----

$node->safe_psql('log', "BEGIN; SELECT eventsource.append('order-p', 'made'); PREPARE TRANSACTION 'left'");
my $held = as_reader($node, <<'SQL');
SET eventsource.max_feed_lag = 0;
SELECT status, message FROM eventsource.health() WHERE "check" = 'feed lag'
SQL
like($held, qr/^degraded\|.* position\(s\) behind, held by prepared transaction 'left' /,
	'a forgotten prepared transaction is named');
$node->safe_psql('log', "COMMIT PREPARED 'left'");

# ---- what follows the log ----

$node->safe_psql('log', <<'SQL');
CREATE TABLE total (type text PRIMARY KEY, n bigint NOT NULL DEFAULT 0, CONSTRAINT few CHECK (n < 60));
SELECT eventsource.create_projection('total', '{order}', '{"*": "n = row.n + 1"}', key => '{"type": "event.type"}');
CREATE TABLE mirror (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('mirror', '{order}', '{"*": "n = row.n + 1"}', mode => 'async',
	settings => '{"max_lag": "1 ms"}');
CREATE FUNCTION look(event eventsource.events) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
SELECT eventsource.create_handler('look', '{order}', 'look(eventsource.events)');
SELECT * FROM eventsource.run_projections();
SQL
is($node->safe_psql('log', $not_healthy), 'none', 'projections and a handler that have come to the end');
$node->safe_psql('log', "SELECT eventsource.append('order-' || i % 7, 'made') FROM generate_series(1, 20) i");
is( $node->safe_psql('log', q(SELECT string_agg("check", ',' ORDER BY "check") FROM eventsource.health() WHERE status = 'degraded')),
	'projection public.mirror',
	'one is late by its own measure; its rows are right, as far as it has come');
$node->safe_psql('log', 'SELECT * FROM eventsource.run_projections()');
like(
	$node->safe_psql('log', $not_healthy),
	qr/^projection public.total: parked since .* at position [0-9]+ \(23514\) .*few[^;]*$/,
	'one that failed is said to be parked, and why');
like(
	as_reader($node, $not_healthy),
	qr/^projection public.total: parked since .* \(23514\)$/,
	'to one who may not read its table, not with what');
is($node->safe_psql('log', q(SELECT value FROM eventsource.metrics WHERE metric = 'projection_parked{public.total}')),
	1, 'the metrics have it');
$node->safe_psql('log', "ALTER TABLE total DROP CONSTRAINT few; SELECT eventsource.resume_projection('total')");
$node->safe_psql('log', 'SELECT * FROM eventsource.run_projections()');

# ---- a standby ----

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('health_standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('log', q(SELECT status FROM eventsource.health() WHERE "check" = 'feed lag')),
	'unknown', 'a standby without a published watermark');
$node->safe_psql('log', 'SELECT eventsource.publish_watermark()');
$node->wait_for_catchup($standby);
is($standby->safe_psql('log', $not_healthy), 'none', 'a standby with one');
is( $standby->safe_psql('log', q(SELECT value FROM eventsource.metrics WHERE metric = 'watermark')),
	$node->safe_psql('log', 'SELECT eventsource.watermark()'),
	'shows it');
$standby->stop;

# ---- the worker ----

my $worker_says = q(SELECT status, message FROM eventsource.health() WHERE "check" = 'worker');
is($node->safe_psql('log', $worker_says), '', 'where no worker is meant to be, none is missed');
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = eventsource\neventsource.worker_enabled = on\neventsource.worker_interval = 100ms");
$node->restart;
ok(wait_until(sub { $node->safe_psql('log', $worker_says) =~ /^healthy\|process [0-9]+ is running$/ }),
	'one that runs is healthy');
is(as_reader($node, $not_healthy), 'none', 'to a reader, too');
my ($worker) = processes_of($node, qr/eventsource worker/);
kill 'TERM', $worker;
ok(wait_until(sub { $node->safe_psql('log', $worker_says) =~ /^degraded\|it has ended, and is started anew/ }),
	'one that ended is missed');
$node->stop;
done_testing();
