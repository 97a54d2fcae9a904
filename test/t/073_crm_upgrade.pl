# 073_crm_upgrade.pl: eventsource_crm of each released version, with data of every area, is
# brought to this one: afterwards it is what a fresh one is, and the data what it was.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('crm_upgrade', 'eventsource.segment_size = 300', 'eventsource.worker_enabled = off', 'client_min_messages = warning');
my $dir = PostgreSQL::Test::Utils::tempdir;
my @released = split /\n/, $node->safe_psql('postgres', <<'SQL');
SELECT v.version FROM pg_available_extension_versions v
  JOIN pg_available_extensions e ON e.name = v.name AND e.default_version <> v.version
 WHERE v.name = 'eventsource_crm' ORDER BY 1
SQL
cmp_ok(scalar @released, '>', 0, 'there is a version to come from');

$node->safe_psql('postgres', 'CREATE ROLE bi LOGIN; CREATE ROLE app LOGIN; CREATE ROLE guest LOGIN');

# ---- the maker of scripts ----

# Functions of two versions, made into the script from one to the other.
sub made
{
	my ($old, $new) = @_;
	my $waits = "CREATE FUNCTION crm.expect_installed_again() RETURNS boolean\n\tLANGUAGE sql AS \$\$ SELECT true\n\$\$;\nCOMMENT ON FUNCTION crm.expect_installed_again() IS 'x';\n";
	my ($from, $to) = ("$dir/probe--1.sql", "$dir/part.sql");
	PostgreSQL::Test::Utils::append_to_file($_->[0], $_->[1]) for map { unlink $_->[0]; $_ } [ $from, $old ], [ $to, "$waits$new" ];
	my ($script, $error);
	IPC::Run::run([ 'perl', "$ENV{TESTDIR}/tools/upgrade-script.pl", $from, $to ], '>', \$script, '2>', \$error);
	return $error || join "\n", $script =~ /^(DROP .*;)$/gm;
}
sub function_of { my ($header, $body) = @_; my ($of) = $header =~ /^(.*?\))/; return "CREATE FUNCTION $header\n\tLANGUAGE sql $body;\nCOMMENT ON FUNCTION " . ($of =~ s/\w+ (\w+)(?: DEFAULT [^,)]+)?(?=[,)])/$1/gr) . " IS 'x';\n" }

