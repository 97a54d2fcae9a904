# 002_dump_restore.pl: a dump is the log. Every way to dump and restore keeps all
# events and their chain; the first append finds the restore whole, stands the
# guards up again, and goes on where the log ended.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('dump', 'eventsource.segment_size = 200');
my $dir = PostgreSQL::Test::Utils::tempdir;
my $has_machines = has_function($node, 'log', 'create_state_machine');
my $has_corrections = has_function($node, 'log', 'correct_event');
my $has_projections = has_function($node, 'log', 'create_projection');

# ---- a log with something of everything ----

$node->safe_psql('log', <<'SQL') if $has_machines;
SELECT eventsource.create_state_machine('door', '{"initial": "SHUT", "reasons": {"wind": {"category": "weather"}},
	"states": {"SHUT": {"on": {"opened": {"target": "OPEN", "reason": "optional"}}},
			   "OPEN": {"on": {"shut": {"target": "SHUT", "reason": "optional", "reasons": ["wind"]}}}},
	"on": {"painted": {}}}');
SELECT eventsource.create_category('door', 'door');
SQL
if ($has_projections)
{
	$node->safe_psql('log', <<'SQL');
CREATE TABLE door (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0, state text);
SELECT eventsource.create_projection('door', ARRAY['door'],
	jsonb_build_object('*', $$ n = row.n + 1, state = event.to_state $$));
SQL
}
$node->safe_psql('log', <<'SQL');
SELECT count(eventsource.append('door-' || i % 17, CASE WHEN i / 17 % 2 = 0 THEN 'opened' ELSE 'shut' END,
	reason => CASE WHEN i / 17 % 6 = 1 THEN 'wind' END, actor => 'agent:' || i % 5))
  FROM generate_series(0, 499) i;
SELECT count(eventsource.append('note-' || i % 40, 'written',
	jsonb_build_object('n', i, 'text', repeat(md5(i::text), i % 90), 'tiny', 1e-20::numeric, 'sub', '{"a":[1,2.50,null]}'::jsonb),
	metadata => '{"correlation_id": "c1", "x": "ÅÄÖ \u2603"}', occurred_at => '2001-02-03 04:05:06+00'::timestamptz + i * interval '1 h',
	idempotency_key => 'key ' || i, schema_version => 1 + i % 3))
  FROM generate_series(1, 600) i;
SELECT eventsource.append('näme-ключ 1', 'happened', '{}', reason => 'because');
SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'new-' || i, 'type', 'made'))
	FROM generate_series(1, 300) i));
BEGIN; SELECT count(eventsource.append('gone-1', 'happened')) FROM generate_series(1, 50); ROLLBACK;
SQL
$node->safe_psql('log', <<'SQL') if $has_corrections;
SELECT count(eventsource.correct_event(position, '{"n": -1}', 'wrong', 'agent:1')) FROM eventsource.events WHERE stream = 'note-5';
SELECT count(eventsource.void_event(last_position, 'wrong', 'agent:1')) FROM eventsource.streams WHERE stream IN ('door-3', 'door-4');
SELECT count(eventsource.correct_event(position, '{"n": -2}', 'wrong again', 'agent:2')) FROM eventsource.events WHERE stream = 'note-5' AND version < 3;
SQL
# What state_agg gathered is a value in a table, and views aggregate.
$node->safe_psql('log', <<'SQL');
CREATE TABLE held AS SELECT key, eventsource.state_agg(occurred_at, data->>'n' ORDER BY position) AS states FROM eventsource.events WHERE category = 'note' GROUP BY key;
CREATE VIEW level AS SELECT key, eventsource.window_funnel('1 month', '', occurred_at, version = 1, version = 2) AS level FROM eventsource.events WHERE category = 'note' GROUP BY key;
SQL

my $fingerprint = <<'SQL';
SET TimeZone = 'UTC';
SELECT count(*), md5(string_agg(e::text, E'\n' ORDER BY position)) FROM eventsource.events e
SQL
my $corrections = <<'SQL';
SET TimeZone = 'UTC';
SELECT count(*), md5(string_agg(c::text, E'\n' ORDER BY correction_position)) FROM eventsource.corrections c
UNION ALL SELECT count(*), md5(string_agg(t::text, E'\n' ORDER BY position)) FROM eventsource.transitions t
SQL
my $aggregated = <<'SQL';
SET TimeZone = 'UTC';
SELECT count(t), md5(string_agg(t::text, E'\n' ORDER BY h.key, t.start_time)), max(eventsource.duration_in(h.states, '5')) FROM held h, eventsource.state_timeline(h.states) t
UNION ALL SELECT count(*), sum(level)::text, NULL FROM level
SQL
my $levels = $node->safe_psql('log', $aggregated);
$node->safe_psql('log', 'SELECT eventsource.seal(700); SELECT eventsource.seal()');
my $checkpoint = $node->safe_psql('log', 'SELECT eventsource.checkpoint()') . "\n";
my $verify = "SELECT * FROM eventsource.verify_log(\$c\$$checkpoint\$c\$)";
my $events = $node->safe_psql('log', $fingerprint);
my $corrected = $has_corrections ? $node->safe_psql('log', $corrections) : '';
my $log_id = $node->safe_psql('log', 'SELECT eventsource.log_id()');
my $last = $node->safe_psql('log', 'SELECT max(position) FROM eventsource.events');
is(problems_of($node, 'log'), '', 'the log that is dumped is whole');

