# Retention and others at the same time: holds, appends, readers, older snapshots, erasure.
use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('races', 'eventsource.segment_size = 100', 'deadlock_timeout = 100ms');
my $db = 'log';
my $due = 'SELECT count(*) FROM eventsource.archive_due()';

sub value { return $node->safe_psql($db, $_[0]); }
sub versions { return value("SELECT array_agg(version) FROM eventsource.read_stream('$_[0]')"); }

sub fill
{
	value(
		q{SELECT count(eventsource.append('page-' || n % 10, 'viewed', jsonb_build_object('n', n))) FROM generate_series(1, 120) n});
	return;
}

# Until so many sessions wait for a lock.
sub waiting
{
	my ($count) = @_;
	return wait_until(sub { value('SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted') == $count });
}

sub session
{
	my ($sql) = @_;
	my $session = $node->background_psql($db, on_error_stop => 0);
	$session->query_safe($sql);
	return $session;
}

# Sends a statement without waiting for its end.
sub begin
{
	my ($session, $sql) = @_;
	$session->query_until(qr/begun/, "\\echo begun\n$sql;\n");
	return;
}

value(q{SELECT eventsource.set_retention('page', '0', '0', 'disposable')});
fill();

# A hold that is not committed yet holds.
my $one = session("BEGIN; SELECT eventsource.hold('page-1', reason => 'one')");
my $two = $node->background_psql($db, on_error_stop => 0);
begin($two, $due);
ok(waiting(1), 'archive_due waits for a hold under way');
$one->query_safe('COMMIT');
$two->quit;
is(versions('page-1'), '{1,2,3,4,5,6,7,8,9,10,11,12}', 'which it heeds');
ok(versions('page-2') ne '{1,2,3,4,5,6,7,8,9,10,11,12}', 'while others go');

# What is under way is waited for: by holds, by appends to streams that lose their heads.
fill();
$one = session("BEGIN; $due");
$two = $node->background_psql($db, on_error_stop => 0);
begin($two, "SELECT eventsource.hold('page-2', reason => 'two')");
my $three = $node->background_psql($db, on_error_stop => 0);
begin($three, "SELECT version FROM eventsource.append('page-3', 'viewed', expected_version => 24)");
ok(waiting(1), 'a hold waits for archive_due under way, an append to the newest segment does not');
$one->query_safe('COMMIT');
$_->quit for $two, $three;
is(value(q{SELECT version FROM eventsource.streams WHERE stream = 'page-3'}), '25', 'appended');
is(value('SELECT count(*) FROM eventsource.holds'), '2', 'held');
is(value('SELECT count(*) FROM eventsource.verify_log()'), '0', 'the log verifies');

# Streams whose heads are in a segment that is swapped.
value(q{SELECT count(eventsource.append('other-' || n, 'x')) FROM generate_series(1, 250) n});
$one = session("BEGIN; $due");
$two = $node->background_psql($db, on_error_stop => 0);
begin($two, q{SELECT version FROM eventsource.append('page-4', 'viewed', expected_version => 24)});
ok(waiting(1), 'an append waits for the segment of its head');
$one->query_safe('COMMIT');
$two->quit;
is(value(q{SELECT version FROM eventsource.streams WHERE stream = 'page-4'}), '25', 'and goes on from what was taken away');
is(versions('page-4'), '{25}', 'which is all there is');

# A reader in a segment is not waited for long.
fill();
value(q{SELECT count(eventsource.append('other-' || n, 'x')) FROM generate_series(1, 250) n});
$one = session('BEGIN; SELECT count(*) FROM eventsource.events');
my $count = value('SELECT count(*) FROM eventsource.events');
like(error_of($node, $db, $due), qr/55P03/, 'archive_due gives up');
is(value('SELECT count(*) FROM eventsource.events'), $count, 'and leaves all as it was');
$one->query_safe('COMMIT');
$one->quit;

