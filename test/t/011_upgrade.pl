# 011_upgrade.pl: pg_upgrade keeps the log, its guards and its identity.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = new_server('old', 'eventsource.segment_size = 200');

$old->safe_psql('log', <<'SQL');
CREATE TABLE counter (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('counter', '{order}', '{"*": "n = row.n + 1"}');
SQL
$old->safe_psql('log', "SELECT eventsource.append('order-' || i % 7, 'placed', jsonb_build_object('i', i), idempotency_key => i::text) FROM generate_series(1, 500) i");
my $events = $old->safe_psql('log', 'SELECT md5(string_agg(e::text, e.position::text ORDER BY position)) FROM eventsource.events e');
$old->safe_psql('log', 'SELECT eventsource.seal()');
my $checkpoint = $old->safe_psql('log', 'SELECT eventsource.checkpoint()') . "\n";
my $id = $old->safe_psql('log', 'SELECT eventsource.log_id()');
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(extra => [ '-E', 'UTF8', '--locale=C' ]);
my $bin = $old->config_data('--bindir');
chdir $PostgreSQL::Test::Utils::tmp_check or die;
command_ok(
	[   'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $bin, '-B', $bin,
		'-s', $new->host, '-p', $old->port, '-P', $new->port
	],
	'pg_upgrade');
$new->start;
is($new->safe_psql('log', 'SELECT md5(string_agg(e::text, e.position::text ORDER BY position)) FROM eventsource.events e'),
	$events, 'every event is there');
is($new->safe_psql('log', 'SELECT eventsource.log_id()'), $id, 'it is the same log');
is($new->safe_psql('log', "SELECT * FROM eventsource.verify_log(\$c\$$checkpoint\$c\$)"), '', 'it continues its checkpoint');
is($new->safe_psql('log', "SELECT version FROM eventsource.append('order-1', 'placed')"), 73, 'appending goes on');
is(problems_of($new, 'log'), '', 'nothing is wrong with the log');
$new->stop;
done_testing();
