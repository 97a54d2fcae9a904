# 013_shared_heads.pl: with the library preloaded, appenders take the head of a
# stream from shared memory. What is not committed, or was taken back, is never
# there, whoever comes next; a server without finds the same.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('heads', 'shared_preload_libraries = eventsource', 'eventsource.shared_heads = 200');

sub append { return $node->safe_psql('log', "SELECT version FROM eventsource.append('$_[0]', 'made')") }

# ---- one stream, each way a transaction can end ----

is(append('s-1'), 1, 'made');
is(append('s-1'), 2, 'from another session');

my $session = $node->background_psql('log', on_error_stop => 0);
$session->query_safe("BEGIN; SELECT eventsource.append('s-1', 'made'); ROLLBACK");
is(append('s-1'), 3, 'after a rollback');
$session->query_safe("BEGIN; SELECT eventsource.append('s-1', 'made'); PREPARE TRANSACTION 'kept'");
$session->query_safe("COMMIT PREPARED 'kept'");
is(append('s-1'), 5, 'after a prepared transaction');
$session->query_safe("BEGIN; SELECT eventsource.append('s-1', 'made'); PREPARE TRANSACTION 'gone'");
$session->query_safe("ROLLBACK PREPARED 'gone'");
is(append('s-1'), 6, 'after one that was rolled back');

is($session->query_safe(<<'SQL'), "7\n8\n8\n9", 'savepoints and several appends of one transaction');
BEGIN;
SELECT version FROM eventsource.append('s-1', 'made');
SAVEPOINT a;
SELECT version FROM eventsource.append('s-1', 'made');
ROLLBACK TO a;
SELECT version FROM eventsource.append('s-1', 'made');
SELECT version FROM eventsource.append('s-1', 'made');
COMMIT;
SQL
is(append('s-1'), 10, 'the last of them');
is($session->query_safe(<<'SQL'), "11\n2", 'what is released counts, what is rolled back after it takes nothing along');
BEGIN;
SAVEPOINT a;
SELECT version FROM eventsource.append('s-1', 'made');
RELEASE a;
SAVEPOINT b;
SELECT eventsource.append('s-2', 'made') \g /dev/null
SELECT version FROM eventsource.append('s-2', 'made');
ROLLBACK TO b;
COMMIT;
SQL
is(append('s-1'), 12, 'after the released one');
is(append('s-2'), 1, 'after the one rolled back');

# ---- more than one transaction leaves ----

is($session->query_safe(<<'SQL'), '2', 'a stream appended to before and after hundreds of others');
BEGIN;
SELECT eventsource.append('many-1', 'made') \g /dev/null
SELECT count(eventsource.append('many-' || n, 'made')) FROM generate_series(2, 700) n \g /dev/null
SELECT version FROM eventsource.append('many-1', 'made');
COMMIT;
SQL
is(append('many-1'), 3, 'is where it was left');

# ---- REPEATABLE READ must know who wrote the head ----

$session->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT eventsource.stream_version('s-1')");
is(append('s-1'), 13, 'appended to by another');
(undef, my $failed) = $session->query("SELECT eventsource.append('s-1', 'made')");
ok($failed, 'a transaction with an older snapshot cannot append');
$session->{stderr} = '';
$session->query_safe('ROLLBACK');
is(append('s-1'), 14, 'and did not');
like(
	error_of($node, 'log', "SELECT eventsource.append('s-1', 'made', expected_version => 13)"),
	qr/ERROR:  40001:.*at version 14/s, 'a refused append takes the head');
is(append('s-1'), 15, 'and leaves it to the log');

# ---- a database in the place of another ----

create_log($node, 'empty');
sub in_its_place
{
	$node->safe_psql('postgres', 'CREATE DATABASE again OID = 1234567 TEMPLATE empty');
	return $node->safe_psql('again', "SELECT version FROM eventsource.append_events('[{\"stream\": \"s-1\", \"type\": \"made\"},
		{\"stream\": \"s-1\", \"type\": \"made\"}]')");
}
is(in_its_place(), "1\n2", 'a database with an OID of our choice');
$node->safe_psql('postgres', 'DROP DATABASE again');
is(in_its_place(), "1\n2", 'what the one before it had is not there');
is(problems_of($node, 'again'), '', 'its log is whole');

# ---- many at once, in fewer places than streams ----

my $script = PostgreSQL::Test::Utils::tempdir . '/mix.sql';
append_to_file($script, <<'SQL');
\set a random(1, 400)
\set b random(401, 800)
\set end random(1, 6)
BEGIN;
SELECT eventsource.append('mix-' || :a, 'made');
SAVEPOINT s;
SELECT count(*) FROM eventsource.append_events(jsonb_build_array(
	jsonb_build_object('stream', 'mix-' || :b, 'type', 'made'), jsonb_build_object('stream', 'mix-' || :b, 'type', 'kept')));
\if :end = 1
ROLLBACK TO s;
\endif
\if :end = 2
ROLLBACK;
\else
COMMIT;
\endif
SQL
$node->command_ok([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 400, '-M', 'prepared', '-f', $script, 'log' ],
	'eight clients');
is(problems_of($node, 'log'), '', 'the log is whole');

$node->append_conf('postgresql.conf', 'eventsource.shared_heads = 0');
$node->restart;
is(append('s-1'), 16, 'without shared heads');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
is(append('s-1'), 17, 'without the library preloaded');
is(problems_of($node, 'log'), '', 'the log is whole');

done_testing();
