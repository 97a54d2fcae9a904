# 060_jobs.pl: whoever is killed, a job is lent to one worker at a time, jobs of an order key are done in
# order, and what a job does in this database is done once.
#
# Senders enqueue while workers claim, work and complete, or fail. Each round something is killed with SIGKILL: a
# worker, its backend, the whole server; or a worker is stopped until its leases are over, and goes on then.
#
# Outside of the database are what senders asked for and were told, and what workers were lent, what they told
# and whether that was heard. ES_JOB_ROUNDS is the number of rounds, ES_JOB_SEED the dice.

use strict;
use warnings;

use EventLog;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $rounds = $ENV{ES_JOB_ROUNDS} || 6;
my $seed = $ENV{ES_JOB_SEED} || time;
srand($seed);
note "ES_JOB_SEED=$seed";

my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = new_server('jobs', 'restart_after_crash = on');
my $url = $node->connstr('log');
my $lease = 2;

# With the server just killed, or about to be, a statement may fail: again then.
sub ask
{
	my ($sql) = @_;
	my ($out, $err);

	wait_until(sub { return eval { $node->psql('log', $sql, stdout => \$out, stderr => \$err) == 0 } }, 120)
	  or die "no answer to $sql: $err";
	return $out;
}

ask(<<'SQL');
CREATE TABLE effect (n int, job_id bigint, attempt int);
SELECT eventsource.create_queue('work', max_attempts => 1000, backoff => '0.1 seconds', strategy => 'fixed', jitter => 0);
SQL

# ---- those who send and work ----

# Each sender has an order key, and asks for every fourth job without one. Nothing is asked for again.
my $send = <<'SH';
n=0
while [ $n -lt 100000 ]; do
	n=$((n + 1))
	key="'$1'"
	[ $((n % 4)) != 0 ] || key=NULL
	echo "asked $1.$n" >>"$2"
	psql -XAtqc "SELECT eventsource.enqueue('work', '{\"n\": $n, \"of\": \"$1\"}', order_key => $key, priority => $n % 2)" "$0" >/dev/null 2>&1 &&
		echo "told $1.$n" >>"$2"
	sleep 0.0$((RANDOM % 10))
done
SH
my $work = <<'SH';
me=w$$
while :; do
	psql -XAtqF ' ' -c "SELECT job_id, attempt, payload->>'n', extract(epoch FROM lease_until), coalesce(order_key, '-') FROM eventsource.claim('work', 3, '$2 seconds', '$me')" "$0" 2>/dev/null |
	while read -r id attempt n until key; do
		echo "lent $id $attempt $until $key $me" >>"$1"
		mine="worker => '$me', attempt => $attempt"
		if [ $((n % 10)) = 0 ]; then
			sql="SELECT eventsource.fail($id, 'REJECTED', $mine)"
		elif [ $((n % 7)) = 3 ] && [ "$attempt" = 1 ]; then
			sql="SELECT eventsource.fail($id, 'TIMEOUT', $mine)"
		else
			sql="INSERT INTO effect SELECT $n, $id, $attempt; SELECT eventsource.complete($id, $mine)"
		fi
		echo "tells $id $attempt $(date +%s.%N)" >>"$1"
		psql -XAtqc "$sql" "$0" >/dev/null 2>&1 && echo "heard $id $attempt" >>"$1"
	done
	sleep 0.02
done
SH

sub start { return IPC::Run::start([ 'bash', '-c', @_ ], '<', \undef, '>', '/dev/null', '2>', '/dev/null') }
sub start_worker { return start($work, $url, "$dir/worked", $lease) }
my @workers = map { start_worker() } 1 .. 4;

# With what they are waiting for: a child that lives on may still be heard.
sub pid_of_worker { return $workers[ $_[0] ]->{KIDS}[0]{PID} }

my @victims = (
	[   'a worker' => sub {
			my $n = int rand @workers;
			$workers[$n]->kill_kill;
			$workers[$n] = start_worker();
		} ],
	[   'a backend' => sub {
			my $pid;
			wait_until(sub { $pid = (split /\n/, ask("SELECT pid FROM pg_stat_activity WHERE query LIKE '%claim%' OR query LIKE '%complete%'"))[0] }, 10);
			kill 'KILL', $pid if $pid;
		} ],
	[ 'the server' => sub { kill_server($node); sleep rand 0.5; $node->start } ],
	[   'a worker, which is stopped beyond its leases,' => sub {
			my $pid = pid_of_worker(int rand @workers);
			kill 'STOP', $pid or die 'nobody to stop';
			sleep $lease + 0.5;
			kill 'CONT', $pid;
		} ]);

# ---- rounds ----

for my $round (1 .. $rounds)
{
	my ($victim, $kill) = @{ $victims[ ($round - 1) % @victims ] };
	my @senders = map { start($send, $url, "r$round-$_", "$dir/sent") } 1 .. 3;

	sleep 0.7 + rand 0.5;
	$kill->();
	sleep 0.3;
	$_->kill_kill for @senders;
	ok(wait_until(sub { ask("SELECT count(*) FROM eventsource.jobs WHERE finished_at IS NULL") eq '0' }, 120),
		"round $round, $victim killed: all jobs are finished");
}
$_->kill_kill for @workers;

