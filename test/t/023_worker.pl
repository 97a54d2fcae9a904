# 023_worker.pl: the launcher and the workers: who gets one and when, what it does,
# and that it is in nobody's way.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('worker', 'shared_preload_libraries = eventsource', 'eventsource.worker_enabled = on',
	'eventsource.worker_interval = 100', 'max_worker_processes = 16');

# Columns of the view, from a database without a worker of its own.
sub worker
{
	my ($db, $columns) = @_;
	return $node->safe_psql('log', "SELECT $columns FROM eventsource.workers WHERE database = '$db'");
}

sub wait_for_status
{
	my ($db, $status) = @_;
	return wait_until(sub { worker($db, 'status') eq $status }, 20);
}

sub pids { return $node->safe_psql('postgres',
	"SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE backend_type = 'eventsource worker' AND datname = '$_[0]'") }

# Waits for a worker that is none of these processes.
sub wait_for_another
{
	my ($db, @old) = @_;
	return wait_until(sub { my $pid = worker($db, 'pid'); return $pid ne '' && !grep { $_ eq $pid } @old; }, 20);
}

sub reload
{
	my (@settings) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $_") for @settings;
	$node->reload;
	return;
}

sub published { return $node->safe_psql($_[0], 'SELECT coalesce(published_watermark, 0) = watermark FROM eventsource.feed') eq 't' }

# ---- who gets one ----

ok(wait_for_status('log', 'running'), 'CREATE EXTENSION after the start is picked up');
ok(wait_for_status('postgres', 'no extension'), 'a database without it was looked at');
is(pids('postgres'), '', 'and left');
is(worker('template1', 'status'), '', 'templates are not');
is(pids('log'), worker('log', 'pid'), 'pg_stat_activity shows it');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventsource launcher'"),
	'1', 'and the launcher');

$node->safe_psql('log', "SELECT eventsource.append('s-1', 'made')");
ok(wait_until(sub { published('log') }, 20), 'it publishes the watermark');
my $passes = worker('log', 'passes');
ok(wait_until(sub { worker('log', 'passes') > $passes }, 20), 'passes go on');

$node->safe_psql('postgres', 'CREATE EXTENSION eventsource');
ok(wait_for_status('postgres', 'running'), 'the extension comes to a database that had none');
$node->safe_psql('postgres', 'DROP EXTENSION eventsource');
ok(wait_for_status('postgres', 'no extension'), 'and goes');
$node->safe_psql('postgres', 'BEGIN; CREATE EXTENSION eventsource; ROLLBACK');
$node->safe_psql('postgres', 'CREATE EXTENSION eventsource; DROP EXTENSION eventsource; CREATE EXTENSION eventsource');
ok(wait_for_status('postgres', 'running'), 'it came, went and came');
$node->safe_psql('postgres', 'DROP EXTENSION eventsource');
$node->safe_psql('log', 'ALTER EXTENSION eventsource UPDATE');

# ---- listeners ----

my $listener = $node->background_psql('log');
$listener->query_safe('LISTEN news');
reload("eventsource.worker_notify_channel = 'news'");
my $mark = $node->safe_psql('log', "SELECT position FROM eventsource.append('s-1', 'told')");
my $heard = '';
ok(wait_until(sub { $heard .= $listener->query_safe('SELECT 1'); return $heard =~ /"news" with payload "$mark"/ }, 20),
	'the worker notifies with the watermark');
$listener->quit;

# ---- commands on whole databases ----

sub served
{
	my ($db) = @_;
	create_log($node, $db);
	return wait_for_status($db, 'running');
}
sub took { my $began = time; $node->safe_psql('postgres', $_[0]); return time - $began }