my $f = function_of('crm.f(a integer DEFAULT 1) RETURNS text', 'AS $$ SELECT 1 $$');
is(made($f, ''), 'DROP FUNCTION crm.f(integer);', 'what is gone is dropped');
is(made($f, function_of('crm.f(a integer DEFAULT 2) RETURNS text', 'AS $$ SELECT 1 $$')), '', 'another default is none of that');
is(made($f, function_of('crm.f(a integer) RETURNS text', 'AS $$ SELECT 1 $$')), 'DROP FUNCTION crm.f(integer);', 'no default any more is');
is(made($f, function_of('crm.f(a integer DEFAULT 1) RETURNS integer', 'AS $$ SELECT 1 $$')), 'DROP FUNCTION crm.f(integer);', 'and another result');
my $g = function_of('crm.g() RETURNS text', 'RETURN crm.f()');
is(made($f . $g, $g), "DROP FUNCTION crm.g();\nDROP FUNCTION crm.f(integer);", 'with those that hold it, before it');
like(made($f, $f =~ s/^COMMENT.*//mr), qr/no comment on the function/, 'a function without a comment stops it');
like(made($f . "ALTER FUNCTION crm.f(integer) STABLE;\n", $f), qr/makes something else: ALTER FUNCTION/, 'and what makes no functions');

# ---- what is asked ----

# Everything of the extension and of what install() makes, by name; columns of tables may stand in another order,
# and definitions in other lines.
my $catalogue = <<'SQL';
SELECT 'extension', e.extversion FROM pg_extension e WHERE e.extname LIKE 'eventsource%' ORDER BY e.extname;
SELECT 'member', pg_describe_object(d.classid, d.objid, 0) AS what FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'eventsource_crm' ORDER BY 2;
SELECT 'function', p.oid::regprocedure, CASE WHEN p.prokind = 'f' THEN md5(pg_get_functiondef(p.oid)) END, obj_description(p.oid, 'pg_proc'),
	   (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(p.proacl) a), i.initprivs
  FROM pg_proc p LEFT JOIN pg_init_privs i ON i.objoid = p.oid AND i.classoid = 'pg_proc'::regclass WHERE p.pronamespace = 'crm'::regnamespace ORDER BY p.oid::regprocedure::text;
SELECT 'relation', c.relname, c.relkind, c.reloptions, obj_description(c.oid, 'pg_class'),
	   (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(c.relacl) a), CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END, i.initprivs
  FROM pg_class c LEFT JOIN pg_init_privs i ON i.objoid = c.oid AND i.classoid = 'pg_class'::regclass WHERE c.relnamespace = 'crm'::regnamespace ORDER BY c.relname;
SELECT 'column', c.relname, a.attname, CASE WHEN c.relkind = 'v' THEN a.attnum END, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated, pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'crm'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY 2, 3;
SELECT 'index', pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'crm'::regnamespace ORDER BY 2;
SELECT 'constraint', c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint c WHERE c.connamespace = 'crm'::regnamespace ORDER BY 2, 3;
SELECT 'schema', n.nspacl FROM pg_namespace n WHERE n.nspname = 'crm';
SELECT 'event type', t.category, t.type, t.schema, t.pii, t.phase, t.description FROM eventsource.event_types t ORDER BY 2, 3;
SELECT 'machine', m.name, crm.in_one_line(m.definition::text) FROM eventsource.state_machines m WHERE m.is_current ORDER BY 2;
SELECT 'category', c.name, c.state_machine, c.context, c.strict, c.subject FROM eventsource.categories c ORDER BY 2;
SELECT 'projection', p.target, p.category, crm.in_one_line(p.rules::text), p.key, p.mode FROM eventsource.projections p ORDER BY p.name;
SELECT 'reaction', r.name, r.category, r.type, crm.in_one_line(r.condition), crm.in_one_line(r.action::text), crm.in_one_line(r.run_at), crm.in_one_line(r.key), r.settings FROM eventsource.reactions r WHERE r.name LIKE 'crm\_%' ORDER BY 2;
SELECT 'right', r.* FROM eventsource.category_rights r ORDER BY r::text;
SQL

# What happened: no version may change it.
my $past = <<'SQL';
SET timezone = 'UTC';
SELECT count(*), md5(string_agg(e::text, E'\n' ORDER BY e.position)) FROM eventsource.events e WHERE NOT starts_with(e.stream, '$');
SELECT (l.lead_id, l.name, l.state, l.state_since, l.agent_id, l.contact_attempts, l.flags, l.version)::text FROM crm.leads l ORDER BY l.lead_id;
SELECT string_agg(s.setting_name || '=' || s.value, ' ' ORDER BY s.setting_name) FROM crm.settings s WHERE NOT s.is_default;
SELECT count(*) FROM crm.lead_state_visits;
SELECT (c.customer_id, c.status, c.email, c.segments)::text FROM crm.customers c ORDER BY c.customer_id;
SELECT (h.customer_id, h.purpose, h.channel, h.status)::text FROM crm.consents h ORDER BY 1;
SELECT (o.order_id, o.status, o.paid_amount, o.refunded_amount)::text FROM crm.orders o ORDER BY o.order_id;
SELECT (k.cart_id, k.status)::text FROM crm.carts k ORDER BY k.cart_id;
SELECT (b.account_id, b.currency, b.balance)::text FROM crm.account_balances b ORDER BY 1;
SELECT (r.campaign_id, r.customer_id, r.status, r.steps_done)::text FROM crm.campaign_runs r ORDER BY r.run_id;
SELECT (m.message_id, m.status)::text FROM crm.messages m ORDER BY m.message_id;
SELECT string_agg(s.segment_id || ' ' || s.rule, ', ' ORDER BY s.segment_id) FROM crm.segments s;
SELECT count(*), count(DISTINCT j.job_id), string_agg(DISTINCT j.state, ' ') FROM eventsource.jobs j;
SELECT sum(a.value), count(*) FROM crm.attribution('linear') a;
SELECT count(*) FROM crm.journeys;
SQL

sub lines { my ($db, $sql) = @_; return [ split /\n/, $node->safe_psql($db, "SET client_min_messages = error; $sql") ] }

sub grants
{
	my ($db) = @_;
	$node->safe_psql($db, "SELECT crm.grant_reader('bi'), crm.grant_writer('app')");
	return;
}

# ---- a fresh one ----

create_log($node, 'fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION eventsource_crm; SELECT crm.install()');
grants('fresh');
my $fresh = lines('fresh', $catalogue);
cmp_ok(scalar @$fresh, '>', 1000, 'there is something to compare');

sub restored
{
	my ($db) = @_;
	my $again = "again_$db";
	$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/$db.dump", $db ], "pg_dump of $db");
	$node->safe_psql('postgres', "CREATE DATABASE $again");
	$node->command_ok([ 'pg_restore', '-e', '-d', $again, "$dir/$db.dump" ], "pg_restore of $db");
	return $again;
}
my $fresh_again = lines(restored('fresh'), $catalogue);

# ---- from each version ----

for my $version (@released)
{
	my $db = 'from_' . $version =~ tr/./_/r;
	create_log($node, $db);
	$node->safe_psql($db, "CREATE EXTENSION eventsource_crm VERSION '$version'; SELECT crm.install()");
	grants($db);
	$node->safe_psql($db, <<'SQL');
SELECT crm.create_example_campaigns();
SELECT crm.set_frequency_cap('email-daily', 'email', 2, '1 day', 'daily'), crm.define_segment('big', '$.ltv > 10'), crm.define_funnel('short', '[{"name": "a", "events": ["PageViewed"]}, {"name": "b", "events": ["OrderPlaced"]}]');
SELECT crm.create_integration('mailer');
SELECT crm.register_customer('c' || i || '@example.com', '1', marketing_consent => true, customer_id => 'c' || i) FROM generate_series(1, 20) i;
SELECT crm.revoke_consent('c2', 'marketing', 'email');
SELECT crm.add_to_cart('k' || i, 'pen', 1, 60, 'EUR', 'c' || i, occurred_at => now() - interval '3 hours') FROM generate_series(1, 20) i;
SELECT crm.place_order('c' || i, '[{"productId": "pen", "quantity": 1, "price": 60}]', 'EUR', order_id => 'o' || i, cart_id => 'k' || i) FROM generate_series(1, 10) i;
SELECT crm.record_payment('o' || i, 'p', 60) FROM generate_series(1, 10) i;
SELECT crm.initiate_refund('o1', 'r1', 'quality-issue', 10), crm.complete_refund('o1', 'r1');
SELECT sum(count) FROM eventsource.run_due();
SELECT crm.send_message('c1', 'email', 't', message_id => 'm1');
SELECT crm.create_lead('l' || i, name => 'Lead ' || i, agent_id => 'joe', occurred_at => '2026-01-01 00:00Z') FROM generate_series(1, 30) i;
SELECT crm.log_contact('l' || i, 'phone', occurred_at => '2026-01-02 00:00Z') FROM generate_series(1, 30) i, generate_series(1, 6);
SELECT crm.set_lead_flag('l' || i, 'dnc') FROM generate_series(1, 10) i;
SELECT crm.transition_lead('l' || i, 'motivation_confirmed', occurred_at => '2026-01-03 00:00Z') FROM generate_series(21, 30) i;
SELECT crm.set_setting('first_contact_sla', '1 hour');
SELECT eventsource.append('visit-v1', 'PageViewed', '{"customerId": "c1", "pageUrl": "/"}');
-- What others have made of it.
GRANT USAGE ON SCHEMA crm TO guest;
GRANT SELECT ON crm.leads, crm.orders TO guest WITH GRANT OPTION;
GRANT SELECT (customer_id, status) ON crm.customers TO guest;
CREATE SCHEMA mine;
CREATE VIEW mine.open_leads AS SELECT lead_id, name FROM crm.leads WHERE state = 'NEW';
GRANT USAGE ON SCHEMA mine TO bi;
GRANT SELECT ON mine.open_leads TO bi;
SQL
	my $before = lines($db, $past);
	my $theirs = "SELECT count(*) FROM mine.open_leads";
	my $open = $node->safe_psql($db, $theirs);
	my $positions = 'SELECT count(*), max(position) FROM eventsource.events';
	my $log = $node->safe_psql($db, $positions);

	# The script makes functions only; until install() has made them again, views say so.
	$node->safe_psql($db, 'ALTER EXTENSION eventsource_crm UPDATE');
	is($node->safe_psql($db, $positions), $log, "$version: the script appends nothing");
	like(error_of($node, $db, 'SELECT * FROM crm.leads'), qr/eventsource_crm was updated, and is not installed again yet/, "$version: a view waits for install()");
	like(error_of($node, $db, $theirs), qr/HINT:.*SELECT crm\.install\(\)/, "$version: and so does one of others that reads it");
	like(error_of($node, $db, "LOAD 'eventsource'; SET ROLE guest; SELECT * FROM crm.orders"), qr/not installed again yet/, "$version: whoever reads it");
	$node->safe_psql($db, 'SELECT crm.install()');
	is($node->safe_psql($db, 'SELECT crm.install()'), '0', "$version: install() leaves nothing to do");
	my $events = $node->safe_psql($db, $positions);
	$node->safe_psql($db, 'SELECT crm.install()');
	is($node->safe_psql($db, $positions), $events, "$version: nor anything in the log, then");

	# Grants of theirs are not in a fresh one.
	is($node->safe_psql($db, $theirs), $open, "$version: a view of others is as it was");
	is($node->safe_psql($db, "LOAD 'eventsource'; SET ROLE bi; $theirs"), $open, "$version: and for who may read it");
	is($node->safe_psql($db, <<'SQL'), 't|t|t|f', "$version: grants on views are, too");
SELECT has_table_privilege('guest', 'crm.leads', 'SELECT WITH GRANT OPTION'), has_table_privilege('guest', 'crm.orders', 'SELECT'),
	   has_column_privilege('guest', 'crm.customers', 'status', 'SELECT'), has_column_privilege('guest', 'crm.customers', 'email', 'SELECT')
SQL
	# Nor what writers of 0.1.0 could define, which is for admins since.
	$node->safe_psql($db, "SELECT crm.revoke_writer('app'), crm.grant_writer('app')");
	$node->safe_psql($db, 'DROP SCHEMA mine CASCADE; REVOKE ALL ON crm.leads, crm.orders, crm.customers FROM guest CASCADE; REVOKE USAGE ON SCHEMA crm FROM guest');
	is_deeply(lines($db, $catalogue), $fresh, "$version: all is as in a fresh one: functions, comments, privileges, views, tables, definitions");
	is_deeply(lines($db, $past), $before, "$version: what happened is as it was");
	is($node->safe_psql($db, 'SELECT count(*) FROM eventsource.projections p, eventsource.verify_projection(p.target) v'), '0', "$version: projections are what events make");
	is($node->safe_psql($db, 'SELECT count(*) FROM eventsource.check_definitions()'), '0', "$version: definitions hold");
	is($node->safe_psql($db, 'SELECT count(*) FROM eventsource.verify_chain()'), '0', "$version: the log is whole");
	is($node->safe_psql($db, "SET ROLE app; SELECT (crm.transition_lead('l1', 'motivation_confirmed')).state"), 'QUALIFIED', "$version: it goes on");

	# A dump of it restores as one of a fresh one does.
	my $again = restored($db);
	is_deeply(lines($again, $catalogue), $fresh_again, "$version: all is there");
	is($node->safe_psql($again, 'SELECT crm.install()'), '0', "$version: and nothing is doubled");

	# What it took, and this one would not have: said, all of it, before anything is changed, and then mended.
	$db = 'odd_' . $version =~ tr/./_/r;
	create_log($node, $db);
	$node->safe_psql($db, "CREATE EXTENSION eventsource_crm VERSION '$version'; SELECT crm.install()");
	$node->safe_psql($db, <<'SQL');
SELECT eventsource.append('crm_setting-quiet_hours', 'setting_changed', '{"value": "late"}'), eventsource.append('crm_setting-first_contact_sla', 'setting_changed', '{"value": "soon"}');
SELECT eventsource.append('crm_rule-odd', 'FrequencyCapChanged', '{"channel": "email", "messageClass": "marketing", "frequency": "daily", "window": "-1 hours", "max": 2}');
SELECT eventsource.append('segment-odd', 'SegmentDefined', '{"rule": "$.ltv >> nonsense"}');
SELECT crm.register_customer('eve@example.com', '1', customer_id => 'eve'), crm.register_customer('EVE' || chr(173) || '@example.com', '1', customer_id => 'eve2');
SELECT crm.register_customer('bob@example.com', '1', customer_id => 'bob'), crm.change_email('bob', 'bob' || chr(173) || '@example.com');
SELECT eventsource.append('order-odd', 'OrderPlaced', '{"customerId": "bob", "items": [{"productId": "pen", "quantity": 2, "price": 0.5}], "subtotal": 1.11, "tax": 0, "shipping": 0, "total": 1.11, "currency": "EUR"}');
SELECT eventsource.append('visit-odd', 'PageViewed', '{"customerId": "bob", "pageUrl": "/a?mail=bob@example.com"}');
SQL
	$node->safe_psql($db, 'ALTER EXTENSION eventsource_crm UPDATE');
	like(error_of($node, $db, 'SELECT crm.install()'), qr/55000: *what crm\.contact_rule holds cannot be read.*odd/s, "$version: caps that nobody can read are told");
	$node->safe_psql($db, q{SELECT eventsource.append('crm_rule-odd', 'FrequencyCapChanged', '{"channel": "email", "messageClass": "marketing", "frequency": "daily", "window": "1 day", "max": 2}')});
	like(error_of($node, $db, 'SELECT crm.install()'), qr/55000: *what crm\.setting holds cannot be read.*first_contact_sla, quiet_hours/s, "$version: and settings");
	$node->safe_psql($db, "SELECT crm.set_setting('quiet_hours', '22:00-08:00'), crm.set_setting('first_contact_sla', NULL)");
	like(error_of($node, $db, 'SELECT crm.install()'), qr/55000: *table crm\.customer cannot be made.*one address: eve, eve2\./s, "$version: and who has one address");
	$node->safe_psql($db, q{SELECT eventsource.append('customer-eve2', 'CustomerEmailUpdated', '{"newEmail": "eve2@example.com", "requiresVerification": true}')});
	like(error_of($node, $db, 'SELECT crm.install()'), qr/55000: *what crm\.segment holds cannot be read.*odd/s, "$version: and segments");
	$node->safe_psql($db, q{SELECT eventsource.append('segment-odd', 'SegmentDefined', '{"rule": "$.ltv > 1"}')});
	$node->safe_psql($db, 'SELECT crm.install()');
	is($node->safe_psql($db, 'SELECT count(*) FROM eventsource.check_definitions()'), '0', "$version: then it is installed");
	is($node->safe_psql($db, 'SELECT count(*) FROM eventsource.projections p, eventsource.verify_projection(p.target) v'), '0', "$version: and projections are what events make");
	is($node->safe_psql($db, "SELECT subtotal FROM crm.orders WHERE order_id = 'odd'"), '1.11', "$version: what was placed goes on as it is");
	is($node->safe_psql($db, q{SELECT (crm.record_payment('odd', 'p', 1.11)).state}), 'confirmed', "$version: and is paid");

	# One on which install() was never called.
	create_log($node, "other_$db");
	$node->safe_psql("other_$db", "CREATE EXTENSION eventsource_crm VERSION '$version'");
	$node->safe_psql("other_$db", 'ALTER EXTENSION eventsource_crm UPDATE; SELECT crm.install()');
	is($node->safe_psql("other_$db", 'SELECT count(*) FROM eventsource.check_definitions()'), '0', "$version: all is made then");
}

$node->stop;
done_testing();
