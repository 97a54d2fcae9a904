# 005_loans.pl: a real log through the public path. BPI Challenge 2012, a bank's
# loan applications: 262,200 events of 13,087 cases, in the log's own order, under
# a state machine over the application (A_) that the log satisfies; offers (O_)
# and work items (W_) are allowed in every state.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = ($ENV{ES_DATA_DIR} // '') . '/bpic2012_loans.csv.gz';
plan skip_all => 'no real log here: bpic2012_loans.csv.gz in $ES_DATA_DIR' if !-r $source;

my $node = new_server('loans', 'eventsource.segment_size = 50000');
my $dir = PostgreSQL::Test::Utils::tempdir;

# ---- the log as it is ----

# Equal timestamps are many: the order of the lines is what counts.
$node->safe_psql('log', <<"SQL");
CREATE TABLE raw (line serial PRIMARY KEY, case_id text, activity text, lifecycle text, resource text,
	occurred_at timestamptz, amount_req bigint);
\\copy raw (case_id, activity, lifecycle, resource, occurred_at, amount_req) FROM PROGRAM 'gzip -dc $source' (FORMAT csv, HEADER)
SQL
is($node->safe_psql('log', 'SELECT count(*), count(DISTINCT case_id) FROM raw'), '262200|13087', 'the file');

# ---- the process ----

# After finalization, approval, registration and activation come in any order; a
# state says which of them are there: P approved, R registered, A activated.
my @machine = (
	SUBMITTED => { A_PARTLYSUBMITTED => 'PARTLY_SUBMITTED' },
	PARTLY_SUBMITTED =>
	  { A_PREACCEPTED => 'PREACCEPTED', A_DECLINED => 'DECLINED', A_CANCELLED => 'CANCELLED' },
	PREACCEPTED => { A_ACCEPTED => 'ACCEPTED', A_DECLINED => 'DECLINED', A_CANCELLED => 'CANCELLED' },
	ACCEPTED => { A_FINALIZED => 'FINALIZED', A_DECLINED => 'DECLINED', A_CANCELLED => 'CANCELLED' },
	FINALIZED => {
		A_APPROVED => 'P', A_REGISTERED => 'R', A_ACTIVATED => 'A',
		A_DECLINED => 'DECLINED', A_CANCELLED => 'CANCELLED'
	},
	P => { A_REGISTERED => 'PR', A_ACTIVATED => 'PA' },
	R => { A_APPROVED => 'PR', A_ACTIVATED => 'RA' },
	A => { A_APPROVED => 'PA', A_REGISTERED => 'RA' },
	PR => { A_ACTIVATED => 'GRANTED' },
	PA => { A_REGISTERED => 'GRANTED' },
	RA => { A_APPROVED => 'GRANTED' },
	map { $_ => {} } qw(GRANTED DECLINED CANCELLED));

# In a final state the root's events go on: work about what is decided.
sub machine_json
{
	my (@states, @root);
	my @pairs = @machine;

	while (my ($state, $edges) = splice @pairs, 0, 2)
	{
		my $on = join ',', map { qq("$_":"$edges->{$_}") } sort keys %$edges;
		push @states, $on ne '' ? qq("$state":{"on":{$on}}) : qq("$state":{"type":"final"});
	}
	@root = split /\n/,
	  $node->safe_psql('log', "SELECT DISTINCT activity FROM raw WHERE activity !~ '^A_' ORDER BY 1");
	return
		'{"initial":"SUBMITTED","create":{"A_SUBMITTED":"SUBMITTED"},"states":{'
	  . join(',', @states)
	  . '},"on":{'
	  . join(',', map { qq("$_":{}) } @root) . '}}';
}

my $machine = machine_json();
$node->safe_psql('log', <<"SQL");
SELECT eventsource.create_state_machine('loan', '$machine');
SELECT eventsource.create_category('loan', 'loan', subject => \$\$event.data->>'case'\$\$);
CREATE TABLE loan (key text PRIMARY KEY, state text, n bigint NOT NULL DEFAULT 0, first_at timestamptz,
	last_at timestamptz, offers int NOT NULL DEFAULT 0, amount bigint);
SELECT eventsource.create_projection('loan', ARRAY['loan'], jsonb_build_object(
	'A_SUBMITTED', 'state = event.to_state, n = row.n + 1, first_at = event.occurred_at,
					last_at = event.occurred_at, amount = (event.data->>''amount_req'')::bigint',
	'O_CREATED', 'n = row.n + 1, last_at = event.occurred_at, offers = row.offers + 1',
	'*', 'state = event.to_state, n = row.n + 1, last_at = event.occurred_at'));
SQL

# ---- in ----

my $rows = "$dir/loans";
$node->safe_psql('log', <<"SQL");
\\copy (SELECT 'loan-' || case_id, activity, jsonb_strip_nulls(jsonb_build_object('case', 'case ' || case_id, 'lifecycle', lifecycle, 'line', line, 'amount_req', CASE WHEN activity = 'A_SUBMITTED' THEN amount_req END)), 'resource:' || coalesce(resource, 'none'), occurred_at FROM raw ORDER BY line) TO '$rows'
SQL
$node->safe_psql('log',
	"\\copy eventsource.events (stream, type, data, actor, occurred_at) FROM '$rows'");

# ---- is it the log? ----

