# 026_rebuild_memory.pl: verifying, rebuilding and defining a table that is far
# larger than work_mem takes about that memory, not the table's; and so do sealing and
# verifying a log, which go through all of it.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_server('memory', 'work_mem = 512kB', 'maintenance_work_mem = 1MB', 'fsync = off');

# 20 MB of rows.
$node->safe_psql('log', <<'SQL');
INSERT INTO eventsource.events (stream, type, data)
SELECT 'big-' || i % 20000, 'made', jsonb_build_object('n', i) FROM generate_series(1, 30000) i;
CREATE TABLE big (id text PRIMARY KEY, n int NOT NULL DEFAULT 0, filler text);
SQL

# Private memory of a backend, in kB: what it holds at most while it runs.
sub peak_of
{
	my ($sql) = @_;
	my $session = $node->background_psql('log');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my $before = private_of($pid);
	my $peak = 0;

	$session->{stdin} .= "$sql;\n\\echo done\n";
	while ($session->{stdout} !~ /done/)
	{
		$session->{run}->pump_nb;
		my $now = private_of($pid) // 0;
		$peak = $now if $now > $peak;
		sleep 0.005;
	}
	eval { $session->{run}->kill_kill };
	return $peak - $before;
}

sub private_of { return slurp_file("/proc/$_[0]/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 : undef }

my $define = q[SELECT eventsource.create_projection('big', '{big}', '{"made": "n = row.n + %d, filler = repeat(''x'', 1000)"}')];
my %peak;

$peak{'a new table'} = peak_of(sprintf $define, 1);
$peak{'other rules'} = peak_of(sprintf $define, 2);
$peak{'verification'} = peak_of(q[SELECT FROM eventsource.verify_projection('big')]);
$node->safe_psql('log', q[
	ALTER TABLE big DISABLE TRIGGER ALL;
	UPDATE big SET n = 0;
	ALTER TABLE big ENABLE ALWAYS TRIGGER eventsource_guard, ENABLE ALWAYS TRIGGER eventsource_guard_truncate]);
$peak{'a rebuild of all rows'} = peak_of(q[SELECT eventsource.rebuild_projection('big')]);
for my $what (sort keys %peak)
{
	note "$what: $peak{$what} kB";
	cmp_ok($peak{$what}, '<', 10000, "$what stays in memory");
}
is($node->safe_psql('log', 'SELECT count(*), sum(n) FROM big'), '20000|60000', 'and is right');
is($node->safe_psql('log', q[SELECT count(*) FROM eventsource.verify_projection('big')]), '0', 'to the last row');

# ---- the log ----

# Of each stream events lie far from one another, and there are more streams than memory is for.
my %before;
for my $size ('small', 'large')
{
	$node->safe_psql('log', <<'SQL') if $size eq 'large';
INSERT INTO eventsource.events (stream, type, data)
SELECT 'big-' || i % 20000, 'made', jsonb_build_object('n', i) FROM generate_series(1, 60000) i;
SQL
	%peak = (
		'sealing' => peak_of('SELECT * FROM eventsource.seal()'),
		'verify_log' => peak_of('SELECT * FROM eventsource.verify_log(eventsource.checkpoint())'),
		'verify_chain' => peak_of('SELECT * FROM eventsource.verify_chain()'));
	note "$_, $size log: $peak{$_} kB" for sort keys %peak;
	%before = %peak if $size eq 'small';
}
cmp_ok($peak{$_}, '<', 1.2 * $before{$_} + 1000, "$_: a log of three times the size takes no more memory") for sort keys %peak;
is($node->safe_psql('log', 'SELECT * FROM eventsource.verify_log(eventsource.checkpoint())'), '', 'and nothing is found in it');
$node->stop;
done_testing();
