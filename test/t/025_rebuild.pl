# 025_rebuild.pl: tables are rebuilt and defined anew, in little memory, while
# others append, correct and follow; at random a rebuild is ended, or the server killed.
# What was rebuilt is what history makes of it; what was not is as it was.
# ES_REBUILD_ROUNDS: how many rounds (default 5; make torture: 200).

use strict;
use warnings;

use EventLog;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $rounds = $ENV{ES_REBUILD_ROUNDS} // 5;
my $seed = $ENV{ES_SEED} // time;
srand $seed;
note "ES_SEED=$seed";

my $node = new_server('rebuild', 'work_mem = 64kB', 'hash_mem_multiplier = 1', 'fsync = off');
my @tables = qw(door tally follow);

$node->safe_psql('log', <<'SQL');
CREATE TABLE door (id text PRIMARY KEY, n int NOT NULL DEFAULT 0, trail text NOT NULL DEFAULT '');
CREATE TABLE tally (id text PRIMARY KEY, n int NOT NULL DEFAULT 0, trail text NOT NULL DEFAULT '');
CREATE TABLE follow (id text PRIMARY KEY, n int NOT NULL DEFAULT 0, trail text NOT NULL DEFAULT '');
CREATE TABLE spoiled (of text, id text);
-- Rules of many kinds: conditions on the event or the row, rows that are deleted and come again, several rows for an event.
CREATE FUNCTION define(target text, step int) RETURNS bigint LANGUAGE sql AS $$
	SELECT eventsource.create_projection(target::regclass, '{load}', jsonb_build_object(
		'moved', jsonb_build_object(
			'set', format('n = row.n + %s, trail = right(row.trail || ''.'' || event.key || ''/'' || event.version, 40)', step),
			'where', (ARRAY['true', 'row.n % 7 <> 5', '(event.data->>''to'')::int % 7 <> 5'])[1 + step % 3]),
		'closed', CASE WHEN step % 4 = 3 THEN to_jsonb('DELETE'::text) ELSE jsonb_build_object('set', 'n = 0', 'missing', 'skip') END),
		CASE WHEN target <> 'door' THEN jsonb_build_object('id', 'item') END,
		CASE target WHEN 'follow' THEN 'async' ELSE 'inline' END,
		CASE WHEN target <> 'door' THEN format('unnest(ARRAY[%s])', CASE step % 2 WHEN 0 THEN 'event.data->>''to'', event.key' ELSE 'event.data->>''to''' END) END)
