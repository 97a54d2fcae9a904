# 007_first_segments.pl: many sessions open a log and attach its segments at once,
# with background workers to do it and without any; transactions that may have
# attached one are rolled back, the others go on.

use strict;
use warnings;

use EventLog;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sessions = 6;
my $rounds = 150;

# Each session works in streams of its own, so that it waits for nobody's events:
# whoever waits here waits for a segment. Every third transaction is rolled back.
my $work = <<'SQL';
CREATE TABLE done (session int, kept bigint);
CREATE PROCEDURE work(session int, rounds int) LANGUAGE plpgsql AS $$
DECLARE
	kept bigint := 0;
BEGIN
	FOR i IN 1 .. rounds LOOP
		PERFORM eventsource.append(format('s-%s-%s', session, i % 5), 'happened') FROM generate_series(1, 4);
		INSERT INTO eventsource.events (stream, type) SELECT format('s-%s-many', session), 'happened' FROM generate_series(1, i % 40);
		IF i % 3 = 0 THEN
			ROLLBACK;
		ELSE
			COMMIT;
			kept := kept + 4 + i % 40;
		END IF;
	END LOOP;
	INSERT INTO done VALUES (session, kept);
END
$$;
SQL

for my $workers (8, 0)
{
	my $label = $workers ? 'with workers' : 'without workers';
	my $node = new_server("workers$workers", "max_worker_processes = $workers",
		'eventsource.segment_size = 150', 'statement_timeout = 60s');
	my @running;

	$node->safe_psql('log', $work);
	for my $session (1 .. $sessions)
	{
		my %run = (out => '', err => '');
		$run{psql} = IPC::Run::start(
			[ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('log'), '-c', "CALL work($session, $rounds)" ],
			'<', \undef, '>', \$run{out}, '2>', \$run{err});
		push @running, \%run;
	}
	$_->{psql}->finish for @running;
	is(join('', map { $_->{err} } @running), '', "$label: no session failed");
	is( $node->safe_psql('log', 'SELECT count(*), (SELECT sum(kept) FROM done) - count(*) FROM eventsource.events'),
		$node->safe_psql('log', 'SELECT sum(kept) FROM done') . '|0',
		"$label: every event that was kept");
	is(problems_of($node, 'log'), '', "$label: the log is whole");

	# Whoever waits for a segment that is never made makes it.
	is($node->safe_psql('log', <<'SQL'), '400', "$label: a position far ahead");
SELECT setval('eventsource.position_seq', 1000000) \g /dev/null
SELECT count(eventsource.append('far-1', 'happened')) FROM generate_series(1, 400);
SQL
	is(problems_of($node, 'log'), '', "$label: the log is whole after it");
	is($node->safe_psql('log', <<'SQL'), '3', "$label: created, opened and filled in one transaction");
BEGIN;
SELECT eventsource.allow_maintenance('made anew') \g /dev/null
DROP EXTENSION eventsource CASCADE;
COMMIT;
BEGIN;
CREATE EXTENSION eventsource;
SELECT FROM eventsource.append('one-1', 'happened');
SELECT FROM eventsource.append('one-1', 'happened');
COMMIT;
SELECT version FROM eventsource.append('one-1', 'happened');
SQL
	is(problems_of($node, 'log'), '', "$label: and that log is whole");
	$node->stop;
}
done_testing;
