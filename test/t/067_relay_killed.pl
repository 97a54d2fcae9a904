# 067_relay_killed.pl: whatever is killed in mid-delivery, the ledger of the receivers and
# the events agree: nothing is recorded that did not happen, what a receiver took is
# recorded in the end, and no delivery is recorded twice.
#
# Every round jobs are enqueued while two relays for webhooks and one for mail are at
# work, and one thing is killed with SIGKILL: a relay, its backend, a receiver, the whole
# server; or a relay is stopped until its leases are over, and goes on then.
# ES_RELAY_ROUNDS is the number of rounds, ES_RELAY_SEED the dice.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Relay;
use Test::More;
use Time::HiRes qw(sleep);

my $missing = build_relay();
plan skip_all => $missing if $missing;
plan skip_all => 'no aiosmtpd here' if !python_with('aiosmtpd');

my $rounds = $ENV{ES_RELAY_ROUNDS} || 6;
my $seed = $ENV{ES_RELAY_SEED} || time;
srand($seed);
note "ES_RELAY_SEED=$seed";

my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = new_server('relay_killed', 'restart_after_crash = on');
my %port = map { $_ => PostgreSQL::Test::Cluster::get_free_port() } 'hooks', 'mails';
my %start = (hooks => \&start_receiver, mails => \&start_mail_sink);
my %receiver = map { $_ => $start{$_}->("$dir/$_", $port{$_}) } keys %port;

my @common = ('--lease=1', '--timeout=3', '--db-timeout=5');
my @hooks = ('--queue=hooks', '--unsigned', "--allow-url=http://127.0.0.1:$port{hooks}", '--concurrency=4', @common);
my @mails = ('--queue=mails', "--smtp=smtp://127.0.0.1:$port{mails}", '--smtp-plain', '--from=log@example.com',
	'--concurrency=3', @common);
my @relays;

# With the server just killed, or about to be, a statement may fail: again then.
sub ask
{
	my ($sql) = @_;
	my ($out, $err);

	wait_until(
		sub { return eval { $node->psql('log', $sql, stdout => \$out, stderr => \$err) == 0 } }, 120)
	  or die "no answer to $sql: $err";
	return $out;
}

sub enqueue_some
{
	my ($round) = @_;
	ask(<<"SQL");
SELECT count(eventsource.enqueue('hooks', jsonb_build_object('url', 'http://127.0.0.1:$port{hooks}' || p.path, 'body', jsonb_build_object('round', $round)),
			job_key => '$round.' || n)), count(eventsource.enqueue('mails', jsonb_build_object('to', 'someone\@example.com', 'subject', 'Round $round', 'text', 'Hello'),
			job_key => '$round.' || n))
  FROM generate_series(1, 20) n
 CROSS JOIN LATERAL (SELECT ('{/ok,/slow/0.1,/first/503,/slow/0.3,/ok}'::text[])[n % 5 + 1]) p (path)
SQL
	return;
}

sub is_up { return ask('SELECT 1') }

my @victims = (
	[   'a relay' => sub {
			my $n = int rand @relays;
			kill_relay($relays[$n]{run});
			$relays[$n]{run} = start_relay($node, @{ $relays[$n]{options} });
		} ],
	[   'a receiver' => sub {
			my ($kind) = (keys %port)[ rand 2 ];
			kill_receiver($receiver{$kind});
			sleep rand 0.5;
			$receiver{$kind} = $start{$kind}->("$dir/$kind", $port{$kind});
		} ],
	[ 'the server' => sub { kill_server($node); sleep rand 1; $node->start } ],
	[   'a backend' => sub {
			my ($pid) = split /\n/, ask("SELECT pid FROM pg_stat_activity WHERE application_name = 'eventsource-relay' ORDER BY random()");
			kill 'KILL', $pid if $pid;
		} ],
	[   'a relay, for a while' => sub {
			my $relay = $relays[ rand @relays ]{run}{run};
			$relay->signal('STOP');
			sleep 1.5;
			$relay->signal('CONT');
		} ]);

ask(<<'SQL');
SELECT eventsource.create_queue(q, max_attempts => 1000, backoff => '0.1 seconds', strategy => 'fixed', jitter => 0)
  FROM unnest('{hooks,mails}'::text[]) q
SQL
my $log_id = ask('SELECT eventsource.log_id()');
@relays = map { { options => $_, run => start_relay($node, @$_) } } \@hooks, \@hooks, \@mails;

for my $round (1 .. $rounds)
{
	my ($victim, $kill) = @{ $victims[ ($round - 1) % @victims ] };

	enqueue_some($round);
	sleep rand 0.6;
	$kill->();
	ok(is_up()
		  && wait_until(
			sub { ask("SELECT count(*) FROM eventsource.jobs WHERE state IN ('scheduled', 'available', 'claimed')") eq '0' }, 120),
		"round $round, $victim killed: all is delivered");
}
is(stop_relay($_->{run}), 0, 'a relay stops') for @relays;

# ---- the ledger against the log ----

my (%taken, %refused);
for my $line (ledger_of("$dir/hooks"))
{
	my %headers = map { @$_ } @{ $line->{headers} };
	($line->{status} < 300 ? \%taken : \%refused)->{ $headers{'webhook-id'} }++;
}
$taken{ $_->{id} =~ s/^<|@.*//gr }++ for ledger_of("$dir/mails");

my (%sent, %failed, %attempts);
for my $event (split /\n/, ask(<<'SQL'))
SELECT concat_ws(' ', type, data #>> '{details,id}', data ->> 'attempt', coalesce(data #>> '{details,status}', '0'), stream)
  FROM eventsource.events WHERE category = 'delivery'
SQL
{
	my ($type, $id, $attempt, $status, $stream) = split / /, $event;
	$sent{$id}++ if $type eq 'MessageSent';
	$failed{$id}++ if $type eq 'MessageFailed' && $status == 503;
	$attempts{"$id $attempt"}++;
	fail("$stream tells of $id") if $id ne $log_id . $stream =~ s/^delivery//r;
}

is(scalar(keys %sent), 40 * $rounds, 'each job is recorded as sent');
is(join(' ', grep { $sent{$_} != 1 } keys %sent), '', 'once');
is(join(' ', grep { $attempts{$_} != 1 } keys %attempts), '', 'each attempt is one event at most');
is(join(' ', grep { !$taken{$_} } keys %sent), '', 'nothing is recorded that did not happen');
is(join(' ', grep { $failed{$_} > ($refused{$_} // 0) } keys %failed), '', 'no refusal either');
is(join(' ', grep { !$sent{$_} } keys %taken), '', 'nothing was taken that is not recorded');
is(ask("SELECT count(*), count(*) FILTER (WHERE state = 'done') FROM eventsource.jobs"), join('|', (40 * $rounds) x 2),
	'all jobs are done');
note sprintf '%d deliveries were made more than once', scalar grep { $_ > 1 } values %taken;
is(problems_of($node, 'log'), '', 'the log is whole');
done_testing();
