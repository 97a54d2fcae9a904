# 059_guards_outside.pl: ways around the log that take more than a session (docs/threats.md):
# an old copy, replication, pg_surgery, the server without its sessions, its files; and that the
# worker tells of a guard that is broken.

use strict;
use warnings;

use EventLog;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('outside', 'eventsource.segment_size = 1000', 'wal_level = logical', 'max_wal_senders = 4', 'max_replication_slots = 4',
	'wal_retrieve_retry_interval = 100ms');
my $broken = q{SELECT string_agg(guard || ': ' || detail, '; ' ORDER BY guard) FROM eventsource.check_guards() WHERE NOT is_intact};

$node->safe_psql('log', <<'SQL');
CREATE ROLE es_app;
SELECT count(eventsource.append('a-' || i % 5, 'happened', jsonb_build_object('mark', 'unforged' || i))) FROM generate_series(1, 60) i;
SELECT eventsource.seal();
CREATE TABLE audit (id int PRIMARY KEY, what text);
INSERT INTO audit VALUES (1, 'a');
SELECT eventsource.make_append_only('audit');
SQL
my $contents = q{SELECT md5(concat((SELECT string_agg(e::text, ',' ORDER BY position) FROM eventsource.events e),
	(SELECT string_agg(a::text, ',' ORDER BY a::text) FROM audit a), (SELECT string_agg(w::text, ',' ORDER BY w::text) FROM eventsource.word w)))};

# What a checkpoint says is wrong, or the error.
sub convicted
{
	my ($checkpoint, $db) = @_;
	my ($out, $err) = ('', '');

	$node->psql($db // 'log', "SELECT * FROM eventsource.verify_log(\$c\$$checkpoint\$c\$)", stdout => \$out, stderr => \$err);
	return $out . $err;
}

# ---- an old copy goes on (57) ----

my $data = $node->data_dir;
$node->stop;
system_or_bail('cp', '-a', $data, "$data.old");
$node->start;
$node->safe_psql('log', "SELECT count(eventsource.append('b-' || i, 'happened')) FROM generate_series(1, 10) i; SELECT eventsource.seal()");
my $checkpoint = $node->safe_psql('log', 'SELECT eventsource.checkpoint()') . "\n";
is(convicted($checkpoint), '', 'a log continues its checkpoint');
$node->stop;
system_or_bail('mv', $data, "$data.new");
system_or_bail('mv', "$data.old", $data);
$node->start;
isnt(convicted($checkpoint), '', 'an old copy does not');
$node->safe_psql('log', "SELECT count(eventsource.append('b-' || i, 'happened')) FROM generate_series(1, 20) i; SELECT eventsource.seal()");
isnt(convicted($checkpoint), '', 'neither when it has grown again');
$checkpoint = $node->safe_psql('log', 'SELECT eventsource.checkpoint()') . "\n";

# ---- a dump restored over the log, whole or in parts (21) ----

my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
my $restored_over = q{SELECT md5(concat((SELECT string_agg(e::text, ',' ORDER BY position) FROM eventsource.events e), (SELECT string_agg(w::text, ',' ORDER BY w::text) FROM eventsource.word w)))};
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'log' ], 'dumped');
create_log($node, 'other');
$node->safe_psql('other', "SELECT count(eventsource.append('c-' || i, 'happened')) FROM generate_series(1, 5) i");
my $other = $node->safe_psql('other', $restored_over);
for my $options ([], ['--data-only'], [ '--data-only', '--disable-triggers' ], ['--clean'], ['--section=data'], [ '--data-only', '-n', 'eventsource', '-t', 'word' ])
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'pg_restore', @$options, '-d', $node->connstr('other'), $dump ], '>', \$out, '2>', \$err);
	like($err, qr/is not allowed/, "restored over a log: @$options");
	is($node->safe_psql('other', $restored_over), $other, 'which it leaves as it was');
}
is($node->safe_psql('other', q{SELECT string_agg(guard || ': ' || detail, '; ') FROM eventsource.check_guards() WHERE NOT is_intact AND protects NOT LIKE '%audit%'}), '', 'with its guards');
is($node->safe_psql('other', 'SELECT * FROM eventsource.verify_log()'), '', 'and its proofs');

# ---- another server's changes (11) ----

