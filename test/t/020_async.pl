# 020_async.pl: async projections and handlers beside writers who commit late, roll
# back and correct, with several sessions running them at once; over PREPARE, and
# through dump and restore. Rows are what plain SQL makes of the log, and a handler
# was called with each event once, in order.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('async', 'max_prepared_transactions = 10', 'eventsource.segment_size = 500');
my $dir = PostgreSQL::Test::Utils::tempdir;

sub sql { return $node->safe_psql('log', $_[0]) }

sql(<<'SQL');
CREATE TABLE total (account text PRIMARY KEY, n int NOT NULL DEFAULT 0, sum numeric NOT NULL DEFAULT 0, trail text NOT NULL DEFAULT '');
CREATE TABLE newest (key text PRIMARY KEY, at bigint);
CREATE TABLE call (n bigint GENERATED ALWAYS AS IDENTITY, at bigint UNIQUE);
CREATE FUNCTION note_call(e eventsource.events) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.call (at) VALUES (e.position) $$;
SELECT eventsource.create_projection('total', '{move}', jsonb_build_object('moved',
	$$ n = row.n + 1, sum = row.sum + (event.data->>'amount')::numeric, trail = right(row.trail || event.position || ' ', 200) $$),
	'{"account": "event.data->>''account''"}', settings => '{"max_batch": 20}');
SELECT eventsource.create_projection('newest', '{move}', '{"*": "at = event.position"}', mode => 'async');
SELECT eventsource.create_handler('note', '{move}', 'note_call(eventsource.events)', settings => '{"max_batch": 7}');
SQL

# What plain SQL makes of the log as corrected; rows in which it and the table differ.
my $differences = <<'SQL';
WITH c AS MATERIALIZED (SELECT DISTINCT ON (at) (metadata->>'corrects')::bigint AS at, type, data
	FROM eventsource.events WHERE category = 'move' AND metadata ? 'corrects' ORDER BY at, position DESC),
e AS MATERIALIZED (SELECT e.position, e.key, CASE WHEN c.type = 'event_corrected' THEN c.data ELSE e.data END AS data
	FROM eventsource.events e LEFT JOIN c ON c.at = e.position
	WHERE e.category = 'move' AND e.type = 'moved' AND c.type IS DISTINCT FROM 'event_voided'),
totals AS (SELECT data->>'account' AS account, count(*)::int AS n, sum((data->>'amount')::numeric) AS sum,
	right(string_agg(position || ' ', '' ORDER BY position), 200) AS trail FROM e GROUP BY 1),
newests AS (SELECT key, max(position) AS at FROM e GROUP BY key)
SELECT (SELECT count(*) FROM total t FULL JOIN totals o ON to_jsonb(o) = to_jsonb(t) WHERE o IS NULL OR t IS NULL)
	|| ' ' || (SELECT count(*) FROM newest t FULL JOIN newests o ON to_jsonb(o) = to_jsonb(t) WHERE o IS NULL OR t IS NULL)
	|| ' ' || (SELECT count(*) FROM eventsource.verify_projection('total')) + (SELECT count(*) FROM eventsource.verify_projection('newest'))
SQL
my $calls = <<'SQL';
SELECT (SELECT array_agg(at ORDER BY n) FROM call) = (SELECT array_agg(position ORDER BY position) FROM eventsource.events WHERE category = 'move')
SQL

# ---- at once ----

sub script
{
	my ($name, $text) = @_;
	append_to_file("$dir/$name", $text);
	return "$dir/$name";
}
my $append = script('append', <<'SQL');
\set stream random(1, 20)
\set account random(1, 5)
\set amount random(1, 100)
\set ending random(1, 10)
BEGIN;
SELECT eventsource.append('move-' || :stream, 'moved', jsonb_build_object('account', :account, 'amount', :amount));
SELECT pg_sleep(random() / 200);
\if :ending = 1
ROLLBACK;
\else
COMMIT;
\endif
SQL
my $correct = script('correct', <<'SQL');
\set account random(1, 5)
\set back random(1, 100)
SELECT count(eventsource.correct_event(position, jsonb_build_object('account', :account, 'amount', 1), 'r', 'a'))
  FROM (SELECT position FROM eventsource.events WHERE category = 'move' AND type = 'moved' ORDER BY position DESC OFFSET :back LIMIT 1) e;
SQL
my $run = script('run', <<'SQL');
\set events random(1, 60)
\set ending random(1, 4)
BEGIN;
SELECT count(*) FROM eventsource.run_projections(max_events => :events);
\if :ending = 1
ROLLBACK;
\else
COMMIT;
\endif
SQL
$node->command_ok(
	[ 'pgbench', '-n', '-c', '8', '-j', '2', '-T', '4', '-f', "$append\@12", '-f', "$correct\@1", '-f', "$run\@4", 'log' ],
	'writers, correctors and appliers at once');
is(sql(q{SELECT string_agg(DISTINCT status, ' ') FROM eventsource.run_projections()}), 'current', 'then to the watermark');
is(sql($differences), '0 0 0', 'rows are what plain SQL makes of the log');
is(sql($calls), 't', 'the handler was called with each event once, in order');
cmp_ok(sql('SELECT count(*) FROM eventsource.corrections'), '>', 5, 'there were corrections');

# ---- prepared ----

sql(q{SELECT eventsource.append('move-1', 'moved', '{"account": "p", "amount": 1}')});
sql(q{BEGIN; SELECT * FROM eventsource.run_projections(); PREPARE TRANSACTION 'run'});
is(sql(q{SELECT string_agg(DISTINCT status, ' ') FROM eventsource.run_projections()}), 'busy', 'a prepared run keeps others out');
$node->restart;
is(sql(q{SELECT string_agg(DISTINCT status, ' ') FROM eventsource.run_projections()}), 'busy', 'after a restart, too');
sql(q{ROLLBACK PREPARED 'run'});
is(sql(q{SELECT sum(events) || string_agg(DISTINCT status, ' ') FROM eventsource.run_projections()}), '3current', 'its rollback gives all back');
is(sql($differences), '0 0 0', 'each event once');

# ---- through dump and restore ----

sql(q{SELECT eventsource.append('move-1', 'moved', '{"account": "d", "amount": 1}')});
sql(q{SELECT eventsource.append('move-1', 'moved', '{"account": "d", "amount": "x"}')});
sql(q{SELECT * FROM eventsource.run_projections(max_events => 1)});
sql(q{SELECT * FROM eventsource.run_projections('total')});
my $states = q{SELECT name, position, status, error FROM eventsource.projections UNION ALL SELECT name, position, status, error FROM eventsource.handlers ORDER BY 1};
my $before = sql($states);
like($before, qr/public\.total\|\d+\|parked\|invalid input syntax/, 'one is parked, others are behind');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", 'log' ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-d', 'restored', "$dir/dump" ], 'restored');
is($node->safe_psql('restored', $states), $before, 'cursors and failures came along');
is($node->safe_psql('restored', q{SELECT string_agg(status, ' ' ORDER BY status) FROM eventsource.run_projections()}), 'current current parked',
	'those that are not parked go on');
is($node->safe_psql('restored', $calls), 't', 'the handler where it stood');
is($node->safe_psql('restored', q{SELECT count(*) FROM eventsource.verify_projection('total')}), '0', 'and nothing differs');
$node->stop;
done_testing();
