# 009_reindex.pl: REINDEX CONCURRENTLY of a segment's own indexes while others
# append. The index being built must get its entries before it is valid: else heads
# are not found, streams fork and the feed skips.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('reindex');

sub append
{
	my ($stream) = @_;
	return $node->safe_psql('log', "SELECT version FROM eventsource.append('$stream', 'x')");
}

append('a-1');
for my $index ('event_1_stream_idx', 'event_1_pkey')
{
	# A transaction with an old snapshot keeps the REINDEX waiting at its last phase,
	# with a new index that is ready for entries and not yet valid.
	my $holder = $node->background_psql('log');
	$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');

	my $builder = $node->background_psql('log');
	# With the library, which guards the log, in its process.
	$builder->query_safe('SELECT eventsource.watermark()');
	$builder->query_until(qr/started/, "\\echo started\nREINDEX INDEX CONCURRENTLY eventsource.$index;\n");
	ok( wait_until(
			sub {
				$node->safe_psql('log', <<'SQL') eq 't';
SELECT count(*) > 0 FROM pg_stat_activity a JOIN pg_stat_progress_create_index p USING (pid)
 WHERE p.phase LIKE 'waiting for old snapshots%' OR p.phase LIKE 'waiting for readers%'
SQL
			}),
		"$index: the REINDEX waits");

	my $before = append('a-1');
	append("b-$index");
	$holder->query_safe('COMMIT');
	$holder->quit;
	$builder->query_safe('SELECT 1');
	$builder->quit;
	is(append('a-1'), $before + 1, "$index: the stream goes on where it was");
	is(append("b-$index"), 2, "$index: so does one that was born meanwhile");
	is($node->safe_psql('log', 'SELECT count(*) FROM eventsource.read_all(0, NULL)'),
		$node->safe_psql('log', 'SELECT count(*) FROM eventsource.events'),
		"$index: the feed has every event");
}
is(problems_of($node, 'log'), '', 'nothing is wrong with the log');
$node->stop;
done_testing();