$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
$node->safe_psql('elsewhere', <<'SQL');
CREATE SCHEMA eventsource;
CREATE TABLE eventsource.word (id int PRIMARY KEY, word text);
CREATE TABLE audit (id int PRIMARY KEY, what text);
INSERT INTO eventsource.word VALUES (1, 'x');
INSERT INTO audit VALUES (1, 'a');
CREATE PUBLICATION p FOR ALL TABLES;
SELECT pg_create_logical_replication_slot('s', 'pgoutput');
SQL
my $connection = 'host=' . $node->host . ' port=' . $node->port . ' dbname=elsewhere';
my $before = $node->safe_psql('log', $contents);
$node->safe_psql('log', "CREATE SUBSCRIPTION s CONNECTION '$connection' PUBLICATION p"
	  . ' WITH (create_slot = false, slot_name = s, copy_data = false, disable_on_error = true)');
for my $change (
	q{INSERT INTO eventsource.word VALUES (1000000, 'forged')}, q{UPDATE eventsource.word SET word = 'forged' WHERE id = 1},
	'DELETE FROM eventsource.word WHERE id = 1', 'TRUNCATE eventsource.word', q{UPDATE audit SET what = 'forged'}, 'TRUNCATE audit')
{
	my $offset = -s $node->logfile;

	$node->safe_psql('elsewhere', $change);
	ok( wait_until(sub { $node->safe_psql('log', 'SELECT subenabled FROM pg_subscription') eq 'f' }),
		"stopped: $change");
	like(slurp_file($node->logfile, $offset), qr/ZE001|is not allowed/, 'by the guard');

	# A client that reads the slot to its end; what it holds is not wanted any more.
	wait_until(sub { $node->safe_psql('elsewhere', q{SELECT active FROM pg_replication_slots}) eq 'f' });
	$node->safe_psql('elsewhere', q{SELECT pg_replication_slot_advance('s', pg_current_wal_lsn())});
	$node->safe_psql('log', 'ALTER SUBSCRIPTION s ENABLE');
}
is($node->safe_psql('log', $contents), $before, 'nothing came of it');
is($node->safe_psql('log', $broken), 'no replication into the log: eventsource.word', 'and check_guards() knows');
$node->safe_psql('log', q{ALTER SUBSCRIPTION s DISABLE; ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s});

# ---- pg_surgery that was there before (52) ----

$node->safe_psql('postgres', 'CREATE DATABASE operated');
$node->safe_psql('operated', 'CREATE EXTENSION pg_surgery; CREATE EXTENSION eventsource');
$node->safe_psql('operated', "SELECT count(eventsource.append('a-' || i, 'happened')) FROM generate_series(1, 10) i; SELECT eventsource.seal()");
my $operated = $node->safe_psql('operated', 'SELECT eventsource.checkpoint()') . "\n";
like($node->safe_psql('operated', $broken), qr/no pg_surgery: .*heap_force_kill/, 'pg_surgery is shown');
my ($part, $last) = split /\|/, $node->safe_psql('operated', q{SELECT tableoid::regclass, ctid FROM eventsource.event ORDER BY position DESC LIMIT 1});
$node->safe_psql('operated', "SELECT heap_force_kill('$part'::regclass, ARRAY['$last']::tid[])");
isnt(convicted($operated, 'operated'), '', 'and what it took away is missed');

# ---- what is built in may be another before ----

$node->safe_psql('postgres', 'CREATE DATABASE cast_before');
$node->safe_psql('cast_before', 'CREATE CAST (oid AS boolean) WITH INOUT AS IMPLICIT; CREATE EXTENSION eventsource');
is($node->safe_psql('cast_before', $broken), 'what is built in: oid becomes boolean by itself', 'a cast that was there before is shown');

# ---- a setting of the server (9) ----

$node->safe_psql('postgres', 'ALTER SYSTEM SET session_replication_role = replica');
$node->reload;
ok(wait_until(sub { $node->safe_psql('log', $broken) =~ /parameters: session_replication_role is replica by/ }), 'ALTER SYSTEM is shown');
like(error_of($node, 'log', q{DELETE FROM audit}), qr/ZE001/, 'and opens nothing');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET session_replication_role');
$node->reload;

# ---- the server without its sessions, and without its hooks (49, 54) ----

my $segment = $node->safe_psql('log', 'SELECT table_name FROM eventsource.segments ORDER BY lower_bound LIMIT 1');
my $file = "$data/" . $node->safe_psql('log', "SELECT pg_relation_filepath('eventsource.$segment')");

