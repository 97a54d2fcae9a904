# 006_savepoints.pl: what is taken back leaves nothing in caches, and what a
# reader was given stays.
#
# Thousands of subtransactions in one session, half of them rolled back after
# meeting new streams, words and segments; then a crash under synchronous_commit
# = off, after which every event that a reader got must still be there.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('savepoints', 'eventsource.segment_size = 500',
	'shared_preload_libraries = eventsource');
my $has_projections = has_function($node, 'log', 'create_projection');

$node->safe_psql('log', 'CREATE TABLE tally (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0, last text)');
$node->safe_psql('log', <<'SQL') if $has_projections;
SELECT eventsource.create_projection('tally', ARRAY['sub'],
	jsonb_build_object('*', $$ n = row.n + 1, last = event.type $$));
SQL

# ---- exception blocks in loops ----

# Every second one fails after it has appended; each meets a new stream, type and
# reason now and then, and some begin by failing, so that a word is first met in
# what is rolled back. Kept ones are noted outside of the log.
$node->safe_psql('log', <<'SQL');
CREATE TABLE kept (n integer PRIMARY KEY, stream text, version bigint, position bigint, type text, reason text);
CREATE PROCEDURE work(first integer, last integer) LANGUAGE plpgsql AS $$
DECLARE
	r eventsource.appended;
	s text;
	t text;
	w text;
BEGIN
	FOR n IN first .. last LOOP
		s := 'sub-' || n / 10 % 150;
		t := 'type ' || n / 20;
		w := CASE WHEN n % 3 = 0 THEN 'reason ' || n / 50 END;
		BEGIN
			r := eventsource.append(s, t, jsonb_build_object('n', n), reason => w);
			INSERT INTO kept VALUES (n, s, r.version, r.position, t, w);
			BEGIN
				r := eventsource.append('sub-inner ' || n, t || ' inner', '{"n": -1}', reason => w || ' inner');
				PERFORM 1 / (n % 3);
				INSERT INTO kept VALUES (-n, 'sub-inner ' || n, r.version, r.position, t || ' inner', w || ' inner');
			EXCEPTION WHEN division_by_zero THEN
				NULL;
			END;
			IF n % 2 = 0 THEN
				RAISE EXCEPTION 'taken back';
			END IF;
		EXCEPTION WHEN raise_exception THEN
			NULL;
		END;
	END LOOP;
END
$$;
SQL

sub kept_problems
{
	return $node->safe_psql('log', <<'SQL');
SELECT * FROM (SELECT position, stream, version, type, reason FROM eventsource.events WHERE category = 'sub') e
  FULL JOIN kept k USING (position)
 WHERE (e.stream, e.version, e.type) IS DISTINCT FROM (k.stream, k.version, k.type)
	OR e.reason IS DISTINCT FROM k.reason
 LIMIT 5
SQL
}

my $session = $node->background_psql('log');
$session->query_safe('CALL work(1, 3000)');
is(kept_problems(), '', 'exception blocks: kept what was kept');
$session->query_safe('BEGIN; CALL work(3001, 4000); ROLLBACK; CALL work(4001, 5000)');
is(kept_problems(), '', 'the whole rolled back, the same session goes on');
is(problems_of($node, 'log'), '', 'the log is whole');

$session->query_safe(<<'SQL');
BEGIN ISOLATION LEVEL REPEATABLE READ;
CALL work(5001, 5400);
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
CALL work(5401, 5800);
COMMIT;
SQL
is(kept_problems(), '', 'under REPEATABLE READ and SERIALIZABLE');

# A cursor open over the log, segments being attached under it, savepoints around.
is( $session->query_safe(<<'SQL') =~ s/\s+/ /gr, '5 t', 'a cursor reads on over savepoints and new segments');
BEGIN;
DECLARE c CURSOR FOR SELECT position FROM eventsource.events ORDER BY position;
FETCH 5 FROM c \g /dev/null
SAVEPOINT a;
SELECT count(eventsource.append('cursor-1', 'happened')) FROM generate_series(1, 1200) \g /dev/null
ROLLBACK TO a;
SELECT count(eventsource.append('cursor-1', 'happened')) FROM generate_series(1, 5);
MOVE ALL FROM c;
SELECT eventsource.stream_version('cursor-1') = 5;
COMMIT;
SQL

