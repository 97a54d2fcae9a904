# 038_copy.pl: a category is copied in batches while others append to it and correct it;
# at random the copying session is ended, or the server killed. What was called again goes
# on, and in the end each event, as it is corrected now, is in the copy once, in order.
# ES_COPY_ROUNDS: how many times something is killed (default 4).

use strict;
use warnings;

use EventLog;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $rounds = $ENV{ES_COPY_ROUNDS} // 4;
my $seed = $ENV{ES_SEED} // time;
srand $seed;
note "ES_SEED=$seed";

my $node = new_server('copy', 'fsync = off', 'eventsource.segment_size = 5000');

$node->safe_psql('log', <<'SQL');
CREATE VIEW corrected AS
SELECT e.position, e.category, e.stream, e.key, e.version, e.type, e.metadata, coalesce(c.data, e.data) AS data
  FROM eventsource.events e
  LEFT JOIN (SELECT DISTINCT ON (corrects) corrects, type, data
			   FROM (SELECT (metadata ->> 'corrects')::bigint AS corrects, type, data, position FROM eventsource.events WHERE type IN ('event_corrected', 'event_voided')) x
			  ORDER BY corrects, position DESC) c ON c.corrects = e.position
 WHERE e.type NOT IN ('event_corrected', 'event_voided') AND c.type IS DISTINCT FROM 'event_voided';
SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'old-' || i % 400, 'type', (ARRAY['moved', 'noise', 'stood'])[1 + i % 3], 'data', jsonb_build_object('n', i))) FROM generate_series(1, 8000) i));
SQL

my $mapping = q({"moved": [{"type": "left", "data": "jsonb_build_object('from', event.data -> 'n')"}, {"type": "arrived", "data": "event.data"}], "noise": null});
my $call = "CALL eventsource.copy_category_in_batches('old', 'new', \$m\$$mapping\$m\$, 300)";

# What the copy should be, and what it is, in order of each stream.
my $differences = <<'SQL';
WITH want AS (SELECT 'new-' || key AS stream, row_number() OVER (PARTITION BY key ORDER BY position, m.n) AS n, position AS source, m.type, m.data
				FROM corrected CROSS JOIN LATERAL (
					SELECT 1, 'left', jsonb_build_object('from', data -> 'n') WHERE type = 'moved' UNION ALL
					SELECT 2, 'arrived', data WHERE type = 'moved' UNION ALL
					SELECT 1, type, data WHERE type = 'stood') m (n, type, data)
			   WHERE category = 'old'),
	 have AS (SELECT stream, row_number() OVER (PARTITION BY key ORDER BY position) AS n, (metadata -> 'copied_from' ->> 'position')::bigint AS source, type, data
				FROM corrected WHERE category = 'new')
SELECT (SELECT count(*) FROM (TABLE want EXCEPT ALL TABLE have) x) || ' ' || (SELECT count(*) FROM (TABLE have EXCEPT ALL TABLE want) x)
SQL

my $append = $node->basedir . '/append.sql';
append_to_file($append, <<'SQL');
\set stream random(1, 400)
\set n random(1, 1000000)
\set ms random(0, 20)
BEGIN;
SELECT eventsource.append('old-' || :stream, CASE :n % 3 WHEN 0 THEN 'moved' WHEN 1 THEN 'noise' ELSE 'stood' END, jsonb_build_object('n', :n));
\sleep :ms ms
END;
SQL
# Odd versions are corrected, again and again; even ones are voided.
my $correct = $node->basedir . '/correct.sql';
append_to_file($correct, <<'SQL');
\set stream random(1, 400)
\set version random(1, 20)
\set n random(1, 1000000)
SELECT CASE version % 2 WHEN 1 THEN eventsource.correct_event(position, jsonb_build_object('n', :n), 'typo', 'joe') ELSE eventsource.void_event(position, 'never', 'jane') END
  FROM eventsource.read_stream('old-' || :stream, :version, 1) e
 WHERE type NOT IN ('event_corrected', 'event_voided') AND NOT EXISTS (
	SELECT FROM eventsource.read_stream('old-' || :stream) c WHERE c.type = 'event_voided' AND (c.metadata ->> 'corrects')::bigint = e.position);
SQL

sub start_writers
{
	my $output = '';
	return map {
		IPC::Run::start(
			[ 'pgbench', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-n', '-T', '600', @$_, 'log' ],
			'>', \$output, '2>&1')
	} ([ '-c', '3', '-f', $append ], [ '-c', '1', '-R', '40', '-f', $correct ]);
}

sub copied { return $node->safe_psql('log', "SELECT coalesce(sum(position), 0) FROM eventsource.category_copies") }

for my $round (1 .. $rounds)
{
	my @writers = start_writers();
	my $before = copied();
	my ($out, $err) = ('', '');
	my $copier = IPC::Run::start([ 'psql', '-X', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-c', $call, 'log' ], '>', \$out, '2>', \$err);
	my $way = int(rand 3);

	wait_until(sub { copied() > $before }) or die "nothing is copied: $err";
	sleep rand 0.2;
	if ($way == 0)
	{
		$node->safe_psql('log', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%'");
		eval { $copier->finish };
	}
	elsif ($way == 1)
	{
		kill_server($node);
		eval { $copier->finish };
		eval { $_->finish } for @writers;
		$node->start;
		@writers = ();
	}
	else
	{
		$copier->finish;
		is($err =~ /ERROR/ ? $err : '', '', 'no error');
	}
	$_->kill_kill(grace => 5) for @writers;
	wait_until(sub { $node->safe_psql('log', "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'") eq '0' });
	if ($round % 3 == 0 || $round == $rounds)
	{
		$node->safe_psql('log', $call);
		is($node->safe_psql('log', $differences), '0 0',
			"round $round, " . ('the session ended', 'the server killed', 'a copy finished')[$way] . ': each event once, as it is now');
	}
}

is($node->safe_psql('log', 'SELECT status FROM eventsource.category_copies'), 'current', 'nothing is left');
is($node->safe_psql('log', "SELECT count(*) > 0 FROM eventsource.events WHERE category = 'new' AND type = 'event_voided'"), 't', 'corrections came late');
is(problems_of($node, 'log'), '', 'the log is whole');
$node->stop;
done_testing();
