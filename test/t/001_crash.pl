# 001_crash.pl: what was acknowledged is there exactly once, whatever dies.
#
# Writers append as fast as they can and note each acknowledged event in a ledger
# of their own, outside the database. Every round something is killed with
# SIGKILL: a writer's backend, the worker that attaches segments, the postmaster,
# or everything at once (stop immediate). Segments are tiny, so that they are
# being attached all the while. After each round the ledgers are held against the
# log. ES_CRASH_ROUNDS sets the number of rounds, ES_CRASH_SEED the dice.

use strict;
use warnings;

use EventLog;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $rounds = $ENV{ES_CRASH_ROUNDS} || 12;
my $seed = $ENV{ES_CRASH_SEED} || time;
my $writers = 4;
my $script_length = 4000;
my @segment_sizes = (200, 200, 1000);
srand($seed);
note "ES_CRASH_SEED=$seed";

my $node = new_server(
	'crash',
	'restart_after_crash = on',
	'synchronous_commit = on',
	'deadlock_timeout = 50ms',    # transactions that meet in two rows
	'shared_preload_libraries = eventsource',
	'eventsource.shared_heads = 60',
	"eventsource.segment_size = $segment_sizes[0]");
my $dir = PostgreSQL::Test::Utils::tempdir;
my $has_projections = has_function($node, 'log', 'create_projection');

# ---- the work ----

# One step of a writer: SQL that returns a row ('ack', id, position, stream,
# version) per event, the id being part of the event's data.
my @steps = (
	sub {    # single append to a stream that all share
		my ($id) = @_;
		my $stream = 'account-' . int rand 20;
		return "SELECT 'ack', '$id', position, stream, version"
		  . " FROM eventsource.append('$stream', 'paid', '{\"id\":\"$id\",\"n\":1}');\n";
	},
	sub {    # to a new stream, or one of this writer's, with a key
		my ($id, $writer) = @_;
		my $stream = "account-$writer-" . int rand 2000;
		return "SELECT 'ack', '$id', position, stream, version"
		  . " FROM eventsource.append('$stream', 'paid', '{\"id\":\"$id\",\"n\":2}', idempotency_key => '$id');\n";
	},
	sub {    # a batch over several streams
		my ($id) = @_;
		my @events = map {
			sprintf '{"stream":"account-%d","type":"paid","data":{"id":"%s.%d","n":3}}',
			  rand 20, $id, $_
		} 1 .. 5;
		return "SELECT 'ack', '$id.' || n, position, stream, version"
		  . " FROM eventsource.append_events('["
		  . join(',', @events)
		  . "]') WITH ORDINALITY AS e (position, stream, version, state, is_duplicate, n);\n";
	},
	sub {    # several rows into the view
		my ($id) = @_;
		my $stream = 'account-' . int rand 20;
		my $rows = join ',', map { "('$stream', 'paid', '{\"id\":\"$id.$_\",\"n\":4}')" } 1 .. 4;
		return "INSERT INTO eventsource.events (stream, type, data) VALUES $rows"
		  . " RETURNING 'ack', data->>'id', position, stream, version;\n";
	},
	sub {    # a transaction, part of which is taken back
		my ($id, $writer) = @_;
		my $own = "account-$writer-" . int rand 2000;
		my $shared = 'account-' . int rand 20;
		my $select = "SELECT 'ack', '%s', position, stream, version"
		  . " FROM eventsource.append('%s', 'paid', '{\"id\":\"%1\$s\",\"n\":5}');\n";
		return
			"BEGIN;\n"
		  . sprintf($select, "$id.1", $own)
		  . "SAVEPOINT s;\n"
		  . sprintf($select, "$id.undone", $own)
		  . "\\echo TAKE BACK\nROLLBACK TO s;\n"
		  . sprintf($select, "$id.2", $shared)
		  . (rand() < 0.8 ? "COMMIT;\n" : "ROLLBACK;\n");
	});

sub write_script
{
	my ($file, $round, $writer) = @_;
	my $sql = '';

	for my $n (1 .. $script_length)
	{
		$sql .= $steps[ rand @steps ]->("r${round}w${writer}n$n", $writer);
	}
	PostgreSQL::Test::Utils::append_to_file($file, $sql);
	return;
}

# ---- the ledger ----

my %acknowledged;    # id => "position|stream|version"
my %undone;          # id => 1

