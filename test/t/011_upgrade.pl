# 011_upgrade.pl: pg_upgrade keeps all there is of a log: from major to major it is the
# same one, verifies against every checkpoint of before, and goes on.
#
# ES_OLDER_MAJORS names the folders of older majors' programs, oldest first, with the
# extension installed for each (tools/test-all.sh finds them); without it a log goes
# from a server to another one of the same major.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $verifier = "$ENV{TESTDIR}/tools/verify_log.py";
my @older = split ' ', $ENV{ES_OLDER_MAJORS} // '';
my ($own) = run_command([ 'pg_config', '--bindir' ]);
my @bins = @older ? (@older, $own) : ($own, $own, $own);

# Where the library is preloaded, hooks see what pg_upgrade does; elsewhere event triggers.
sub new_node
{
	my ($name, $bin, $is_preloaded) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, install_path => $bin =~ s|/bin$||r);

	# By default from 18 on; both sides must have them or not.
	my @options = $node->pg_version >= 18 ? ('--no-data-checksums') : ();
	$node->init(extra => [ '-E', 'UTF8', '--locale=C', @options ]);
	$node->append_conf('postgresql.conf', join "\n", 'log_statement = none', 'fsync = off', 'eventsource.segment_size = 200',
		'eventsource.worker_enabled = off', $is_preloaded ? 'shared_preload_libraries = eventsource' : ());
	return $node;
}

# ---- a log with something of everything ----

my $node = new_node('major0', $bins[0], 0);
my $hop = 0;
$node->start;
create_log($node, 'log');
sub sql { return $node->safe_psql('log', "SET client_min_messages = warning; SET TimeZone = 'UTC'; $_[0]") }

sub refusal { return error_of($node, 'log', $_[0]) =~ /^(?:psql:\S+ )?ERROR:  (\w+):/m ? $1 : 'none' }

