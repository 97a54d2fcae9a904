# 053_recovery.pl: checkpoints that were given away, and what recovery makes of the log:
# kill -9 while events that are not durable yet are sealed, recovery to a point in time,
# a failover and pg_rewind of the old primary. Checkpoints are kept outside; those of what
# was lost are refused, all others hold.

use strict;
use warnings;

use EventLog;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $dir = PostgreSQL::Test::Utils::tempdir;
my $verifier = "$ENV{TESTDIR}/tools/verify_log.py";
my $rounds = $ENV{ES_KILL_ROUNDS} || 6;

# What was never flushed is lost with the processes: the WAL writer sleeps, and no buffer
# has to be written for another.
my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, has_archiving => 1, extra => [ '-E', 'UTF8', '--locale=C' ]);
$primary->append_conf('postgresql.conf', join "\n",
	'log_statement = none', 'shared_preload_libraries = eventsource', 'eventsource.worker_enabled = off',
	'eventsource.segment_size = 3000', 'wal_writer_delay = 10s', 'shared_buffers = 128MB', 'wal_buffers = 16MB', 'wal_log_hints = on', 'wal_keep_size = 256MB', 'wal_receiver_status_interval = 1');
$primary->start;
create_log($primary, 'log');

# ---- kill -9, at any moment of a seal ----

append_to_file("$dir/write.sql", "SET synchronous_commit = off;\n" . <<'SQL' x 30);
SELECT eventsource.append('s-' || floor(random() * 9), 'made', to_jsonb(random()));
SQL
append_to_file("$dir/seal.sql", "SET synchronous_commit = off;\n" . "SELECT size, events FROM eventsource.seal(1 + floor(random() * 40)::int) \\g /dev/null\nSELECT eventsource.checkpoint();\n" x 3000);

my %given;		# size -> checkpoint, as they were given

sub keep
{
	my ($text) = @_;
	while ($text =~ m{(eventsource/log/[-0-9a-f]{36}\n(\d+)\n[\w+/=]{44}\n)}g)
	{
		is($1, $given{$2}, "two checkpoints of $2 events are the same") if defined $given{$2} && $given{$2} ne $1;
		$given{$2} //= $1;
	}
	return;
}

sub newest { return (sort { $b <=> $a } keys %given)[0] }