# Reads what a psql printed: rows count once their transaction is committed.
sub read_ledger
{
	my ($file) = @_;
	my (@pending, $in_transaction, $before);

	for my $line (split /\n/, slurp_file($file))
	{
		my $is_rollback_to = ($before // '') eq 'TAKE BACK';

		$before = $line;
		if ($line eq 'BEGIN') { $in_transaction = 1; @pending = () }
		elsif ($is_rollback_to) { next }
		elsif ($line eq 'COMMIT' || $line eq 'ROLLBACK')
		{
			if ($line eq 'COMMIT') { $acknowledged{ $_->[0] } = $_->[1] for @pending }
			else { $undone{ $_->[0] } = 1 for @pending }
			$in_transaction = 0;
		}
		elsif ($line =~ /^ack\|([^|]+)\|(\d+\|[^|]+\|\d+)$/)
		{
			if ($1 =~ /undone/) { $undone{$1} = 1 }
			elsif ($in_transaction) { push @pending, [ $1, $2 ] }
			else { $acknowledged{$1} = $2 }
		}
	}
	return;
}

# Holds the ledger against the log; what differs.
sub ledger_problems
{
	my (%seen, @problems);
	my $log = $node->safe_psql('log',
		"SELECT data->>'id', position, stream, version FROM eventsource.events WHERE category = 'account'");

	for my $line (split /\n/, $log)
	{
		my ($id, $rest) = split /\|/, $line, 2;
		push @problems, "twice: $id" if exists $seen{$id};
		push @problems, "not taken back: $id" if $undone{$id};
		$seen{$id} = $rest;
	}
	for my $id (keys %acknowledged)
	{
		push @problems, "lost: $id" if !exists $seen{$id};
		push @problems, "other: $id: $acknowledged{$id}, found $seen{$id}"
		  if exists $seen{$id} && $seen{$id} ne $acknowledged{$id};
	}
	return join "\n", grep { defined } @problems[ 0 .. 9 ];
}

# ---- killing ----

my $workers_killed = 0;
my %kill = (
	'backend' => sub {
		my @pids = split /\n/,
		  $node->safe_psql('log', "SELECT pid FROM pg_stat_activity WHERE application_name = 'writer'");
		kill 'KILL', $pids[ rand @pids ] if @pids;
		return;
	},
	'attaching worker' => sub {    # lives for some milliseconds only
		my $limit = time + 10;
		my @pids;
		@pids = processes_of($node, qr/segment attacher/) until @pids || time > $limit;
		$workers_killed += kill 'KILL', @pids;
		return;
	},
	'postmaster' => sub {
		kill_server($node);
		$node->start;
		return;
	},
	'everything' => sub {
		$node->stop('immediate');
		$node->start;
		return;
	});
my @victims = sort keys %kill;

# ---- rounds ----

$node->safe_psql('log', <<'SQL');
CREATE TABLE balance (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0, last bigint);
CREATE TABLE total (n text PRIMARY KEY, events bigint NOT NULL DEFAULT 0, last text);
SQL
if ($has_projections)
{
	$node->safe_psql('log', <<'SQL');
SELECT eventsource.create_projection('balance', ARRAY['account'],
	jsonb_build_object('paid', $$ n = row.n + (event.data->>'n')::bigint, last = event.version $$));
SELECT eventsource.create_projection('total', ARRAY['account'],
	jsonb_build_object('paid', $$ events = row.events + 1, last = event.stream $$),
	key => jsonb_build_object('n', $$ event.data->>'n' $$), mode => 'inline');
SQL
}

sub projection_problems
{
	return '' if !$has_projections;
	return $node->safe_psql('log', <<'SQL');
SELECT * FROM (SELECT key, sum((data->>'n')::bigint) AS n, max(version) AS last
				 FROM eventsource.events WHERE category = 'account' GROUP BY key) e
  FULL JOIN balance b USING (key)
 WHERE (e.n, e.last) IS DISTINCT FROM (b.n, b.last) LIMIT 10;
SELECT * FROM (SELECT data->>'n' AS n, count(*) AS events, (array_agg(stream ORDER BY position DESC))[1] AS last
				 FROM eventsource.events WHERE category = 'account' GROUP BY 1) e
  FULL JOIN total t USING (n)
 WHERE (e.events, e.last) IS DISTINCT FROM (t.events, t.last) LIMIT 10
SQL
}

for my $round (1 .. $rounds)
{
	my $victim = $victims[ $round % @victims ];
	my $size = $victim =~ /worker/ ? $segment_sizes[0] : $segment_sizes[ rand @segment_sizes ];
	my @sessions;

	$node->append_conf('postgresql.conf', "eventsource.segment_size = $size");
	$node->reload;
	for my $writer (1 .. $writers)
	{
		my $file = "$dir/r${round}w$writer";
		write_script("$file.sql", $round, $writer);
		my $session = IPC::Run::start(
			[
				'psql', '-XAt', '-f', "$file.sql", '-d', $node->connstr('log') . ' application_name=writer'
			],
			'<', \undef, '>', "$file.out", '2>', "$file.err");
		push @sessions, { psql => $session, file => $file };
	}

	# Kill somewhere in the middle of things, once all are at work.
	wait_until(sub { @sessions == grep { -s "$_->{file}.out" } @sessions }, 60)
	  or die 'writers do not write';
	sleep 0.1 + rand 0.6;
	$kill{$victim}->();
	for my $session (@sessions)
	{
		$session->{psql}->finish;
		read_ledger("$session->{file}.out");
		unlink "$session->{file}.sql", "$session->{file}.out";
	}
	wait_until(sub { $node->psql('log', 'SELECT 1', stdout => \my $out, stderr => \my $err) == 0 }, 60)
	  or die 'server does not come back';

	my $label = "round $round, $victim killed";
	note sprintf '%s, segments of %d: %d acknowledged', $label, $size, scalar keys %acknowledged;
	is(ledger_problems(), '', "$label: the ledger holds");
	is(projection_problems(), '', "$label: projections are sums of events");
	is(problems_of($node, 'log'), '', "$label: the log is whole");
	is( $node->safe_psql('log',
			"SELECT version FROM eventsource.append('control-1', 'checked')"),
		$round,
		"$label: appending goes on");
}

cmp_ok(scalar keys %acknowledged, '>', 100 * $rounds, 'there was load');
cmp_ok($node->safe_psql('log', 'SELECT count(*) FROM eventsource.segments'), '>', 2 * $rounds,
	'segments were attached');
cmp_ok($workers_killed, '>', 0, 'workers died while attaching') if $rounds >= @victims;
$node->stop;
done_testing;