# A wide lock taken in a savepoint that is rolled back is gone, and so is the belief in it.
$session->query_safe(<<'SQL');
BEGIN;
SELECT eventsource.append('wide-1', 'happened');
SAVEPOINT a;
SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'wide-' || i, 'type', 'made'))
	FROM generate_series(2, 2500) i));
ROLLBACK TO a;
SELECT eventsource.append('wide-2', 'happened');
SELECT eventsource.lock_stream('wide-4');
SQL
is($node->safe_psql('log', "SET lock_timeout = '2s'; SELECT version FROM eventsource.append('wide-3', 'happened')"),
	1, 'the wide lock is gone with its savepoint');
like(error_of($node, 'log', "SET lock_timeout = '100ms'; SELECT eventsource.append('wide-2', 'happened')"),
	qr/ERROR:  55P03:/, 'a stream is locked again');
like(error_of($node, 'log', "SET lock_timeout = '100ms'; SELECT eventsource.lock_stream('wide-4')"),
	qr/ERROR:  55P03:/, 'and one that is only read');
like(error_of($node, 'log', "SET lock_timeout = '100ms'; SELECT eventsource.append('wide-1', 'happened')"),
	qr/ERROR:  55P03:/, 'the lock from before is still there');
my $mark = $node->safe_psql('log', "SELECT position FROM eventsource.events WHERE stream = 'wide-3'");
cmp_ok($node->safe_psql('log', 'SELECT eventsource.watermark()'), '<', $mark, 'the bound outlives the savepoint');
$session->query_safe('COMMIT');
cmp_ok($node->safe_psql('log', 'SELECT eventsource.watermark()'), '>=', $mark, 'but not the transaction');

# A bound that was published inside a savepoint.
$session->query_safe(<<'SQL');
BEGIN;
SAVEPOINT a;
SELECT eventsource.append('bound-1', 'happened');
ROLLBACK TO a;
SELECT eventsource.append('bound-2', 'happened');
SQL
$node->safe_psql('log', "SELECT eventsource.append('bound-3', 'happened')");
is( $node->safe_psql('log', "SELECT count(*) FROM eventsource.read_all(0, NULL) WHERE stream LIKE 'bound-_'"),
	0, 'a bound published in a savepoint outlives it');
$session->query_safe('COMMIT');
is( $node->safe_psql('log', "SELECT string_agg(stream, ' ') FROM eventsource.read_all(0, NULL) WHERE stream LIKE 'bound-_'"),
	'bound-2 bound-3', 'and then both events are in the feed');
$session->quit;
is(problems_of($node, 'log'), '', 'the log is whole');

# ---- what a reader was given, with synchronous_commit = off ----

$node->append_conf('postgresql.conf', 'synchronous_commit = off');
$node->append_conf('postgresql.conf', 'wal_writer_delay = 10s');
$node->append_conf('postgresql.conf', 'wal_writer_flush_after = 0');
$node->restart;

my $lost = 0;
for my $round (1 .. 6)
{
	my $writer = $node->background_psql('log');
	my $reader = $node->background_psql('log');
	my $given;

	# An append, and at once a reader, who gets it, in another backend.
	$writer->query_safe("SELECT eventsource.append('async-' || $round, 'happened', jsonb_build_object('n', i))"
		  . ' FROM generate_series(1, 20) i');
	$given = $reader->query_safe($round % 2
		? "SELECT max(position) FROM eventsource.read_all(0, NULL)"
		: "SELECT max(position) FROM eventsource.read_category('async', 0, NULL)");
	$writer->query_safe("SELECT eventsource.append('async-late', 'happened')");
	kill_server($node);
	$_->{run}->finish for $reader, $writer;
	$node->start;
	is( $node->safe_psql('log', "SELECT count(*) FROM eventsource.events WHERE position = $given"),
		1, "round $round: what a reader got survives the crash");
	$lost += !$node->safe_psql('log', "SELECT count(*) FROM eventsource.events WHERE stream = 'async-late'");
}
note "in $lost of 6 rounds an event that no reader got was lost";
is(problems_of($node, 'log'), '', 'the log is whole after crashes');
$node->stop;
done_testing;