# Asks verify_log() with a checkpoint.
sub verified
{
	my ($node, $checkpoint) = @_;
	my ($out, $err) = ('', '');
	$node->psql('log', "SELECT * FROM eventsource.verify_log(\$c\$$checkpoint\$c\$)", stdout => \$out, stderr => \$err,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $err || $out;
}

my ($out, $lost, $unsealed) = ('', 0, 0);
for my $round (1 .. $rounds)
{
	my @address = ('-h', $primary->host, '-p', $primary->port);
	my $writer = IPC::Run::start([ 'pgbench', '-n', '-c', 3, '-T', 60, '-f', "$dir/write.sql", @address, 'log' ], '>', \my $noise, '2>', \my $errors);
	my $sealer = IPC::Run::start([ 'psql', '-XAtq', '-f', "$dir/seal.sql", @address, 'log' ], '>', "$dir/given$round", '2>', \$errors);

	sleep 0.2 + rand 0.5;
	my $seen = $primary->safe_psql('log', 'SELECT count(*) FROM eventsource.events');
	kill_server($primary);
	$_->finish for $writer, $sealer;
	keep(slurp_file("$dir/given$round"));
	$primary->start;
	$lost++ if $primary->safe_psql('log', 'SELECT count(*) FROM eventsource.events') < $seen;
	$unsealed++ if $primary->safe_psql('log', 'SELECT coalesce(max(size), 0) FROM eventsource.seals') < newest();
	is(verified($primary, $given{ newest() }), '', "round $round: the newest checkpoint of all holds");
}
cmp_ok(scalar(keys %given), '>', 3 * $rounds, 'checkpoints were given');

# ---- and for certain: what was appended last was flushed by nobody but the seal ----

my $tail = 0;
for my $round (1 .. 5)
{
	my $append = q{SELECT count(eventsource.append('t-' || i % 9, 'made')) FROM generate_series(1, 40) i \g /dev/null};

	keep($primary->safe_psql('log', "SET synchronous_commit = off;\n$append\nSELECT FROM eventsource.seal() \\g /dev/null\nSELECT eventsource.checkpoint();\n$append") . "\n");
	my ($last, $sealed) = (newest(), $primary->safe_psql('log', 'SELECT count(*) FROM eventsource.events'));
	kill_server($primary);
	$primary->start;
	$tail = $sealed - $primary->safe_psql('log', 'SELECT count(*) FROM eventsource.events');
	is($last, $sealed - 40, 'all but the last were sealed');
	is(verified($primary, $given{$last}), '', 'no event that was lost was sealed');
	keep($primary->safe_psql('log', "$append\nSELECT FROM eventsource.seal() \\g /dev/null\nSELECT eventsource.checkpoint()") . "\n");
	is(newest(), $sealed - $tail + 40, 'sealing goes on');
	is(verified($primary, $given{ newest() }), '', 'and what it gives holds');
	last if $tail > 0;
}
cmp_ok($tail, '>', 0, 'events were lost');
note "$rounds rounds, " . keys(%given) . " checkpoints; events were lost in $lost rounds, seals in $unsealed";
$primary->safe_psql('log', 'SELECT eventsource.seal()');

sub write_file
{
	my ($file, $content) = @_;
	open my $to, '>', "$dir/$file" or die;
	print $to $content;
	close $to;
	return "$dir/$file";
}

sub outside
{
	my (@arguments) = @_;
	IPC::Run::run([ 'python3', $verifier, @arguments ], '>', \$out, '2>&1');
	return $? == 0;
}

# All of them, against the log as it is now.
sub check_given
{
	my ($name) = @_;
	my @files = map { write_file("checkpoint$_", $given{$_}) } keys %given;
	$primary->safe_psql('log', "\\o $dir/export\nSELECT * FROM eventsource.export_log()");
	ok(outside('log', "$dir/export", @files), "$name: every checkpoint holds outside") or diag substr($out, 0, 2000);
	keep($primary->safe_psql('log', 'SELECT eventsource.checkpoint()') . "\n");
	my $newest = write_file('newest', $given{ newest() });
	for my $size ((sort { $a <=> $b } keys %given)[ 0, int(keys(%given) / 2), -2 ])
	{
		my $proof = write_file('proof', $primary->safe_psql('log', "SELECT to_json(eventsource.consistency_proof($size))"));
		ok(outside('consistency', "$dir/checkpoint$size", $newest, $proof), "$name: the log continues that of $size events");
		$proof = write_file('proof', $primary->safe_psql('log', "SELECT row_to_json(p) FROM eventsource.inclusion_proof((SELECT position FROM eventsource.events ORDER BY position OFFSET $size - 1 LIMIT 1)) p"));
		ok(outside('inclusion', $newest, $proof), "$name: its last event is in it");
	}
	return;
}
check_given('killed');
is(problems_of($primary, 'log'), '', 'the log is whole');

# ---- to a point in time, from a base backup and the archived WAL ----

sub checkpoint_after
{
	my ($node, $what) = @_;
	$node->safe_psql('log', "SELECT count(eventsource.append('p-' || i % 9, '$what')) FROM generate_series(1, 20) i; SELECT eventsource.seal(); SELECT eventsource.publish_watermark()");
	return $node->safe_psql('log', 'SELECT eventsource.checkpoint()') . "\n";
}
my $diverged = qr/ZE012.*not the one that the checkpoint was made of/;

$primary->backup('base');
my $before = checkpoint_after($primary, 'before');
$primary->safe_psql('postgres', q{SELECT pg_create_restore_point('here')});
my $after = checkpoint_after($primary, 'after');
$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
$primary->poll_query_until('postgres', q{SELECT last_archived_wal >= pg_walfile_name(pg_current_wal_lsn() - 1) FROM pg_stat_archiver}) or die 'not archived';

my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($primary, 'base', has_restoring => 1);
$restored->append_conf('postgresql.conf', "recovery_target_name = 'here'\nrecovery_target_action = promote\narchive_mode = off");
$restored->start;
$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'not promoted';
is(verified($restored, $before), '', 'restored to a point in time: it continues what was signed before');
like(verified($restored, $after), $diverged, 'what was signed after it is noticed');
like(checkpoint_after($restored, 'instead'), qr/\n\d+\n/, 'it goes on');
checkpoint_after($restored, 'instead');
like(verified($restored, $after), $diverged, 'and is not what it was');
is(verified($restored, $before), '', 'but for what it was before');
is(problems_of($restored, 'log'), '', 'the log that was restored is whole');
$restored->stop;

# ---- a failover without the newest events, and the old primary rewound ----

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'archive_mode = off');
$standby->start;
my $shared = checkpoint_after($primary, 'shared');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is(verified($standby, $shared), '', 'the standby has it');
$standby->stop;
my $gone = checkpoint_after($primary, 'gone');
$primary->stop('fast');
$standby->start;
$standby->promote;
$standby->safe_psql('postgres', 'CHECKPOINT');
my $new = checkpoint_after($standby, 'new');
checkpoint_after($standby, 'new');
like(verified($standby, $gone), $diverged, 'what was signed on the old primary and lost is noticed');
like(error_of($standby, 'log', 'SELECT eventsource.consistency_proof(' . ((split /\n/, $gone)[1] + 100) . ')'), qr/ERROR:  ZE012/, 'and cannot be proved');

command_ok([ 'pg_rewind', '--no-sync', '--source-server', $standby->connstr('postgres'), '-D', $primary->data_dir ], 'pg_rewind');
$primary->append_conf('postgresql.conf', 'port = ' . $primary->port . "\narchive_mode = off");
$primary->enable_streaming($standby);
$primary->set_standby_mode;
$primary->start;
$standby->wait_for_catchup($primary, 'replay', $standby->lsn('insert'));
is(verified($primary, $new), '', 'the old primary, rewound, continues the new one');
is(verified($primary, $shared), '', 'and what both had');
like(verified($primary, $gone), $diverged, 'and no longer what it gave itself');
$primary->promote;
checkpoint_after($primary, 'back');
is(verified($primary, $_), '', 'promoted again: it holds') for $new, $shared, $before;
is(problems_of($primary, 'log'), '', 'the log is whole');
$given{ (split /\n/, $_)[1] } = $_ for $new, $shared;
check_given('in the end');

$primary->stop;
$standby->stop;
done_testing();
