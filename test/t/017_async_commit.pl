# 017_async_commit.pl: who reads final events acts on them, so what is returned is
# on disk, however its writer committed.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('async', 'autovacuum = off', 'wal_writer_delay = 10s');

$node->safe_psql('log', "SELECT eventsource.append('s-0', 'made')");

# Nobody but a reader flushes.
my ($wal_writer) = processes_of($node, 'walwriter');
kill 'STOP', $wal_writer;

sub is_flushed { return $node->safe_psql('log', "SELECT pg_current_wal_flush_lsn() >= '$_[0]'") }

my $commit = $node->safe_psql('log', "SET synchronous_commit = off;
	SELECT eventsource.append('s-1', 'made') \\g /dev/null
	SELECT pg_current_wal_insert_lsn()");
my $open = $node->background_psql('log');
$open->query_safe("BEGIN; SELECT eventsource.append('s-2', 'made')");
is(is_flushed($commit), 'f', 'committed, and not on disk');

# The page of the heap is newer than the commit, hence the row may be hinted.
is($node->safe_psql('log', "SELECT stream FROM eventsource.events WHERE stream = 's-1'"), 's-1', 'anybody sees it');
is(is_flushed($commit), 'f', 'and it is still not on disk');
is($node->safe_psql('log', 'SELECT stream FROM eventsource.read_all(1, 1)'), 's-1', 'read as final');
is(is_flushed($commit), 't', 'and on disk');

$open->quit;
kill 'CONT', $wal_writer;
done_testing();
