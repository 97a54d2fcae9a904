# 015_loans_tracked.pl: a real log (see 005_loans.pl) as an application would have
# lived it: a table of loans whose status is overwritten by plain UPDATEs. The
# table is tracked; what was captured must be the log's own transitions, and the
# table as of any moment what the log says of that moment.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = ($ENV{ES_DATA_DIR} // '') . '/bpic2012_loans.csv.gz';
plan skip_all => 'no real log here: bpic2012_loans.csv.gz in $ES_DATA_DIR' if !-r $source;

my $node = new_server('loans_tracked', 'eventsource.segment_size = 50000', 'synchronous_commit = off');

$node->safe_psql('log', <<"SQL");
CREATE TABLE raw (line serial PRIMARY KEY, case_id text, activity text, lifecycle text, resource text,
	occurred_at timestamptz, amount_req bigint);
\\copy raw (case_id, activity, lifecycle, resource, occurred_at, amount_req) FROM PROGRAM 'gzip -dc $source' (FORMAT csv, HEADER)
CREATE INDEX ON raw (case_id, line);
ANALYZE raw;
SQL

# ---- the application's table, under a machine over the application's (A_) steps ----

# A status is the name of the last step; the steps that grant a loan come in any order.
my %after = (
	A_SUBMITTED => ['A_PARTLYSUBMITTED'],
	A_PARTLYSUBMITTED => [qw(A_PREACCEPTED A_DECLINED A_CANCELLED)],
	A_PREACCEPTED => [qw(A_ACCEPTED A_DECLINED A_CANCELLED)],
	A_ACCEPTED => [qw(A_FINALIZED A_DECLINED A_CANCELLED)],
	A_FINALIZED => [qw(A_APPROVED A_REGISTERED A_ACTIVATED A_DECLINED A_CANCELLED)],
	A_APPROVED => [qw(A_REGISTERED A_ACTIVATED)],
	A_REGISTERED => [qw(A_APPROVED A_ACTIVATED)],
	A_ACTIVATED => [qw(A_APPROVED A_REGISTERED)],
	A_DECLINED => [],
	A_CANCELLED => []);
my $states = join ',', map {
	my $on = join ',', map { qq("$_":"$_") } @{ $after{$_} };
	$on eq '' ? qq("$_":{"type":"final"}) : qq("$_":{"on":{$on}});
} sort keys %after;

$node->safe_psql('log', <<"SQL");
CREATE TABLE loans (case_id text PRIMARY KEY, status text NOT NULL, resource text, amount bigint, steps int NOT NULL DEFAULT 0);
SELECT eventsource.create_state_machine('loan',
	'{"initial":"A_SUBMITTED","create":{"A_SUBMITTED":"A_SUBMITTED"},"states":{$states}}');
SELECT eventsource.create_category('loan', 'loan');
SELECT eventsource.track_table('loans', 'loan', state_column => 'status', state_machine => 'loan',
							   actor_column => 'resource');
SQL

# ---- the log as plain statements, one after the other; moments to come back to ----

$node->safe_psql('log', <<'SQL');
CREATE TABLE moment (line int PRIMARY KEY, at timestamptz);
CREATE PROCEDURE live() LANGUAGE plpgsql AS $$
DECLARE
	r raw;
BEGIN
	FOR r IN SELECT * FROM raw ORDER BY line LOOP
		IF r.activity = 'A_SUBMITTED' THEN
			INSERT INTO loans VALUES (r.case_id, r.activity, r.resource, r.amount_req, 1);
		ELSIF r.activity LIKE 'A\_%' THEN
			UPDATE loans SET status = r.activity, resource = r.resource, steps = steps + 1 WHERE case_id = r.case_id;
		ELSE
			UPDATE loans SET resource = r.resource, steps = steps + 1 WHERE case_id = r.case_id;
		END IF;
		IF r.line % 26000 = 13000 THEN
			COMMIT;
			INSERT INTO moment VALUES (r.line, clock_timestamp());
			COMMIT;
		END IF;
	END LOOP;
END
$$;
SQL
$node->safe_psql('log', 'CALL live()', timeout => 900);
is($node->safe_psql('log', 'SELECT count(*) FROM moment'), '10', 'ten moments');

# ---- is it the log? ----

is($node->safe_psql('log', 'SELECT count(*) FROM eventsource.streams WHERE category = \'loan\''), '13087', 'streams');
is( $node->safe_psql('log', <<'SQL'), '0', 'the captured transitions are the log\'s');
SELECT count(*) FROM (
	SELECT case_id AS key, row_number() OVER w AS n, lag(activity) OVER w AS from_state, activity AS to_state,
		   coalesce(resource, 'none') AS actor
	  FROM raw WHERE activity LIKE 'A\_%' WINDOW w AS (PARTITION BY case_id ORDER BY line)) r
  FULL JOIN (
	SELECT key, row_number() OVER (PARTITION BY key ORDER BY version) AS n, from_state, to_state, type, actor
	  FROM eventsource.transitions WHERE category = 'loan') t USING (key, n)
 WHERE (r.from_state, r.to_state, r.to_state) IS DISTINCT FROM (t.from_state, t.to_state, t.type)
	OR (r.actor <> 'none' AND r.actor <> t.actor)
SQL
is( $node->safe_psql('log', <<'SQL'), '262200', 'every line is an event');
SELECT count(*) FROM eventsource.events WHERE category = 'loan'
SQL

# The table at a line, from the lines alone.
my $twin = <<'SQL';
SELECT case_id, (array_agg(activity ORDER BY line DESC) FILTER (WHERE activity LIKE 'A\_%'))[1] AS status,
	   (array_agg(resource ORDER BY line DESC))[1] AS resource, min(amount_req) AS amount, count(*)::int AS steps
  FROM raw WHERE line <= m.line GROUP BY case_id
SQL
for my $line (split /\n/, $node->safe_psql('log', 'SELECT line FROM moment ORDER BY line'))
{
	is( $node->safe_psql('log', <<"SQL"), "0", "the table as of line $line");
SELECT count(*) FROM moment m CROSS JOIN LATERAL (
	($twin EXCEPT ALL SELECT * FROM eventsource.as_of(NULL::loans, m.at))
	UNION ALL (SELECT * FROM eventsource.as_of(NULL::loans, m.at) EXCEPT ALL ($twin))) d
 WHERE m.line = $line
SQL
}
is( $node->safe_psql('log', <<'SQL'), '0', 'and one of its rows alone');
SELECT count(*) FROM moment m CROSS JOIN LATERAL eventsource.as_of(NULL::loans, m.at) w
 CROSS JOIN LATERAL eventsource.as_of(NULL::loans, m.at, w.case_id) o
 WHERE m.line = 13000 AND w IS DISTINCT FROM o
SQL
is(problems_of($node, 'log'), '', 'the log is whole');

$node->stop;
done_testing;