sql(<<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE analyst LOGIN;
SELECT eventsource.grant_writer('app'), eventsource.grant_reader('analyst');
SELECT eventsource.create_state_machine('door', '{"initial": "SHUT", "reasons": {"wind": {"category": "weather"}},
	"states": {"SHUT": {"on": {"opened": {"target": "OPEN", "reason": "optional"}}}, "OPEN": {"on": {"shut": {"target": "SHUT", "reason": "optional"}}}}}');
SELECT eventsource.create_category('door', 'door');
SELECT eventsource.register_event_type('signed_up', category => 'cust', pii => '{"email": "hash", "ip": "mask_ip", "about": "redact", "name": "null"}');
SELECT eventsource.register_event_type('written', schema => '{"type": "object", "required": ["n"]}', category => 'note');
CREATE TABLE door (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0, state text);
CREATE TABLE customer (key text PRIMARY KEY, email text, n int NOT NULL DEFAULT 0);
CREATE TABLE visits (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('door', '{door}', '{"*": "n = row.n + 1, state = event.to_state"}');
SELECT eventsource.create_projection('customer', '{cust}', jsonb_build_object('signed_up', $$n = row.n + 1, email = event.data->>'email'$$));
SELECT eventsource.create_masked_view('customer', 'customer_masked');
SELECT eventsource.create_projection('visits', '{page}', '{"*": "n = row.n + 1"}', mode => 'async');
SELECT eventsource.create_subscription('mailer', '{cust}');
SELECT eventsource.set_retention('page', '0', '0', 'disposable'), eventsource.set_retention('order', '0', class => 'kept');
CREATE TABLE leads (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, status text, amount numeric(10, 2), doc jsonb);
SELECT eventsource.track_table('leads', 'lead'), eventsource.set_snapshot_policy('lead', 2);
GRANT ALL ON leads TO app;
CREATE TABLE audit (id int, what text);
CREATE TABLE audit_parts (id int, what text) PARTITION BY RANGE (id);
CREATE TABLE audit_1 PARTITION OF audit_parts FOR VALUES FROM (0) TO (1000);
INSERT INTO audit VALUES (1, 'one');
INSERT INTO audit_parts VALUES (1, 'one');
SELECT eventsource.make_append_only('audit'), eventsource.make_append_only('audit_parts');

SELECT count(eventsource.append('page-' || i % 9, 'viewed')), count(eventsource.append('order-' || i % 7, 'placed', jsonb_build_object('n', 1.50 * i))) FROM generate_series(1, 250) i;
SELECT count(eventsource.append('door-' || i % 5, CASE WHEN i / 5 % 2 = 0 THEN 'opened' ELSE 'shut' END, reason => 'wind', actor => 'agent:1')) FROM generate_series(0, 99) i;
SELECT count(eventsource.append('cust-' || i, 'signed_up', jsonb_build_object('email', i || '@example.com', 'ip', '10.1.2.3', 'about', md5(i::text), 'name', 'é', 'plan', 'gold'), idempotency_key => 'cust ' || i))
  FROM generate_series(1, 40) i;
SELECT count(eventsource.append('note-' || i % 7, 'written', jsonb_build_object('n', i), metadata => '{"m": "ÅÄÖ"}', occurred_at => '2001-01-01')) FROM generate_series(1, 120) i;
SELECT eventsource.append('order-8', 'placed', '{"n": 8}', idempotency_key => 'order 8');
SELECT count(eventsource.correct_event(position, '{"n": -1}', 'wrong', 'agent:1')) FROM eventsource.events WHERE stream = 'note-5';
SELECT eventsource.register_event_type('written', schema => '{"type": "object", "required": ["n"], "properties": {"more": {}}}', category => 'note');
SELECT eventsource.create_upcaster('written', 1, 2, $$event.data || '{"more": true}'$$, category => 'note');
INSERT INTO leads (status, amount, doc) SELECT 'NEW', i, to_jsonb(i) FROM generate_series(1, 20) i;
UPDATE leads SET status = 'WON', amount = amount + 1 WHERE id % 3 = 0;
ALTER TABLE leads RENAME COLUMN amount TO value;
UPDATE leads SET value = 1.5 WHERE id = 2;
SELECT eventsource.run_projections();
SELECT eventsource.ack('mailer', max(position)) FROM eventsource.poll('mailer', 10);
SELECT eventsource.seal(300);
SELECT eventsource.request_erasure('cust-4', 'hard', 'asked');
SELECT count(*) FROM (VALUES ('cust-1', 'soft'), ('cust-2', 'anonymize'), ('cust-3', 'hard')) v (who, how), eventsource.erase_subject(who, how, 'asked', 'dpo');
SELECT eventsource.seal(), eventsource.hold('order-1', reason => 'trial');
SQL
isnt(sql('SELECT count(*) FROM eventsource.archive_due()'), '0', 'segments are archived');
isnt(sql('SELECT sum(pruned_events) FROM eventsource.segments'), '0', 'and pruned');

# ---- what must be as it was, and what must hold ----

my $past = <<'SQL';
SELECT eventsource.log_id();
SELECT count(*), md5(string_agg(e::text, ' ' ORDER BY position)) FROM eventsource.events e;
SELECT md5(string_agg(e, ' ')) FROM eventsource.export_log() e;
SELECT md5(string_agg(s::text, ' ' ORDER BY stream)) FROM eventsource.streams s;
SELECT string_agg(concat_ws(' ', lower_bound, upper_bound, state, pruned_events, is_attached), ', ' ORDER BY lower_bound) FROM eventsource.segments;
SELECT md5(string_agg(s::text, ' ' ORDER BY size)) FROM eventsource.seals s;
SELECT md5(string_agg(s::text, ' ' ORDER BY s::text)) FROM eventsource.event_summaries s;
SELECT string_agg(s::text, ' ' ORDER BY subject) FROM eventsource.erased_subjects s;
SELECT string_agg(s::text, ' ' ORDER BY subject) FROM eventsource.erasure_requests s;
SELECT string_agg(s::text, ' ' ORDER BY category) FROM eventsource.retention_policies s;
SELECT md5(string_agg(d::text, ' ' ORDER BY key)) FROM door d;
SELECT md5(string_agg(c::text, ' ' ORDER BY key)) FROM customer c;
SELECT md5(string_agg(c::text, ' ' ORDER BY key)) FROM customer_masked c;
SELECT md5(string_agg(v::text, ' ' ORDER BY key)) FROM visits v;
SELECT md5(string_agg(l::text, ' ' ORDER BY id)) FROM leads l;
SELECT string_agg(h::text, ' ' ORDER BY h.version) FROM eventsource.row_history('leads', '3') h;
SELECT count(*) FROM eventsource.snapshots;
SELECT string_agg(a::text, ' ' ORDER BY id) FROM audit a;
SELECT count(*), max(position) FROM eventsource.read_category('note');
SELECT position FROM eventsource.subscriptions;
SELECT string_agg(eventsource.current_state('door-' || i), ' ') FROM generate_series(0, 4) i;
SELECT count(*) FROM eventsource.verify_log() WHERE status = 'redacted';
SQL

my $complaints = <<'SQL';
SELECT 'log', v::text FROM eventsource.verify_log() v WHERE status <> 'redacted'
UNION ALL SELECT 'chain', v::text FROM eventsource.verify_chain() v
UNION ALL SELECT 'transition', v::text FROM eventsource.verify_transitions() v
UNION ALL SELECT 'upcaster', v::text FROM eventsource.verify_upcasters() v
UNION ALL SELECT 'projection', v::text FROM eventsource.projections p, eventsource.verify_projection(p.target) v
UNION ALL SELECT 'guard', v::text FROM eventsource.check_guards() v WHERE NOT is_intact
UNION ALL SELECT 'health', v::text FROM eventsource.health() v WHERE status NOT IN ('healthy', 'degraded')
SQL

my @checkpoints;

sub take_checkpoint
{
	my $file = "$dir/checkpoint" . @checkpoints;
	append_to_file($file, sql('SELECT eventsource.checkpoint()') . "\n");
	push @checkpoints, $file;
	return;
}

sub check
{
	my ($name) = @_;
	is(sql($complaints), '', "$name: nothing to complain about");
	for my $file (@checkpoints)
	{
		is(sql(q{SELECT v FROM eventsource.verify_log($c$} . slurp_file($file) . q{$c$) v WHERE status <> 'redacted'}), '',
			"$name: it continues its checkpoint");
	}
	sql("\\o $dir/export\nSELECT * FROM eventsource.export_log()");
	command_ok([ 'python3', $verifier, 'log', "$dir/export", @checkpoints ], "$name: outside, too");
	return;
}

# Everything goes on, each time a little.
sub go_on
{
	my ($name) = @_;
	my $version = sql(q{SELECT version FROM eventsource.streams WHERE stream = 'note-1'});
	my $tail = sql('SELECT size FROM eventsource.seals ORDER BY size DESC LIMIT 1');
	my $pruned = sql('SELECT sum(pruned_events) FROM eventsource.segments');

	is(sql(q{SELECT version FROM eventsource.append('note-1', 'written', '{"n": 1}', schema_version => 1)}), $version + 1, "$name: appending");
	is(refusal(q{SELECT eventsource.append('door-0', eventsource.current_state('door-0'))}), 'ZE006', "$name: machines rule");
	is(refusal(qq{SELECT eventsource.append('cust-$_', 'signed_up', '{}')}), 'ZE009', "$name: erased subjects are") for 2, 3;
	is(refusal('UPDATE eventsource.event SET version = 1'), 'ZE001', "$name: the log is append-only");
	is(refusal("$_ SET what = 'two'"), 'ZE001', "$name: $_") for 'UPDATE audit', 'UPDATE audit_parts', 'UPDATE audit_1';
	is(refusal("TRUNCATE $_"), 'ZE001', "$name: TRUNCATE $_") for 'audit', 'audit_1';
	is(refusal("UPDATE door SET n = 0"), 'ZE010', "$name: projections are guarded");
	is(sql(q{SELECT version FROM eventsource.append('order-8', 'placed', '{"n": 8}', idempotency_key => 'order 8')}), 1, "$name: what was acknowledged is known");
	$node->safe_psql('log', q{UPDATE leads SET status = status || '+' WHERE id = 3}, extra_params => [ '-U', 'app' ]);
	is(sql(q{SELECT data->'changed' ? 'status', recorded_by FROM eventsource.read_stream('lead-3') ORDER BY version DESC LIMIT 1}), 't|app', "$name: a tracked table is");
	is($node->safe_psql('log', q{SELECT DISTINCT data->>'email' FROM eventsource.read_stream('cust-7')}, extra_params => [ '-U', 'analyst' ]),
		'***', "$name: personal fields are masked");
	is(sql(q{SELECT eventsource.ack('mailer', max(position)), string_agg(stream, ' ') FROM eventsource.poll('mailer', 2)}),
		'|cust-' . (9 + 2 * $hop) . ' cust-' . (10 + 2 * $hop), "$name: a subscription");
	sql(q{SELECT count(eventsource.append('page-' || i % 9, 'viewed')), count(eventsource.append('order-' || i % 7, 'placed')) FROM generate_series(1, 150) i;
		SELECT eventsource.run_projections(); SELECT eventsource.seal()});
	sql(qq{SELECT count(*) FROM (VALUES (1, 'soft'), (2, 'anonymize'), (3, 'hard')) v (n, how), eventsource.erase_subject('cust-' || 20 + 3 * $hop + n, how, 'asked', 'dpo');
		SELECT eventsource.seal(); SELECT count(*) FROM eventsource.archive_due()});
	cmp_ok(sql('SELECT sum(pruned_events) FROM eventsource.segments'), '>', $pruned, "$name: retention");
	take_checkpoint();
	append_to_file("$dir/proof$hop", sql("SELECT to_json(eventsource.consistency_proof($tail))"));
	append_to_file("$dir/tail$hop", sql("SELECT eventsource.checkpoint($tail)") . "\n");
	command_ok([ 'python3', $verifier, 'consistency', "$dir/tail$hop", $checkpoints[-1], "$dir/proof$hop" ], "$name: it proves what it was");
	return;
}

take_checkpoint();
check('before');

# ---- from server to server ----

for my $bin (@bins[ 1 .. $#bins ])
{
	my $was = sql($past);
	my $new = new_node('major' . ++$hop, $bin, $hop % 2 == 0);
	my $name = join ' ', 'from', $node->pg_version, 'to', $new->pg_version;
	$node->stop;
	chdir $PostgreSQL::Test::Utils::tmp_check or die;
	{
		local %ENV = $new->_get_env();
		command_ok(
			[   'pg_upgrade', '--no-sync', $hop % 2 == 0 ? '--link' : (), '-d', $node->data_dir, '-D', $new->data_dir,
				'-b', $bins[ $hop - 1 ], '-B', $bin, '-s', $new->host, '-p', $node->port, '-P', $new->port
			],
			"$name: pg_upgrade");
	}
	$node = $new;
	$node->start;
	is(sql($past), $was, "$name: all is what it was");
	check($name);
	go_on($name);
	check("$name, and on");
}
$node->stop;
done_testing();
