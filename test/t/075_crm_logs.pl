# 075_crm_logs.pl: real logs of process mining through crm.import_log, compared with what plain
# SQL says of the files.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = $ENV{ES_DATA_DIR} // '';
plan skip_all => 'no real logs here: running-example.csv and bpic2012_loans.csv.gz in $ES_DATA_DIR'
  if grep { !-r "$dir/$_" } qw(running-example.csv bpic2012_loans.csv.gz);

my $node = new_server('crm_logs', 'eventsource.segment_size = 50000');
$node->safe_psql('log', 'CREATE EXTENSION eventsource_crm; SELECT crm.install()');

sub rows { my ($sql) = @_; return [ split /\n/, $node->safe_psql('log', $sql) ] }

sub agrees
{
	my ($what, $have, $want) = @_;
	my $rows = rows($want);
	cmp_ok(scalar @$rows, '>', 0, "$what: there is something to compare");
	is_deeply(rows($have), $rows, $what);
	return;
}

# ---- the example of the textbook: its columns have the names that import_log takes by default ----

$node->safe_psql('log', <<"SQL");
CREATE TABLE example (line text, "concept:name" text, "org:resource" text, "time:timestamp" text, activity text, resource text, "Costs" text, "case:concept:name" text, creator text);
\\copy example FROM '$dir/running-example.csv' (FORMAT csv, HEADER)
SQL
is_deeply(rows(q{SELECT outcome, row_count FROM crm.import_log('example', 'claim', attribute_columns => '{Costs}')}), [ 'taken|42', 'duplicate|0', 'refused|0' ], 'the example is taken');
agrees('who did what, in order, at what cost',
	q{SELECT key, string_agg(concat_ws(' ', type, actor, data->>'Costs', occurred_at), ', ' ORDER BY version) FROM eventsource.events WHERE category = 'claim' GROUP BY key ORDER BY key COLLATE "C"},
	q{SELECT "case:concept:name", string_agg(concat_ws(' ', activity, resource, "Costs", "time:timestamp"::timestamptz), ', ' ORDER BY "time:timestamp"::timestamptz, line::integer)
		FROM example GROUP BY 1 ORDER BY "case:concept:name" COLLATE "C"});

# ---- loan applications of a bank: 262,200 events, some of the same moment, some the same in all ----

$node->safe_psql('log', <<"SQL");
CREATE TABLE loans (line serial, case_id text, activity text, lifecycle text, resource text, occurred_at text, amount_req text);
\\copy loans (case_id, activity, lifecycle, resource, occurred_at, amount_req) FROM PROGRAM 'gzip -dc $dir/bpic2012_loans.csv.gz' (FORMAT csv, HEADER)
SQL
my $import = q{SELECT outcome, row_count FROM crm.import_log('loans', 'loan', 'case_id', 'activity', 'occurred_at', 'resource', '{lifecycle,amount_req}', 5000, 'line')};
is_deeply(rows($import), [ 'taken|262200', 'duplicate|0', 'refused|0' ], 'every row is taken');
agrees('events of each activity', q{SELECT type, data->>'lifecycle', count(*) FROM eventsource.events WHERE category = 'loan' GROUP BY 1, 2 ORDER BY type COLLATE "C", 2},
	q{SELECT activity, lifecycle, count(*) FROM loans GROUP BY 1, 2 ORDER BY activity COLLATE "C", 2});
agrees('by whom, at what times, for how much',
	q{SELECT count(DISTINCT stream), count(*) FILTER (WHERE actor <> 'system:import'), min(occurred_at), max(occurred_at), sum((data->>'amount_req')::numeric) FROM eventsource.events WHERE category = 'loan'},
	q{SELECT count(DISTINCT case_id), count(*) FILTER (WHERE resource <> ''), min(occurred_at::timestamptz), max(occurred_at::timestamptz), sum(amount_req::numeric) FROM loans});
agrees('variants: the order of each case, ties as the lines stand',
	q{SELECT md5(string_agg(variant, E'\n' ORDER BY variant COLLATE "C")), count(DISTINCT variant) FROM (SELECT string_agg(type, ',' ORDER BY version) AS variant FROM eventsource.events WHERE category = 'loan' GROUP BY stream) v},
	q{SELECT md5(string_agg(variant, E'\n' ORDER BY variant COLLATE "C")), count(DISTINCT variant) FROM (SELECT string_agg(activity, ',' ORDER BY occurred_at::timestamptz, line) AS variant FROM loans GROUP BY case_id) v});
is_deeply(rows($import), [ 'taken|0', 'duplicate|262200', 'refused|0' ], 'told again, nothing is new');
is($node->safe_psql('log', 'SELECT count(*) FROM eventsource.verify_chain()'), '0', 'the log is whole');

$node->stop;
done_testing();
