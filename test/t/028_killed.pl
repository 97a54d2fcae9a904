# 028_killed.pl: whatever dies while projections follow the log, are rebuilt and are
# given other rules, and while consumers read: rows are what their events make (I4),
# the feed is final (I3), and each event is delivered once (I8).
#
# Every round writers, followers, rebuilders and consumers work for a while, and one
# thing is killed with SIGKILL: one of their backends, the background worker, or the
# postmaster with all it has. ES_KILL_ROUNDS is the number of rounds, ES_KILL_SEED the
# dice.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Torture;

my $rounds = $ENV{ES_KILL_ROUNDS} || 5;
my $seed = $ENV{ES_KILL_SEED} || time;
my $scripts = ($ENV{TESTDIR} // '.') . '/test/torture';
srand($seed);
note "ES_KILL_SEED=$seed";

# Each round ends with all of the log judged, so there is a new log now and then.
my $rounds_per_log = 25;
my ($node, $events, $redefinitions) = (undef, 0, 0);

sub begin_log
{
	$node = new_server(
		$_[0],
		'shared_preload_libraries = eventsource',
		'eventsource.worker_enabled = on',
		'eventsource.worker_interval = 100ms',
		'restart_after_crash = on',
		'eventsource.segment_size = 2000',
		'deadlock_timeout = 50ms',
		'max_connections = 60');
	$node->safe_psql('log', "SELECT eventsource.append('order-0', 'made')");
	$node->safe_psql('log', slurp_file("$scripts/$_.sql")) for 'setup', 'projections';
	return;
}

sub end_log
{
	return unless $node;
	$events += $node->safe_psql('log', 'SELECT count(*) FROM eventsource.events');
	$redefinitions += $node->safe_psql('log',
		"SELECT count(*) FROM eventsource.events WHERE type = 'projection_defined'");
	$node->stop;
	$node->clean_node;
	return;
}

# SIGKILL for one of these, if there are any. Once the postmaster has seen the end of
# it, nobody is let in before all is recovered; until then anybody is.
sub kill_one
{
	my @pids = @_;
	my $pid = @pids ? $pids[ rand @pids ] : 0;

	return 0 unless $pid && kill 'KILL', $pid;
	wait_until(sub { !-d "/proc/$pid" }) or die 'the postmaster sees no end';
	return 1;
}

sub kill_client
{
	my ($script) = @_;
	return kill_one(split /\n/, $node->safe_psql('log', <<"SQL"));
SELECT pid FROM pg_stat_activity WHERE application_name = 'torture $script'
SQL
}

my @victims = (
	[ 'the postmaster' => sub { kill_server($node); $node->start; return 1 } ],
	[ 'a follower' => sub { return kill_client('follower') } ],
	[ 'a rebuilder' => sub { return kill_client('rebuilder') } ],
	[ 'a consumer' => sub { return kill_client('consumer') } ],
	[ 'the background worker' => sub { return kill_one(processes_of($node, qr/eventsource worker/)) } ]);

sub is_up
{
	# A psql that is refused may be gone before it is told what to ask.
	return wait_until(
		sub {
			return eval { $node->psql('log', 'SELECT 1', stdout => \my $out, stderr => \my $err) == 0 };
		},
		60);
}

# What health() says of rows folded anew, while all work.
sub sample
{
	return $node->safe_psql('log', <<'SQL');
SELECT message FROM eventsource.health() WHERE "check" = 'sample of projections' AND status <> 'healthy'
SQL
}

my %killed;
for my $round (1 .. $rounds)
{
	if (($round - 1) % $rounds_per_log == 0)
	{
		end_log();
		begin_log("killed_from_$round");
	}
	my ($victim, $kill) = @{ $victims[ ($round - 1) % @victims ] };
	my @crowds = (
		start_crowd($node, 'writer', 4, 3, streams => 60, pause => 10),
		start_crowd($node, 'follower', 2, 3),
		start_crowd($node, 'rebuilder', 1, 3),
		start_crowd($node, 'consumer', 2, 3, reader => 'together', levels => 3));

	# Somewhere in the middle of things; again, if it was not there.
	my @samples = map { sleep 0.1 + rand 0.2; sample() } 1 .. 2;
	$killed{$victim} += !!wait_until($kill, 1);
	is_up() or die 'server does not come back';
	settle_prepared($node, 0.2);
	finish_crowd($_) for @crowds;
	settle_prepared($node, 0);

	my $label = "round $round, $victim killed";
	is(join('', @samples), '', "$label: so were samples of rows, wherever their projections were");
	is(problems_of($node, 'log'), '', "$label: the log is whole, rows are what their events make");
	$node->safe_psql('log', 'SELECT * FROM eventsource.run_projections()');
	is($node->safe_psql('log', 'SELECT * FROM torture.wrong_sums() LIMIT 5'), '', "$label: and all of them");
	$node->safe_psql('log', "DO 'BEGIN WHILE torture.take_together(1000) IS NOT NULL LOOP COMMIT; END LOOP; END'");
	is( $node->safe_psql('log',
			"SELECT skipped, twice, unknown, out_of_order FROM torture.judge('together')"),
		'0|0|0|0', "$label: each event delivered once");
}
note join ', ', map { "$_ killed $killed{$_} times" } sort keys %killed;
is(scalar(grep { $_ } values %killed), scalar @victims, 'each of them died') if $rounds >= 4 * @victims;
end_log();
cmp_ok($events, '>', 50 * $rounds, 'there was load');
cmp_ok($redefinitions, '>', 2 * $rounds, 'and there were redefinitions');
done_testing();
