# 043_sealing.pl: the tree is the same whatever dies while it grows, goes through dumps,
# and a checkpoint that a failover or a restore lost is noticed.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $dir = PostgreSQL::Test::Utils::tempdir;
my $verifier = "$ENV{TESTDIR}/tools/verify_log.py";

sub append_some
{
	my ($node, $n, $what) = @_;
	$node->safe_psql('log', "SELECT count(eventsource.append('s-' || i % 9, '$what', to_jsonb(i))) FROM generate_series(1, $n) i");
	return;
}

sub checkpoint_of { return $_[0]->safe_psql($_[1] // 'log', 'SELECT eventsource.checkpoint()') . "\n" }

sub size_of { return (split /\n/, $_[0])[1] }

# Asks verify_log() with a checkpoint.
sub verified
{
	my ($node, $db, $checkpoint) = @_;
	my ($out, $err) = ('', '');
	$node->psql($db, "SELECT * FROM eventsource.verify_log(\$c\$$checkpoint\$c\$)", stdout => \$out, stderr => \$err,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $err || $out;
}

# ---- the worker seals, and is killed while it does ----

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '-E', 'UTF8', '--locale=C' ]);
$primary->append_conf('postgresql.conf', join "\n",
	'log_statement = none', 'shared_preload_libraries = eventsource', 'eventsource.worker_databases = log',
	'eventsource.worker_interval = 20', 'eventsource.seal_interval = 20', 'restart_after_crash = on',
	'eventsource.segment_size = 3000', 'wal_receiver_status_interval = 1', 'max_prepared_transactions = 20');
$primary->start;
create_log($primary, 'log');
append_some($primary, 600, 'made');
my $count = 'SELECT count(*) FROM eventsource.events';
my $sealed = 'SELECT coalesce(max(size), 0) FROM eventsource.seals';
ok(wait_until(sub { $primary->safe_psql('log', $sealed) >= 600 }, 60), 'the worker seals');
is($primary->safe_psql('log', q(SELECT status FROM eventsource.health() WHERE "check" = 'sealing')), 'healthy', 'and health() says so');

my @checkpoints = (checkpoint_of($primary));
for my $round (1 .. 6)
{
	my $load = $primary->background_psql('log');
	$load->query_until(qr/begun/, <<'SQL');
\echo begun
SELECT count(eventsource.append('t-' || i % 9, 'made', to_jsonb(i))) FROM generate_series(1, 700) i \g /dev/null
SELECT eventsource.seal();
SELECT eventsource.seal();
SQL
	my $limit = time + 60;
	my $last = (split /\n/, $checkpoints[-1])[1];

	# While a seal is being written: by the worker, or by the session.
	sleep rand 0.3;
	kill_server($primary) if $round % 2;
	kill 'KILL', $primary->safe_psql('log', q(SELECT pid FROM eventsource.workers WHERE pid IS NOT NULL LIMIT 1)) || 0
	  unless $round % 2;
	eval { $load->quit };
	$primary->start if $round % 2;
	$primary->poll_query_until('log', 'SELECT true') or die 'it does not come back';
	push @checkpoints, checkpoint_of($primary);
	cmp_ok(size_of($checkpoints[-1]), '>=', $last, "round $round: what was told of is there");
}
append_some($primary, 50, 'made');
ok(wait_until(sub { $primary->safe_psql('log', "$sealed") == $primary->safe_psql('log', $count) }, 60), 'sealing goes on');
is(verified($primary, 'log', $_), '', 'the log continues its checkpoint of ' . size_of($_)) for @checkpoints;
is(problems_of($primary, 'log'), '', 'the log is whole');

# ---- a dump has the tree with it ----

$primary->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", 'log' ], 'dumped');
$primary->safe_psql('postgres', 'CREATE DATABASE copy');
$primary->command_ok([ 'pg_restore', '-e', '-d', 'copy', "$dir/dump" ], 'restored');
is(verified($primary, 'copy', $checkpoints[-1]), '', 'a copy continues the checkpoint before it is written to');
is(checkpoint_of($primary, 'copy'), checkpoint_of($primary), 'and has the same');
is($primary->safe_psql('copy', 'SELECT events FROM eventsource.seal()'), 0, 'but is not sealed before its first event');
$primary->safe_psql('copy', "SELECT eventsource.append('s-1', 'made')");
$primary->safe_psql('copy', 'SELECT eventsource.seal()');
is(verified($primary, 'copy', $checkpoints[-1]), '', 'it goes on');

# Two logs that went on from one: neither continues the other.
append_some($primary, 5, 'other');
wait_until(sub { $primary->safe_psql('log', "$sealed") == $primary->safe_psql('log', $count) }, 60);
like(verified($primary, 'log', checkpoint_of($primary, 'copy')), qr/ZE012/, 'the checkpoint of a copy that went on is refused');
like(verified($primary, 'copy', checkpoint_of($primary)), qr/ZE012/, 'and the other way around');
$primary->safe_psql('postgres', 'DROP DATABASE copy');

# ---- a standby that is promoted without the newest events ----

$primary->append_conf('postgresql.conf', 'eventsource.worker_enabled = off');
$primary->restart;
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
append_some($primary, 30, 'both');
$primary->safe_psql('log', 'SELECT eventsource.seal(); SELECT eventsource.publish_watermark()');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
my $shared = checkpoint_of($primary);
is(checkpoint_of($standby), $shared, 'a standby has the checkpoint');
is(verified($standby, 'log', $shared), '', 'and verifies');
is($standby->safe_psql('log', 'SELECT leaf_index FROM eventsource.inclusion_proof((SELECT max(position) FROM eventsource.events))'),
	size_of($shared) - 1, 'and proves');
like(error_of($standby, 'log', 'SELECT eventsource.seal()'), qr/ERROR:  25006/, 'but does not seal');

$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
append_some($primary, 20, 'lost');
$primary->safe_psql('log', 'SELECT eventsource.seal()');
my $lost = checkpoint_of($primary);
like(verified($standby, 'log', $lost), qr/ZE012.*\n.*up to the watermark that this standby has/, 'a standby that lags says so');
$primary->stop('immediate');
$standby->stop('immediate');

# What it received and did not replay is lost with the primary.
$standby->append_conf('postgresql.conf', "primary_conninfo = ''\nrecovery_target_action = promote\nrecovery_target_lsn = '"
	  . run_lsn($standby) . "'");

sub run_lsn
{
	my ($node) = @_;
	my ($out) = run_command([ 'pg_controldata', $node->data_dir ]);
	return $out =~ /Minimum recovery ending location:\s+(\S+)/ ? $1 : die $out;
}
$standby->start;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'not promoted';
is(verified($standby, 'log', $shared), '', 'promoted: it continues what both had');
like(verified($standby, 'log', $lost), qr/ZE012.*not the one that the checkpoint was made of/, 'but not what was lost');
like(error_of($standby, 'log', 'SELECT eventsource.consistency_proof(' . size_of($lost) . ')'), qr/ERROR:  ZE012/, 'nor can it prove that');
append_some($standby, 60, 'new');
$standby->safe_psql('log', 'SELECT eventsource.seal()');
cmp_ok(size_of(checkpoint_of($standby)), '>', size_of($lost), 'it grows beyond');
like(verified($standby, 'log', $lost), qr/ZE012.*not the one that the checkpoint was made of/, 'and is not what was lost');
is(verified($standby, 'log', $shared), '', 'but still what both had');
is(problems_of($standby, 'log'), '', 'the log is whole');

# The verifier outside says the same.
open my $file, '>', "$dir/lost" or die;
print $file $lost;
close $file;
open $file, '>', "$dir/shared" or die;
print $file $shared;
close $file;
$standby->safe_psql('log', "\\o $dir/export\nSELECT * FROM eventsource.export_log()");
command_ok([ 'python3', $verifier, 'log', "$dir/export", "$dir/shared" ], 'outside: it continues what both had');
command_fails([ 'python3', $verifier, 'log', "$dir/export", "$dir/lost" ], 'outside: but not what was lost');

$standby->stop;
done_testing();
