# 068_outbox_killed.pl: the stream that wal2json makes of published events, held against
# the log while writers and publishers (the worker and others) work and are killed: each
# committed event once, in order of position.
#
# Every round one thing is killed with SIGKILL: a publisher's backend, the worker, or the
# postmaster with all it has. A consumer drains a slot meanwhile, and drops by sequence
# what comes again after a crash, as consumers of slots must; another slot is read whole.
# ES_OUTBOX_ROUNDS is the number of rounds, ES_KILL_SEED the dice.

use strict;
use warnings;

use EventLog;
use Outbox;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Torture;

plan skip_all => 'wal2json is not installed for this server' unless has_wal2json();

my $rounds = $ENV{ES_OUTBOX_ROUNDS} || 4;
my $seed = $ENV{ES_KILL_SEED} || time;
srand($seed);
note "ES_KILL_SEED=$seed";

# Each round ends with all of the log compared, so there is a new log now and then.
my $rounds_per_log = 10;
my ($node, $messages, @consumed) = (undef, 0);

sub begin_log
{
	$node = new_decoding_server(
		$_[0],
		'shared_preload_libraries = eventsource',
		'eventsource.worker_enabled = on',
		'eventsource.worker_interval = 100ms',
		'eventsource.segment_size = 2000',
		'restart_after_crash = on',
		'deadlock_timeout = 50ms',
		'max_connections = 60');
	@consumed = ();
	create_slot($node, 'whole');
	create_slot($node, 'drained');
	$node->safe_psql('log', 'SELECT eventsource.start_publishing()');
	return;
}

sub end_log
{
	return unless $node;
	$messages += $node->safe_psql('log', 'SELECT count(*) FROM eventsource.outbox');
	$node->stop;
	$node->clean_node;
	return;
}

# Takes what is in the slot: at least once, hence by sequence.
sub drain
{
	my ($out, $err);
	my $sql = messages_of('drained', 'get');
	eval { $node->psql('log', "SELECT ce ->> 'sequence' FROM ($sql) m ORDER BY n", stdout => \$out, stderr => \$err) };
	for my $sequence (split /\n/, $out // '')
	{
		push @consumed, $sequence if !@consumed || $sequence gt $consumed[-1];
	}
	return;
}

sub kill_one
{
	my @pids = @_;
	my $pid = @pids ? $pids[ rand @pids ] : 0;

	return 0 unless $pid && kill 'KILL', $pid;
	wait_until(sub { !-d "/proc/$pid" }) or die 'the postmaster sees no end';
	return 1;
}

sub publishers
{
	return split /\n/, $node->safe_psql('log', "SELECT pid FROM pg_stat_activity WHERE application_name = 'torture publisher'");
}

my @victims = (
	[ 'the postmaster' => sub { kill_server($node); $node->start; return 1 } ],
	[ 'a publisher' => sub { return kill_one(publishers()) } ],
	[ 'the background worker' => sub { return kill_one(processes_of($node, qr/eventsource worker/)) } ],
	[ 'nothing' => sub { return 1 } ]);

sub is_up
{
	return wait_until(
		sub {
			return eval { $node->psql('log', 'SELECT 1', stdout => \my $out, stderr => \my $err) == 0 };
		},
		60);
}

my %killed;
for my $round (1 .. $rounds)
{
	if (($round - 1) % $rounds_per_log == 0)
	{
		end_log();
		begin_log("outbox_from_$round");
	}
	my ($victim, $kill) = @{ $victims[ ($round - 1) % @victims ] };
	my @crowds = (
		start_crowd($node, 'writer', 4, 3, streams => 60, pause => 10),
		start_crowd($node, 'publisher', 3, 3, pause => 20));

	for (1 .. 2)
	{
		sleep 0.2 + rand 0.3;
		drain();
	}
	$killed{$victim} += !!wait_until($kill, 1);
	is_up() or die 'server does not come back';
	drain();
	settle_prepared($node, 0.2);
	finish_crowd($_) for @crowds;
	settle_prepared($node, 0);

	# Somebody else may be at it still.
	my $label = "round $round, $victim killed";
	ok( wait_until(
			sub {
				return $node->safe_psql('log', 'SELECT status FROM eventsource.publish(NULL)') eq 'current'
				  && $node->safe_psql('log', 'SELECT lag FROM eventsource.publications') eq '0';
			}),
		"$label: all is published");
	my @problems = split /\n/, problems_of_stream($node, 'whole', 'eventsource');
	is(join("\n", splice @problems, 0, 5), '', "$label: each event once, in order, as the log has it");
	drain();
	is(join(' ', @consumed), $node->safe_psql('log', "SELECT string_agg(lpad(position::text, 19, '0'), ' ' ORDER BY position) FROM eventsource.outbox"),
		"$label: and so does a consumer have it");
}
is(problems_of($node, 'log'), '', 'the log is whole');
note join ', ', map { "$_ killed $killed{$_} times" } sort keys %killed;
is(scalar(grep { $_ } values %killed), scalar @victims, 'each of them died') if $rounds >= @victims;
end_log();
cmp_ok($messages, '>', 50 * $rounds, 'there was load');
done_testing();