sub alone
{
	my ($in, $out, $err) = (join('', map { "$_\n" } @_), '', '');

	IPC::Run::run([ 'postgres', '--single', '-D', $data, 'log' ], '<', \$in, '>', \$out, '2>', \$err);
	return $out . $err;
}
sub write_file
{
	open my $out, '>:raw', $file or die;
	print $out @_;
	close $out;
	return;
}
$node->safe_psql('log', 'CHECKPOINT');
$node->stop;
my $said = alone("DELETE FROM eventsource.$segment", "UPDATE eventsource.word SET word = 'forged'", "TRUNCATE eventsource.$segment",
	"DELETE FROM audit", "ALTER TABLE eventsource.word DISABLE TRIGGER ALL");
is(scalar(() = $said =~ /ERROR: .* is not allowed/g), 5, 'a server on its own refuses') or diag($said);
$said = alone("ALTER TABLE eventsource.word DISABLE TRIGGER ALL");
$node->start;
ok($said =~ /is not allowed/ || $node->safe_psql('log', $broken) =~ /row guard: .*is not ENABLE ALWAYS/, 'or it is found afterwards');
$node->stop;
my $bytes = slurp_file($file);
my $forged = $bytes =~ s/unforged17/forged!!17/r;
isnt($forged, $bytes, 'the file of a segment, written by hand');
write_file($forged);
$node->start;
like(convicted($checkpoint), qr/tampered|invalid page/, 'is found');
$node->stop;
write_file($bytes);

# ---- the worker tells, and what cannot be read hides nothing else ----

$node->append_conf('postgresql.conf', "shared_preload_libraries = eventsource\neventsource.worker_enabled = on\neventsource.guard_interval = 50ms\neventsource.worker_interval = 50ms");
$node->start;
my $offset = -s $node->logfile;
$node->safe_psql('log', "CREATE PUBLICATION p FOR TABLE audit; BEGIN; SELECT eventsource.allow_maintenance('break, and mend'); GRANT UPDATE ON eventsource.stream TO es_app;"
	  . ' ALTER TABLE eventsource.word ENABLE ALWAYS TRIGGER guard_row, ENABLE ALWAYS TRIGGER guard_statement; COMMIT');
ok(wait_until(sub { slurp_file($node->logfile, $offset) =~ /WARNING: .*guards are not intact.*rights, the log: UPDATE for es_app on eventsource\.stream/s }),
	'the worker tells of a broken guard');
my $guards = q{SELECT guard FROM eventsource.check_guards() WHERE protects NOT LIKE '%.%' AND guard NOT LIKE 'append-only%' ORDER BY guard};
my $all = $node->safe_psql('log', $guards);
my %pages = map { $_ => $node->safe_psql('log', "SELECT pg_relation_filepath('$_')") } "eventsource.$segment", 'eventsource.manifest', 'pg_publication_rel';
my %whole;
$node->stop;
for my $page (values %pages)
{
	$whole{$page} = slurp_file($file = "$data/$page");
	write_file($whole{$page} =~ s/.{24}(.{8168})/"\xff" x 24 . $1/gers);
}
$offset = -s $node->logfile;
$node->start;
my $page = qr/cannot be looked at: invalid page/;
my $found = $node->safe_psql('log', q{SELECT format('%s: %s', guard, detail) FROM eventsource.check_guards() WHERE NOT is_intact ORDER BY guard});
like($found, qr/^$_: $page/m, "not looked at: $_")
  for 'append-only table', 'columns', 'functions and views', 'what is built in', 'no publication of the log';
like($found, qr/^rights: UPDATE for es_app on eventsource\.stream$/m, 'pages that cannot be read hide no broken guard');
unlike($found, qr/row guard|statement guard|event triggers|parameters|no rule/, 'nor make one of what can be seen');
is($node->safe_psql('log', $guards), $all, 'all guards are listed');
ok(wait_until(sub { slurp_file($node->logfile, $offset) =~ /WARNING: .*guards are not intact.*functions and views, the log: $page.*rights, the log: UPDATE for es_app/s }),
	'and the worker tells of them all');
$node->stop;
for my $page (values %pages)
{
	$file = "$data/$page";
	write_file($whole{$page});
}
$offset = -s $node->logfile;
$node->start;
wait_until(sub { slurp_file($node->logfile, $offset) =~ /guards are not intact/ });
$node->safe_psql('log', 'REVOKE UPDATE ON eventsource.stream FROM es_app');
ok(wait_until(sub { slurp_file($node->logfile, $offset) =~ /LOG: .*the guards are intact again/ }), 'and of its mending');

$node->stop;
done_testing();