$$;
-- A row past the guard, as a slip of the owner's may leave it.
CREATE PROCEDURE spoil(target text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('ALTER TABLE %I DISABLE TRIGGER ALL', target);
	EXECUTE format('WITH u AS (UPDATE %1$I SET trail = ''wrong'', n = n + 1000 WHERE hashtext(id) %% 3 = 0 RETURNING id) INSERT INTO spoiled SELECT %1$L, id FROM u', target);
	EXECUTE format('WITH d AS (DELETE FROM %1$I WHERE hashtext(id) %% 3 = 1 RETURNING id) INSERT INTO spoiled SELECT %1$L, id FROM d', target);
	EXECUTE format('ALTER TABLE %1$I ENABLE ALWAYS TRIGGER eventsource_guard, ENABLE ALWAYS TRIGGER eventsource_guard_truncate', target);
END $$;
SELECT eventsource.append_events(jsonb_agg(jsonb_build_object('stream', 'load-' || i % 400, 'type', 'moved', 'data', jsonb_build_object('to', i % 300)))) FROM generate_series(1, 3000) i;
SELECT define('door', 1), define('tally', 1), define('follow', 1);
SQL

my $append = $node->basedir . '/append.sql';
append_to_file($append, <<'SQL');
\set stream random(1, 400)
\set to random(1, 300)
\set ms random(0, 20)
\set dice random(1, 8)
BEGIN;
SELECT eventsource.append('load-' || :stream, CASE :dice WHEN 1 THEN 'closed' ELSE 'moved' END, jsonb_build_object('to', :to));
\sleep :ms ms
END;
SQL
my $correct = $node->basedir . '/correct.sql';
append_to_file($correct, <<'SQL');
\set stream random(1, 400)
\set to random(1, 300)
SELECT eventsource.correct_event(e.position, jsonb_build_object('to', :to), 'typo', 'joe')
  FROM (SELECT position FROM eventsource.events WHERE stream = 'load-' || :stream AND type = 'moved' ORDER BY version LIMIT 1) e;
SQL
my $follow = $node->basedir . '/follow.sql';
append_to_file($follow, "SELECT count(*) FROM eventsource.run_projections();\n");

sub start_load
{
	my $output = '';
	return IPC::Run::start(
		[ 'pgbench', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-n', '-c', '4', '-T', '600', '-f', "$append\@20", '-f', "$correct\@1", '-f', "$follow\@2", 'log' ],
		'>', \$output, '2>&1');
}

sub differences { return $node->safe_psql('log', "SELECT count(*) FROM eventsource.verify_projection('$_[0]')") }

# Rows that differ, of a table, though nobody spoiled them.
sub damage { return $node->safe_psql('log', "SELECT count(*) FROM eventsource.verify_projection('$_[0]') WHERE key->>'id' NOT IN (SELECT id FROM spoiled WHERE of = '$_[0]')") }

sub spoil { $node->safe_psql('log', "CALL spoil('$_')") for @tables; return; }

sub watermark { return $node->safe_psql('log', 'SELECT eventsource.watermark()') }

my $step = 1;

# Starts rebuilding one table, or defining it anew, in the background.
sub start_work
{
	my ($table, $session) = @_;
	my $sql = rand() < 0.5 ? "SELECT eventsource.rebuild_projection('$table')" : "SELECT define('$table', " . ++$step . ')';

	$session->{run}->pump_nb;
	$session->{stdin} .= "$sql;\n";
	$session->{run}->pump_nb;
	return $sql;
}

# A table that was not there, filled while others append; its rows are shared by streams.
sub define_new
{
	$node->safe_psql('log', "CREATE TABLE fresh (LIKE tally INCLUDING ALL)");
	$node->safe_psql('log', "SELECT define('fresh', 1)");
	return;
}

sub end_new
{
	is(differences('fresh'), '0', 'a new table is as history has it');
	$node->safe_psql('log', "SELECT eventsource.drop_projection('fresh')");
	$node->safe_psql('log', 'DROP TABLE fresh');
	return;
}

for my $round (1 .. $rounds)
{
	my $load = start_load();
	my $table = $tables[ $round % @tables ];
	my $way = int(rand 3);

	my $before = watermark();

	wait_until(sub { watermark() > $before + 50 }) or die 'nothing is appended';
	spoil();
	my $session = $node->background_psql('log', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my $sql = start_work($table, $session);
	if ($way == 0)
	{
		sleep rand 0.15;
		$node->safe_psql('log', "SELECT pg_terminate_backend($pid)");
	}
	elsif ($way == 1)
	{
		sleep rand 0.15;
		kill_server($node);
	}
	if ($way == 1)
	{
		$load->finish;
		eval { $session->{run}->kill_kill };
		$node->start;
	}
	else
	{
		wait_until(sub { $node->safe_psql('log', "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND state <> 'idle'") eq '0' });
		define_new();
		$load->kill_kill(grace => 5);
		eval { $session->{run}->kill_kill };
		wait_until(sub { $node->safe_psql('log', "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'") eq '0' });
	}
	my $how = ('a rebuild ended', 'the server killed', 'a rebuild finished')[$way];
	is(join(' ', map { damage($_) } @tables), '0 0 0', "round $round, $how: $sql");
	if ($way == 2)
	{
		is(differences($table), '0', "and $table is as history has it");
	}
	end_new() if $way != 1;
	$node->safe_psql('log', "SELECT eventsource.rebuild_projection('$_')") for @tables;
	is(join(' ', map { differences($_) } @tables), '0 0 0', 'all that is rebuilt is');
	$node->safe_psql('log', 'TRUNCATE spoiled');
}

is(problems_of($node, 'log'), '', 'the log is whole');
$node->stop;
done_testing();
