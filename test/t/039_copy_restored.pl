# 039_copy_restored.pl: a copy of a category that was begun goes on after dump and restore,
# with its mapping, each event once, and carries corrections over to copies made before.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('copy_restored', 'fsync = off');

$node->safe_psql('log', <<'SQL');
SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'old-' || i % 7, 'type', (ARRAY['made', 'noise'])[1 + i % 2], 'data', jsonb_build_object('n', i))) FROM generate_series(1, 100) i));
SELECT eventsource.copy_category('old', 'new', '{"noise": null, "made": {"type": "built", "data": "jsonb_build_object(''m'', event.data -> ''n'')"}}', 60);
SQL

my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-f', $dump, 'log' ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-o', '/dev/null', '-f', $dump, 'restored' ], 'restored');

is($node->safe_psql('restored', 'SELECT from_category, to_category, status FROM eventsource.category_copies'), 'old|new|behind', 'it is still there');
$node->safe_psql('restored', <<'SQL');
SELECT count(*) FROM eventsource.correct_event((SELECT min(position) FROM eventsource.events WHERE category = 'old' AND type = 'made'), '{"n": -1}', 'typo', 'joe');
SELECT eventsource.copy_category('old', 'new');
SQL
is($node->safe_psql('restored', <<'SQL'), '0|0', 'each once, mapped, in order');
WITH want AS (SELECT 'new-' || key, row_number() OVER (PARTITION BY key ORDER BY position), data ->> 'n' FROM eventsource.events WHERE category = 'old' AND type = 'made'),
	 have AS (SELECT stream, version, data ->> 'm' FROM eventsource.events WHERE category = 'new' AND type = 'built')
SELECT (SELECT count(*) FROM (TABLE want EXCEPT ALL TABLE have) x), (SELECT count(*) FROM (TABLE have EXCEPT ALL TABLE want) x)
SQL
is($node->safe_psql('restored', q{SELECT data FROM eventsource.events WHERE category = 'new' AND type = 'event_corrected'}), '{"m": -1}', 'a correction, too');
is(problems_of($node, 'restored'), '', 'the log is whole');
$node->stop;
done_testing();