# ---- dumping ----

sub dump_to
{
	my ($file, @args) = @_;
	$node->command_ok([ 'pg_dump', '-f', "$dir/$file", @args, 'log' ], "pg_dump @args");
	return "$dir/$file";
}

my $plain = dump_to('plain.sql');
my $custom = dump_to('custom.dump', '-Fc');
my $folder = dump_to('folder', '-Fd');
my $schema = dump_to('schema.sql', '--schema-only');
my $data = dump_to('data.sql', '--data-only');
my $data_disabled = dump_to('disabled.sql', '--data-only', '--disable-triggers');
my $no_owner = dump_to('no_owner.sql', '--no-owner', '--no-privileges');
my $inserts = dump_to('inserts.sql', '--rows-per-insert=50');
$node->safe_psql('postgres', 'CREATE ROLE restorer SUPERUSER LOGIN');

# ---- restoring ----

sub by_psql
{
	my ($db, $file, @args) = @_;
	return [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', $file, @args, $db ];
}

sub by_pg_restore
{
	my ($db, $file, @args) = @_;
	return [ 'pg_restore', '-e', '-d', $db, @args, $file ];
}

# Each way: a name that is also the database's, the commands, settings of the database.
my @ways = (
	[ 'plain', [ by_psql('plain', $plain) ] ],
	[ 'plain_again', [ by_psql('plain_again', $plain) ] ],
	[ 'one_transaction', [ by_psql('one_transaction', $plain, '-1') ] ],
	[ 'longer_segments', [ by_psql('longer_segments', $plain) ], 'eventsource.segment_size = 1000000' ],
	[ 'odd_segments', [ by_pg_restore('odd_segments', $custom) ], 'eventsource.segment_size = 130' ],
	[ 'custom', [ by_pg_restore('custom', $custom) ] ],
	[ 'parallel', [ by_pg_restore('parallel', $folder, '-j2') ] ],
	[ 'two_steps', [ by_psql('two_steps', $schema), by_psql('two_steps', $data) ] ],
	[ 'disabled', [ by_psql('disabled', $schema), by_psql('disabled', $data_disabled) ] ],
	[
		'two_custom',
		[
			by_pg_restore('two_custom', $custom, '--schema-only'),
			by_pg_restore('two_custom', $custom, '--data-only', '--disable-triggers')
		]
	],
	[ 'no_owner', [ by_psql('no_owner', $no_owner, '-U', 'restorer') ] ],
	[ 'no_owner_custom', [ by_pg_restore('no_owner_custom', $custom, '--no-owner', '-U', 'restorer') ] ],
	[ 'inserts', [ by_psql('inserts', $inserts) ] ],
	[ 'Other "name"', [ by_psql('Other "name"', $plain) ] ]);

my $forbidden = <<'SQL';
UPDATE eventsource.event SET version = 1;
DELETE FROM eventsource.event_1;
TRUNCATE eventsource.event_1;
TRUNCATE eventsource.event;
TRUNCATE eventsource.stream, eventsource.word;
UPDATE eventsource.log SET created_at = now();
DELETE FROM eventsource.idempotency;
DELETE FROM eventsource.correction;
INSERT INTO eventsource.word VALUES (1000000, 'forged');
INSERT INTO eventsource.event SELECT * FROM eventsource.event LIMIT 1;
SQL

for my $way (@ways)
{
	my ($db, $commands, $setting) = @$way;
	my $quoted = '"' . $db =~ s/"/""/gr . '"';

	$node->safe_psql('postgres', "CREATE DATABASE $quoted");
	$node->safe_psql('postgres', "ALTER DATABASE $quoted SET $setting") if $setting;
	$node->command_ok($_, "$db: restored") for @$commands;

	is($node->safe_psql($db, $fingerprint), $events, "$db: every event");
	is($node->safe_psql($db, $corrections), $corrected, "$db: every correction") if $has_corrections;
	is($node->safe_psql($db, $aggregated), $levels, "$db: what was aggregated, and the views that do");
	is($node->safe_psql($db, 'SELECT eventsource.log_id()'), $log_id, "$db: the same log");
	is($node->safe_psql($db, $verify), '', "$db: the log that its checkpoint was made of");

	# The first append, to a stream that goes on; then a new one.
	my ($out, $err);
	$node->psql($db, <<'SQL', stdout => \$out, stderr => \$err);
SELECT version FROM eventsource.append('note-7', 'written', expected_version => 15);
SELECT version FROM eventsource.append('door-1', 'painted');
SELECT version FROM eventsource.append('fresh-1', 'happened');
SELECT version, is_duplicate FROM eventsource.append('note-3', 'written',
	jsonb_build_object('n', 3, 'text', repeat(md5('3'), 3), 'tiny', 1e-20::numeric, 'sub', '{"a":[1,2.50,null]}'::jsonb),
	metadata => '{"correlation_id": "c1", "x": "ÅÄÖ \u2603"}', occurred_at => '2001-02-03 04:05:06+00'::timestamptz + 3 * interval '1 h',
	idempotency_key => 'key 3', schema_version => 1);
SQL
	is($out, "16\n31\n1\n1|t", "$db: appending goes on, keys are remembered") or diag $err;
	is( $node->safe_psql($db, "SELECT count(*) FROM eventsource.events WHERE position > $last"),
		'3', "$db: in new positions");
	is(problems_of($node, $db), '', "$db: the log is whole");
	is( $node->safe_psql($db,
			"SELECT count(*) FROM eventsource.events e WHERE position <= $last HAVING count(*) <> "
			  . (split /\|/, $events)[0]),
		'', "$db: nothing was lost");
	$err = '';
	$node->psql(
		$db, $forbidden,
		on_error_stop => 0,
		stderr => \$err,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	is( scalar(() = $err =~ /ERROR:  ZE001:/g),
		scalar(() = $forbidden =~ /\n/g),
		"$db: everything else is refused") or diag $err;
	if ($has_machines)
	{
		like(error_of($node, $db, "SELECT eventsource.append('door-2', 'flew')"),
			qr/ERROR:  ZE006:/, "$db: the machine decides");
	}
	if ($has_projections)
	{
		like(error_of($node, $db, 'UPDATE door SET n = 0'), qr/ERROR:  ZE010:/, "$db: the projection is guarded");
	}
	$node->safe_psql('postgres', "DROP DATABASE $quoted");
}

# ---- a restore that is not whole is not written to ----

create_log($node, 'data_alone');
$node->psql('data_alone', "\\i $data", on_error_stop => 0, stdout => \my $out, stderr => \my $err);
my $refusal = error_of($node, 'data_alone', "SELECT eventsource.append('a-1', 'happened')");
like($refusal, qr/ERROR:  55000:.*segment "event_\d+" of the event log is missing/, 'data alone: refused');
like($refusal, qr/HINT:.*schema-only/, 'data alone: with a hint');
like(error_of($node, 'data_alone', "SELECT eventsource.append('a-1', 'happened')"), qr/55000/,
	'data alone: every time');

# ---- a log that is being written to ----

my $writer = $node->background_psql('log');
$writer->query_until(qr/begun/, <<'SQL');
\echo begun
DO $$
BEGIN
	FOR i IN 1 .. 100000 LOOP
		PERFORM eventsource.append('busy-' || i % 7, 'happened', jsonb_build_object('n', i));
		COMMIT;
		EXIT WHEN to_regclass('public.enough') IS NOT NULL;
	END LOOP;
END
$$;
\echo ended
SQL
$node->poll_query_until('log', "SELECT eventsource.stream_version('busy-1') > 10") or die 'no load';
my $busy = dump_to('busy.sql');
$node->safe_psql('log', 'CREATE TABLE enough ()');
$writer->query_until(qr/ended/, '');
$writer->quit;
$node->safe_psql('postgres', 'CREATE DATABASE busy');
$node->command_ok(by_psql('busy', $busy), 'dumped while written to: restored');
$node->safe_psql('busy', "SELECT eventsource.append('busy-1', 'happened')");
is(problems_of($node, 'busy'), '', 'dumped while written to: the log is whole');
is( $node->safe_psql('busy', "SELECT eventsource.stream_version('busy-1')"),
	$node->safe_psql('busy', "SELECT count(*) FROM eventsource.events WHERE stream = 'busy-1'"),
	'dumped while written to: versions go on');

$node->stop;
done_testing;