ok(served('one'), 'a new database');
cmp_ok(took('CREATE DATABASE two TEMPLATE one'), '<', 4, 'it serves as a template');
ok(wait_for_status('one', 'running'), 'and has its worker again');
ok(wait_for_status('two', 'running'), 'and so has the copy');
cmp_ok(took('ALTER DATABASE two RENAME TO three'), '<', 4, 'renamed');
ok(wait_for_status('three', 'running'), 'it has its worker under its new name');
cmp_ok(took('DROP DATABASE three'), '<', 4, 'dropped');
ok(wait_until(sub { worker('three', 'status') eq '' }, 20), 'it is forgotten');
is($node->safe_psql('postgres', 'DROP DATABASE IF EXISTS three'), '', 'what is not there is not minded');
like(error_of($node, 'postgres', 'ALTER DATABASE one RENAME TO log'), qr/ERROR:  42P04/, 'a command that fails');
ok(wait_for_status('one', 'running'), 'the worker is back');
$node->safe_psql('postgres', 'CREATE ROLE stranger LOGIN CREATEDB');
my $pid = worker('one', 'pid');
my ($out, $err);
$node->psql('postgres', 'DROP DATABASE one', extra_params => [ '-U', 'stranger' ], stderr => \$err);
like($err, qr/must be owner/, 'one who may not drop it');
is(worker('one', 'pid'), $pid, 'does not send the worker away either');
$node->safe_psql('postgres', 'ALTER DATABASE one OWNER TO stranger');
$node->safe_psql('postgres', 'DROP DATABASE one', extra_params => [ '-U', 'stranger' ]);
pass('its owner may, superuser or not');
for my $try (1 .. 3)
{
	create_log($node, "early$try");
	cmp_ok(took("DROP DATABASE early$try"), '<', 4, 'dropped while its worker is on its way');
}
ok(served('shut'), 'one that is shut');
$node->safe_psql('postgres', 'ALTER DATABASE shut ALLOW_CONNECTIONS false');
ok(wait_until(sub { pids('shut') eq '' && worker('shut', 'status') eq '' }, 20), 'has no worker');
$node->safe_psql('postgres', 'ALTER DATABASE shut ALLOW_CONNECTIONS true');
ok(wait_for_status('shut', 'running'), 'has one again when it is opened');

# ---- settings ----

reload('eventsource.worker_enabled = off');
ok(wait_until(sub { $node->safe_psql('log', 'SELECT count(*) FROM eventsource.workers') eq '0' }, 20), 'disabled: none');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventsource worker'"), '0',
	'no process either');
reload("eventsource.worker_databases = 'log, \"No Such\", shut'", 'eventsource.worker_enabled = on');
ok(wait_for_status('log', 'running'), 'a list of databases');
ok(wait_for_status('shut', 'running'), 'each of them');
is(worker('postgres', 'status'), '', 'and no other');
like(slurp_file($node->logfile), qr/LOG:  database "No Such" of eventsource.worker_databases is not there/, 'an unknown one is told of');
$node->safe_psql('postgres', 'CREATE DATABASE "No Such"');
$node->safe_psql('No Such', 'CREATE EXTENSION eventsource');
ok(wait_for_status('No Such', 'running'), 'until it is there');
like(error_of($node, 'postgres', "ALTER SYSTEM SET eventsource.worker_databases = 'a,,b'"), qr/ERROR:  22023.*List syntax/s, 'no list');
like(error_of($node, 'postgres', "ALTER SYSTEM SET eventsource.worker_notify_channel = '" . 'x' x 64 . "'"), qr/ERROR:  22023/,
	'no channel');
reload("eventsource.worker_databases = ''");
ok(wait_for_status('postgres', 'no extension'), 'an empty list is all');

# ---- readers ----

$node->safe_psql('log', 'CREATE ROLE reader LOGIN');
$node->safe_psql('log', "SELECT eventsource.grant_reader('reader')");
is($node->safe_psql('log', "SELECT status, last_error IS NULL FROM eventsource.workers WHERE database = 'log'",
		extra_params => [ '-U', 'reader' ]), 'running|t', 'a reader sees it');

done_testing();