is( $node->safe_psql('log', <<'SQL'), '262200|13087|24', 'events, streams, types');
SELECT count(*), count(DISTINCT stream), count(DISTINCT type) FROM eventsource.events WHERE category = 'loan'
SQL
is( $node->safe_psql('log', <<'SQL'), '4366', 'variants');
SELECT count(DISTINCT variant) FROM (SELECT array_agg(type ORDER BY version) AS variant
	FROM eventsource.events WHERE category = 'loan' GROUP BY stream) v
SQL
is( $node->safe_psql('log', <<'SQL'), '0', 'each event is its line, in the order of the lines');
SELECT count(*) FROM (SELECT *, row_number() OVER (PARTITION BY case_id ORDER BY line) AS version,
							 row_number() OVER (ORDER BY line) AS n FROM raw) r
  FULL JOIN (SELECT *, row_number() OVER (ORDER BY position) AS n FROM eventsource.events WHERE category = 'loan') e
	ON (e.data->>'line')::int = r.line
 WHERE (r.case_id, r.version, r.activity, r.occurred_at, r.n, 'case ' || r.case_id, r.lifecycle)
	   IS DISTINCT FROM (e.key, e.version, e.type, e.occurred_at, e.n, e.subject, e.data->>'lifecycle')
SQL

# The state of a case from its lines alone: what happened last, or what all three granting steps make.
my $states = <<'SQL';
SELECT case_id AS key,
	   CASE WHEN bool_or(activity = 'A_DECLINED') THEN 'DECLINED'
			WHEN bool_or(activity = 'A_CANCELLED') THEN 'CANCELLED'
			WHEN count(*) FILTER (WHERE activity IN ('A_APPROVED', 'A_REGISTERED', 'A_ACTIVATED')) = 3 THEN 'GRANTED'
			WHEN bool_or(activity = 'A_FINALIZED') THEN 'FINALIZED'
			WHEN bool_or(activity = 'A_ACCEPTED') THEN 'ACCEPTED'
			WHEN bool_or(activity = 'A_PREACCEPTED') THEN 'PREACCEPTED'
			ELSE 'PARTLY_SUBMITTED' END AS state,
	   count(*) AS n, min(occurred_at) FILTER (WHERE activity = 'A_SUBMITTED') AS first_at,
	   (array_agg(occurred_at ORDER BY line DESC))[1] AS last_at,
	   count(*) FILTER (WHERE activity = 'O_CREATED') AS offers,
	   max(amount_req) FILTER (WHERE activity = 'A_SUBMITTED') AS amount
  FROM raw GROUP BY case_id
SQL
is( $node->safe_psql('log', <<"SQL"), '0', 'every row of the projection is what its lines say');
SELECT count(*) FROM ($states) r FULL JOIN loan l USING (key)
 WHERE (r.state, r.n, r.first_at, r.last_at, r.offers, r.amount)
	   IS DISTINCT FROM (l.state, l.n, l.first_at, l.last_at, l.offers, l.amount)
SQL
is( $node->safe_psql('log', <<"SQL"), '0', 'every current state is what its lines say');
SELECT count(*) FROM ($states) r FULL JOIN eventsource.streams s ON s.key = r.key
 WHERE s.category = 'loan' AND (r.state, r.n) IS DISTINCT FROM (s.state, s.version)
SQL
is( $node->safe_psql('log', "SELECT string_agg(state || ' ' || n, ', ' ORDER BY n DESC) FROM (SELECT state, count(*) AS n FROM loan GROUP BY 1) s"
	),
	'DECLINED 7635, CANCELLED 2807, GRANTED 2246, FINALIZED 327, PREACCEPTED 69, ACCEPTED 3',
	'cases by state');
is( $node->safe_psql('log', <<'SQL'), '0', 'the same machine over the raw table');
SELECT count(*) FROM (SELECT case_id AS key, (eventsource.run_machine('loan', activity ORDER BY line)).*
						FROM raw GROUP BY case_id) m
  FULL JOIN loan l USING (key) WHERE m.state IS DISTINCT FROM l.state
SQL
is(problems_of($node, 'log'), '', 'the log is whole: chain, transitions, projection');

# ---- a copy that lies ----

# In case 173688, acceptance and finalization change places.
create_log($node, 'mutated');
$node->safe_psql('mutated', <<"SQL");
SELECT eventsource.create_state_machine('loan', '$machine');
SELECT eventsource.create_category('loan', 'loan');
SQL
my $mutated = "$dir/mutated";
my $position = 0;
{
	my @lines = split /\n/, slurp_file($rows);
	my ($accepted) = grep { $lines[$_] =~ /^loan-173688\tA_ACCEPTED\t/ } 0 .. $#lines;
	my ($finalized) = grep { $lines[$_] =~ /^loan-173688\tA_FINALIZED\t/ } 0 .. $#lines;
	@lines[ $accepted, $finalized ] = @lines[ $finalized, $accepted ];
	$position = $accepted + 1;
	PostgreSQL::Test::Utils::append_to_file($mutated, join("\n", @lines) . "\n");
}
my $error = error_of($node, 'mutated',
	"\\copy eventsource.events (stream, type, data, actor, occurred_at) FROM '$mutated'");
like($error, qr/ERROR:  ZE002: .*A_FINALIZED/, 'events that changed places: refused');
like($error, qr/HINT:.*A_ACCEPTED/, 'with what would be legal');
like($error, qr/line $position\b/, 'at that event');
is($node->safe_psql('mutated', "SELECT count(*) FROM eventsource.events WHERE category = 'loan'"),
	0, 'and nothing is written');

$node->stop;
done_testing;