# An older snapshot sees what is left, and its transaction appends.
$one = session('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
ok(value($due) > 0, 'done beside an older snapshot');
is($one->query_safe(q{SELECT count(*) FROM eventsource.read_stream('page-5')}), '0', 'which sees what is left');
is($one->query_safe(q{SELECT count(*) FROM eventsource.read_stream('page-1')}), '36', 'all of it');
is($one->query_safe(q{SELECT version FROM eventsource.append('page-5', 'viewed', expected_version => 36)}), '37', 'and appends');
$one->query_safe('COMMIT');
$one->quit;

# A projection is compared with history as it is since, whatever a statement saw when it began.
value(q{
	CREATE TABLE views (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
	SELECT eventsource.create_projection('views', '{page}', '{"viewed": "n = row.n + 1"}')});
my $compared = q{SELECT count(*) FROM eventsource.verify_projection('views')};
my $sampled = q{SELECT status FROM eventsource.health() WHERE "check" = 'sample of projections'};
foreach my $asked ([ $compared, '0' ], [ $sampled, 'healthy' ])
{
	fill();
	value(q{SELECT count(eventsource.append('other-' || n, 'x')) FROM generate_series(1, 250) n});
	my $old = session('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
	$one = session("BEGIN; $due");
	$two = $node->background_psql($db, on_error_stop => 0);
	begin($two, "SELECT 'found ' || r FROM ($asked->[0]) r");
	ok(waiting(1), "who compares waits: $asked->[0]");
	$one->query_safe('COMMIT');
	like($two->query_until(qr/found.*\n/, ''), qr/found \($asked->[1]\)/, 'and finds all well');
	$_->quit for $one, $two;
	if ($asked->[0] eq $compared)
	{
		$old->query($compared);
		like($old->{stderr}, qr/was made anew since the transaction began/, 'an older snapshot cannot tell');
	}
	else
	{
		is($old->query_safe($sampled), 'healthy', 'an older snapshot sees nothing wrong');
	}
	$old->quit;
}

# What was said of it is behind an append under way: not final, but it counts.
fill();
value(q{SELECT count(eventsource.append('other-' || n, 'x')) FROM generate_series(1, 250) n});
$one = session(q{BEGIN; SELECT eventsource.append('fresh-1', 'x') IS NULL});
ok(value($due) > 0, 'done beside an append under way');
is(value(q{SELECT count(*) FROM eventsource.verify_log()}), '0', 'the log verifies');
my $export = PostgreSQL::Test::Utils::tempdir . '/export';
value("\\o $export\nSELECT * FROM eventsource.export_log()");
like(slurp_file($export), qr/"stream":"\$retention-log".*"beyond":1[^\n]*\n*\z/, 'an export ends with it');
command_ok([ 'python3', "$ENV{TESTDIR}/tools/verify_log.py", 'log', $export ], 'and verifies');
append_to_file("$export.cut", join "\n", grep { !/"beyond":1/ } split /\n/, slurp_file($export));
command_fails_like([ 'sh', '-c', "python3 $ENV{TESTDIR}/tools/verify_log.py log $export.cut >&2" ], qr/is not what retention took out there|nothing that retention did accounts for it/, 'not without');
$one->query_safe('COMMIT');
$one->quit;
value("\\o $export\nSELECT * FROM eventsource.export_log()");
unlike(slurp_file($export), qr/"beyond"/, 'when that has ended it is an event like others');
command_ok([ 'python3', "$ENV{TESTDIR}/tools/verify_log.py", 'log', $export ], 'that verifies');

# Erasure: not of what is held, and not while events are taken away.
like(error_of($node, $db, q{SELECT * FROM eventsource.erase_subject('page-1', 'hard', 'asked', 'me')}),
	qr/55000.*is under legal hold/s, 'what is held is not erased');
fill();
value(q{SELECT count(eventsource.append('other-' || n, 'x')) FROM generate_series(1, 250) n});
$one = session("BEGIN; $due");
$two = $node->background_psql($db, on_error_stop => 0);
begin($two, q{SELECT * FROM eventsource.erase_subject('page-6', 'hard', 'asked', 'me')});
ok(waiting(1), 'erasure waits for archive_due under way');
$one->query_safe('COMMIT');
$two->quit;
is(value('SELECT count(*) FROM eventsource.verify_log()'), value(q{SELECT count(*) FROM eventsource.verify_log() WHERE status = 'redacted'}), 'the log verifies');
is(value($due), '0', 'nothing more is due');

$node->stop;
done_testing;
