# 016_tracking_restore.pl: a database with tracked tables is dumped and restored
# like any other. The history is whole, and the next change of a row goes on in
# its stream, written by an application that has no right on the log.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('tracking_restore', 'eventsource.segment_size = 200');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('log', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE owner LOGIN;
CREATE ROLE other_owner LOGIN;
CREATE ROLE restorer SUPERUSER LOGIN;
SELECT eventsource.create_state_machine('lead', '{"initial": "NEW", "states": {
	"NEW": {"on": {"won": "WON", "lost": {"target": "LOST", "reasons": ["price"]}}}, "WON": {"on": {"reopened": "NEW"}}, "LOST": {"type": "final"}}}');
CREATE TABLE leads (junk int, id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, status text, amount numeric(10, 2), doc jsonb, at timestamptz DEFAULT now());
ALTER TABLE leads DROP COLUMN junk;
ALTER TABLE leads OWNER TO owner;
CREATE TABLE parts (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_2 (n int, id int NOT NULL);
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (100) TO (200);
ALTER TABLE parts OWNER TO owner;
CREATE TABLE gone (id int PRIMARY KEY);
CREATE TABLE untracked (id int PRIMARY KEY, n int);
INSERT INTO leads (status) VALUES ('NEW');
SELECT eventsource.track_table('leads', 'lead', state_column => 'status', state_machine => 'lead');
SELECT eventsource.track_table('parts', 'part');
SELECT eventsource.set_snapshot_policy('lead', 2);
SELECT eventsource.track_table('gone', 'gone');
SELECT eventsource.track_table('untracked', 'untracked');
GRANT SELECT, INSERT, UPDATE, DELETE ON leads, parts, untracked TO app;
INSERT INTO untracked VALUES (1, 1);
SELECT eventsource.untrack_table('untracked');
INSERT INTO gone VALUES (1);
DROP TABLE gone;
SQL
$node->safe_psql('log', <<'SQL', extra_params => [ '-U', 'app' ]);
INSERT INTO leads (status, amount, doc) SELECT 'NEW', i, to_jsonb(i) FROM generate_series(1, 50) i;
UPDATE leads SET status = 'WON', amount = amount + 1 WHERE id % 3 = 0;
DELETE FROM leads WHERE id % 10 = 0;
INSERT INTO parts SELECT i, i FROM generate_series(1, 95, 10) i UNION ALL SELECT 111, 111;
UPDATE parts SET id = id + 100 WHERE id = 1;
SQL
# Written after a column was renamed, and not written again before the dump.
$node->safe_psql('log', 'ALTER TABLE leads RENAME COLUMN amount TO value; UPDATE leads SET value = 1.5 WHERE id = 2');
$node->safe_psql('log', 'ALTER TABLE leads RENAME COLUMN doc TO document');

my $fingerprint = <<'SQL';
SET TimeZone = 'UTC';
SELECT count(*), md5(string_agg(e::text, E'\n' ORDER BY position)) FROM eventsource.events e
SQL
my $past = <<'SQL';
SET TimeZone = 'UTC';
SELECT md5(string_agg(format('%s: %s %s %s %s', e.version, l.id, l.status, l.value, l.at), ' ' ORDER BY e.position, l.id))
  FROM eventsource.events e, eventsource.as_of(NULL::leads, e.recorded_at) l WHERE e.stream IN ('lead-2', 'lead-3', 'lead-30');
SELECT md5(string_agg(format('%s: %s %s', l.id, l.status, l.value), ' ' ORDER BY e.position))
  FROM eventsource.events e, eventsource.as_of(NULL::leads, e.recorded_at, e.key) l WHERE e.category = 'lead';
SELECT md5(string_agg(p::text, ' ' ORDER BY p.row_key, p.version)) FROM eventsource.attribute_periods('leads', 'value') p
SQL
my $was = $node->safe_psql('log', $past);
isnt($node->safe_psql('log', 'SELECT count(*) FROM eventsource.snapshots'), '0', 'snapshots were taken');
my $events = $node->safe_psql('log', $fingerprint);
my $rows = $node->safe_psql('log', 'SELECT md5(string_agg(l::text, \'\' ORDER BY id)) FROM leads l');
is( $node->safe_psql('log', q{SELECT string_agg(DISTINCT recorded_by, ',') FROM eventsource.events WHERE category = 'part'}),
	'app', 'recorded by the application');

sub dump_to
{
	my ($file, @args) = @_;
	$node->command_ok([ 'pg_dump', '-f', "$dir/$file", @args, 'log' ], "pg_dump @args");
	return "$dir/$file";
}

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

my $plain = dump_to('plain.sql');
my $custom = dump_to('custom.dump', '-Fc');
my $schema = dump_to('schema.sql', '--schema-only');
my $data = dump_to('data.sql', '--data-only');
my $data_disabled = dump_to('disabled.sql', '--data-only', '--disable-triggers');
my $inserts = dump_to('inserts.sql', '--inserts');
my $no_owner = dump_to('no_owner.sql', '--no-owner');

my @ways = (
	[ 'plain', by_psql('plain', $plain) ],
	[ 'one_transaction', by_psql('one_transaction', $plain, '-1') ],
	[ 'custom', by_pg_restore('custom', $custom) ],
	[ 'two_steps', by_psql('two_steps', $schema), by_psql('two_steps', $data) ],
	[ 'disabled', by_psql('disabled', $schema), by_psql('disabled', $data_disabled) ],
	[
		'two_custom',
		by_pg_restore('two_custom', $custom, '--schema-only'),
		by_pg_restore('two_custom', $custom, '--data-only', '--disable-triggers')
	],
	[ 'inserts', by_psql('inserts', $inserts) ],
	[ 'no_owner', by_psql('no_owner', $no_owner, '-U', 'restorer') ]);

for my $way (@ways)
{
	my ($db, @commands) = @$way;

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	# Other OIDs than before.
	$node->safe_psql($db, 'CREATE TABLE first (id int PRIMARY KEY)');
	$node->command_ok($_, "$db: restored") for @commands;
	is($node->safe_psql($db, $fingerprint), $events, "$db: every event, and no more");
	is($node->safe_psql($db, 'SELECT md5(string_agg(l::text, \'\' ORDER BY id)) FROM leads l'), $rows, "$db: every row");
	is( $node->safe_psql($db, q{SELECT string_agg(format('%s=%s', category, target), ' ' ORDER BY category) FROM eventsource.tracked_tables}),
		'lead=leads part=parts', "$db: tracked as before");

	is($node->safe_psql($db, $past), $was, "$db: the past");
	is($node->safe_psql($db, 'SELECT count(*) FROM eventsource.snapshots'), '0', "$db: without snapshots");

	# The application goes on.
	$node->safe_psql($db, <<'SQL', extra_params => [ '-U', 'app' ]);
UPDATE leads SET document = '"after"' WHERE id = 2;
UPDATE leads SET status = 'NEW', value = 7 WHERE id = 3;
DELETE FROM leads WHERE id = 4;
INSERT INTO leads (status) VALUES ('NEW');
UPDATE leads SET value = 0 WHERE id = 1;
UPDATE parts SET n = -n WHERE id IN (21, 101);
UPDATE parts SET id = 22 WHERE id = 111;
UPDATE untracked SET n = 2;
SQL
	is( $node->safe_psql($db, <<'SQL'),
SELECT format('%s %s %s %s', stream, version, type, data -> 'changed') FROM eventsource.events
 WHERE position > (SELECT max(position) FROM eventsource.events WHERE stream = '$config-tracking.gone')
   AND position > (SELECT min(position) FROM eventsource.events WHERE type = 'tracking_renewed' AND recorded_by = 'app')
   AND category <> '$config' ORDER BY position
SQL
		join("\n",
			'lead-2 3 lead_updated {"document": {"new": "after", "old": 1}}',
			'lead-3 3 reopened {"value": {"new": 7.00, "old": 3.00}, "status": {"new": "NEW", "old": "WON"}}',
			'lead-4 2 lead_deleted ' . $node->safe_psql('log', q{SELECT jsonb_build_object('id', jsonb_build_object('old', id), 'at', jsonb_build_object('old', (data #> '{changed,at,new}')), 'value', jsonb_build_object('old', value), 'status', jsonb_build_object('old', status), 'document', jsonb_build_object('old', document)) FROM leads, eventsource.events WHERE id = 4 AND stream = 'lead-4' AND version = 1}),
			'lead-52 1 lead_created ' . $node->safe_psql($db, q{SELECT data -> 'changed' FROM eventsource.events WHERE stream = 'lead-52'}),
			'lead-1 1 lead_created ' . $node->safe_psql($db, q{SELECT data -> 'changed' FROM eventsource.events WHERE stream = 'lead-1' AND version = 1}),
			'lead-1 2 lead_updated {"value": {"new": 0.00, "old": null}}',
			'part-21 2 part_updated {"n": {"new": -21, "old": 21}}',
			'part-101 2 part_updated {"n": {"new": -1, "old": 1}}',
			'part-111 2 part_deleted {"n": {"old": 111}, "id": {"old": 111}}',
			'part-22 1 part_created {"n": {"new": 111}, "id": {"new": 22}}'),
		"$db: each stream goes on");
	is( $node->safe_psql($db, q{(SELECT id, status, value FROM leads EXCEPT ALL SELECT id, status, value FROM eventsource.as_of(NULL::leads, 'infinity'))
		UNION ALL (SELECT id, status, value FROM eventsource.as_of(NULL::leads, 'infinity') EXCEPT ALL SELECT id, status, value FROM leads)}),
		'', "$db: the last of the past is the present");
	is($node->safe_psql($db, q{SELECT eventsource.stream_version('untracked-1')}), '1', "$db: what was untracked stays so");
	is( $node->safe_psql($db, q{SELECT count(*) FROM pg_trigger WHERE tgfoid = 'eventsource.capture'::regproc AND tgenabled <> 'A'}),
		'0', "$db: the triggers fire always");
	is($node->safe_psql($db, 'SELECT * FROM eventsource.verify_chain()'), '', "$db: the chain");
	is($node->safe_psql($db, 'SELECT * FROM eventsource.verify_transitions()'), '', "$db: the machine");
	is(problems_of($node, $db), '', "$db: the log is whole");
	like(error_of($node, $db, "UPDATE leads SET status = 'LOST' WHERE id = 2"), qr/ERROR:  ZE003:/, "$db: the machine decides");
	$node->safe_psql('postgres', "DROP DATABASE $db");
}

# ---- a table that somebody else brings along is not the one that was defined ----

$node->safe_psql('postgres', 'CREATE DATABASE forged');
$node->command_ok(by_psql('forged', $plain), 'forged: restored');
$node->safe_psql('forged', <<'SQL');
DROP TABLE leads;
CREATE TABLE leads (id int PRIMARY KEY, status text);
ALTER TABLE leads OWNER TO other_owner;
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON leads FOR EACH ROW EXECUTE FUNCTION eventsource.capture('lead');
SQL
like(error_of($node, 'forged', "INSERT INTO leads VALUES (2, 'WON')"), qr/ERROR:  ZE011:.*is not the tracked table of category/,
	'another owner\'s table of the same name and trigger');

$node->stop;
done_testing;