# What lives on of the last ones says its last word before it is listened to.
wait_until(sub { ask("SELECT count(*) FROM pg_stat_activity WHERE datname = 'log' AND pid <> pg_backend_pid()") eq '0' }) or die 'somebody stays';

# ---- the ledgers ----

my (%asked, %told, %lent, %tells, %heard);
for (split /\n/, slurp_file("$dir/sent"))
{
	my ($what, $job) = split / /;
	($what eq 'asked' ? \%asked : \%told)->{$job} = 1;
}
for (split /\n/, slurp_file("$dir/worked"))
{
	my ($what, $id, $attempt, @rest) = split / /;
	$lent{$id}{$attempt} = { from => $rest[0] - $lease, until => $rest[0], key => $rest[1] } if $what eq 'lent';
	$tells{$id}{$attempt} = $rest[0] if $what eq 'tells';
	$heard{$id}{$attempt} = 1 if $what eq 'heard';
}
my %job = map { my ($id, $name, $state, $attempt) = split /\|/; $id => { name => $name, state => $state, attempt => $attempt } }
  split /\n/, ask("SELECT job_id, payload->>'of' || '.' || (payload->>'n'), state, attempt FROM eventsource.jobs");
my %there;
$there{ $_->{name} }++ for values %job;

cmp_ok(scalar keys %job, '>', 10 * $rounds, 'there were many jobs');
is(join(' ', grep { !$there{$_} } sort keys %told), '', 'each of which a sender was told is there');
is(join(' ', grep { !$asked{$_} || $there{$_} > 1 } sort keys %there), '', 'no other is, and none twice');

# When a lease was over before its end: as its worker began to tell what became of the job.
my @twice;
my %of_key;
for my $id (keys %lent)
{
	my $before;
	for my $attempt (sort { $a <=> $b } keys %{ $lent{$id} })
	{
		my $this = $lent{$id}{$attempt};
		$this->{over} = $this->{until};
		my $told = $tells{$id}{$attempt};
		$this->{over} = $told if defined $told && $told < $this->{over};
		push @twice, "$id/$attempt" if $before && $this->{from} < $before->{over};
		$before = $this;
		push @{ $of_key{ $this->{key} } }, $this if $this->{key} ne '-';
	}
}
is("@twice", '', 'none was lent while its lease held');
my @beside;
for my $key (keys %of_key)
{
	my @leases = sort { $a->{from} <=> $b->{from} } @{ $of_key{$key} };
	push @beside, map { "$key $leases[$_]{from}" } grep { $leases[$_]{from} < $leases[ $_ - 1 ]{over} } 1 .. $#leases;
}
is("@beside", '', 'nor was another of its order key');
is(join(' ', grep { my $id = $_; grep { $_ > $job{$id}{attempt} } keys %{ $lent{$id} } } keys %lent), '', 'each lease counted as an attempt');
my @late;
for my $id (keys %heard)
{
	my ($n) = $job{$id}{name} =~ /(\d+)$/;
	push @late, map { "$id/$_" } grep { $_ != $job{$id}{attempt} && !($_ == 1 && $n % 7 == 3 && $n % 10) } keys %{ $heard{$id} };
}
is("@late", '', 'of what finishes a job the last one alone is heard, who has it then');

is(ask(<<'SQL'), '', 'those of an order key are finished in order');
SELECT string_agg(job_id::text, ' ') FROM (
	SELECT job_id, (payload->>'n')::int < lag((payload->>'n')::int) OVER (PARTITION BY order_key ORDER BY finished_at) AS is_early
	  FROM eventsource.jobs WHERE order_key IS NOT NULL) j WHERE is_early
SQL
is(ask(<<'SQL'), '', 'what a job does in the database is done once, and only if it is done');
SELECT string_agg(format('%s: %s, %s times', j.job_id, j.state, e.times), ' ')
  FROM eventsource.jobs j FULL JOIN (SELECT job_id, count(*) AS times, max(attempt) AS attempt FROM effect GROUP BY 1) e USING (job_id)
 WHERE CASE WHEN j.state = 'done' THEN (e.times, e.attempt) IS DISTINCT FROM (1::bigint, j.attempt) ELSE e.times IS NOT NULL END
SQL
is(ask("SELECT count(*) FROM eventsource.jobs WHERE state <> CASE WHEN (payload->>'n')::int % 10 = 0 THEN 'discarded' ELSE 'done' END"), '0',
	'those are given up that were to be');
is(join(' ', grep { my $id = $_; $job{$id}{state} eq 'done' && keys %{ $heard{$id} // {} } && !$tells{$id}{ $job{$id}{attempt} } } keys %job), '',
	'none is done of which no worker told');
is(ask("SELECT lost FROM eventsource.job_lag()"), '0', 'no lease is left');
note sprintf '%d jobs, %d leases, %d of them heard of', scalar keys %job, scalar map({ keys %$_ } values %lent), scalar map({ keys %$_ } values %heard);
is(problems_of($node, 'log'), '', 'the log is whole');
done_testing();
