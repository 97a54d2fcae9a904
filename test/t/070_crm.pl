# 070_crm.pl: eventsource_crm over its life: dumped and restored with all its
# definitions once, dropped and made again over the same log, and called by many at once.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('crm', 'eventsource.segment_size = 300', 'client_min_messages = warning');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('log', <<'SQL');
CREATE EXTENSION eventsource_crm;
SELECT crm.install();
CREATE ROLE bi LOGIN;
CREATE ROLE app LOGIN;
SELECT crm.grant_reader('bi'), crm.grant_writer('app');
SELECT crm.create_example_campaigns();
SELECT crm.set_frequency_cap('email-daily', 'email', 2, '1 day', 'daily'), crm.define_segment('big', '$.ltv > 10'), crm.define_funnel('short', '[{"name": "a", "events": ["PageViewed"]}, {"name": "b", "events": ["OrderPlaced"]}]');
SELECT crm.create_integration('mailer');
SELECT crm.register_customer('c' || i || '@example.com', '1', marketing_consent => true, customer_id => 'c' || i) FROM generate_series(1, 20) i;
SELECT crm.add_to_cart('k' || i, 'pen', 1, 60, 'EUR', 'c' || i, occurred_at => now() - interval '3 hours') FROM generate_series(1, 20) i;
SELECT crm.place_order('c' || i, '[{"productId": "pen", "quantity": 1, "price": 60}]', 'EUR', order_id => 'o' || i, cart_id => 'k' || i) FROM generate_series(1, 10) i;
SELECT crm.record_payment('o' || i, 'p', 60) FROM generate_series(1, 10) i;
SELECT sum(count) FROM eventsource.run_due();
SELECT crm.send_message('c1', 'email', 't', message_id => 'm1');
SELECT crm.create_lead('l' || i, name => 'Lead ' || i, agent_id => 'joe', occurred_at => '2026-01-01 00:00Z') FROM generate_series(1, 100) i;
SELECT crm.log_contact('l' || i, 'phone', occurred_at => '2026-01-02 00:00Z') FROM generate_series(1, 100) i, generate_series(1, 6);
SELECT crm.set_lead_flag('l' || i, 'dnc') FROM generate_series(1, 10) i;
SELECT crm.transition_lead('l' || i, 'motivation_confirmed', occurred_at => '2026-01-03 00:00Z') FROM generate_series(51, 100) i;
SELECT crm.set_setting('first_contact_sla', '1 hour');
SELECT crm.define_lead_reason('hoa_refused', 'The HOA refused', 'property', '{contract_voided}'), crm.retire_lead_reason('pto');
SELECT eventsource.append('customer-1', 'CustomerCreated', '{"email": "ada@example.com", "source": "web"}');
SQL

my $views = $node->safe_psql('log', "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'crm'::regnamespace AND relkind = 'v'");

# What a database says of the CRM and of its log; the clock is not asked.
sub told
{
	my ($db) = @_;
	return $node->safe_psql($db, <<'SQL');
SET timezone = 'UTC';
SELECT count(*), md5(string_agg(e::text, E'\n' ORDER BY e.position)) FROM eventsource.events e;
SELECT (l.lead_id, l.name, l.state, l.state_since, l.agent_id, l.contact_attempts, l.flags, l.version)::text FROM crm.leads l ORDER BY l.lead_id;
SELECT string_agg(s.setting_name || '=' || s.value, ' ' ORDER BY s.setting_name) FROM crm.settings s;
SELECT count(*) FROM crm.lead_state_visits;
SELECT r::text FROM crm.lead_event_reasons r ORDER BY r.event_type, r.reason;
SELECT (c.customer_id, c.status, c.email, c.segments)::text FROM crm.customers c ORDER BY c.customer_id;
SELECT (o.order_id, o.status, o.paid_amount)::text FROM crm.orders o ORDER BY o.order_id;
SELECT (r.campaign_id, r.customer_id, r.status, r.steps_done)::text FROM crm.campaign_runs r ORDER BY r.run_id;
SELECT (m.message_id, m.status)::text FROM crm.messages m ORDER BY m.message_id;
SELECT count(*), string_agg(s.segment_id || s.rule, ' ' ORDER BY s.segment_id) FROM crm.segments s;
SELECT count(*), count(DISTINCT j.job_id), string_agg(DISTINCT j.state, ' ') FROM eventsource.jobs j;
SELECT sum(a.value), count(*) FROM crm.attribution('linear') a;
SELECT count(*) FROM crm.event_types WHERE is_registered;
SELECT relname, relacl, obj_description(oid) FROM pg_class WHERE relnamespace = 'crm'::regnamespace ORDER BY relname;
SQL
}
my $told = told('log');
like($told, qr/first_contact_sla=1 hour/, 'there is something to lose');

sub stands_as_it_was
{
	my ($db, $how) = @_;
	is(told($db), $told, "$how: all is as it was");
	is($node->safe_psql($db, 'SELECT count(*) FROM eventsource.projections p, eventsource.verify_projection(p.target) v'), '0', "$how: projections are what events make");
	is($node->safe_psql($db, 'SELECT crm.install()'), '0', "$how: no definition is missing or doubled");
	is(told($db), $told, "$how: install() changes nothing");
	return;
}

# ---- dump and restore ----

$node->command_ok([ 'pg_dump', '-f', "$dir/plain.sql", 'log' ], 'pg_dump');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom.dump", 'log' ], 'pg_dump -Fc');
$node->safe_psql('postgres', 'CREATE DATABASE plain; CREATE DATABASE custom');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dir/plain.sql", 'plain' ], 'psql takes it');
$node->command_ok([ 'pg_restore', '-e', '-d', 'custom', "$dir/custom.dump" ], 'so does pg_restore');
for my $db ('plain', 'custom')
{
	stands_as_it_was($db, $db);
	is($node->safe_psql($db, "SET ROLE app; SELECT (crm.transition_lead('l1', 'motivation_confirmed')).state"), 'QUALIFIED', "$db: it goes on");
	is($node->safe_psql($db, "LOAD 'eventsource'; SET ROLE bi; SELECT name, state FROM crm.leads WHERE lead_id = 'l1'"), '***|QUALIFIED', "$db: for readers, too");
	like(error_of($node, $db, "SELECT crm.transition_lead('l60', 'deal_collapsed')"), qr/ZE002/, "$db: the state machine decides");
	like(error_of($node, $db, "SELECT crm.assign_lead('l70', 'rita', 'pto')"), qr/ZE004/, "$db: a reason that was retired is refused");
	is($node->safe_psql($db, q{SELECT string_agg(state, ' ') FROM (SELECT (crm.transition_lead('l70', t, r)).state FROM (VALUES ('buyer_agreement_signed', NULL),
		('contract_executed', NULL), ('contract_voided', 'hoa_refused')) v (t, r)) s}), 'COMMITTED IN_CONTRACT QUALIFIED', "$db: one that was defined is taken");
	like(error_of($node, $db, "UPDATE crm.lead SET state = 'CLOSED'"), qr/ZE010/, "$db: and tables are guarded");
}

# ---- dropped, and made again over the same log ----

like(error_of($node, 'custom', 'DROP EXTENSION eventsource'), qr/2BP01/, 'the log is needed');
like(error_of($node, 'custom', 'DROP EXTENSION eventsource_crm'), qr/2BP01/, 'views need the functions');
my $before = $node->safe_psql('custom', "SELECT count(*), max(position) FROM eventsource.events");
$node->safe_psql('custom', 'DROP EXTENSION eventsource_crm CASCADE');
is($node->safe_psql('custom', "SELECT count(*), max(position) FROM eventsource.events"), $before, 'the log outlives the extension');
is($node->safe_psql('custom', "SELECT state FROM eventsource.append('lead-l2', 'motivation_confirmed')"), 'QUALIFIED', 'so do its definitions');
is($node->safe_psql('custom', 'CREATE EXTENSION eventsource_crm; SELECT crm.install()'), '0', 'made again, it finds them');
is($node->safe_psql('custom', "SELECT state FROM crm.leads WHERE lead_id = 'l2'"), 'QUALIFIED', 'and what happened meanwhile');
$node->safe_psql('custom', 'DROP EXTENSION eventsource_crm CASCADE; DROP SCHEMA crm CASCADE; CREATE EXTENSION eventsource_crm');
cmp_ok($node->safe_psql('custom', 'SELECT crm.install()'), '>', 0, 'where the tables are gone they are made again');
is($node->safe_psql('custom', 'SELECT count(*), count(*) FILTER (WHERE state = $$QUALIFIED$$) FROM crm.leads'), '100|52', 'and filled from the log');
is($node->safe_psql('custom', q{SELECT string_agg(sqlstate, ' ' ORDER BY n) FROM (VALUES (1, 'pto'), (2, 'workload')) v (n, r), eventsource.can_append('lead-l70', 'lead_assigned', '{"agent_id": "rita"}', r)}),
	'ZE004', 'reason codes, too');
is($node->safe_psql('custom', "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'crm'::regnamespace AND relkind = 'v'"), $views, 'with every view');
is($node->safe_psql('custom', 'SELECT crm.install()'), '0', 'once');

# ---- many at once ----

# Ticks side by side: each lead is archived once.
my @ticks = map { $node->background_psql('log') } 1 .. 4;
$_->query_until(qr/ready/, "\\echo ready\nSELECT crm.tick_leads('2026-03-01 00:00Z');\n\\echo ticked\n") for @ticks;
$_->quit for @ticks;
is($node->safe_psql('log', "SELECT count(*), count(DISTINCT stream) FROM eventsource.events WHERE type = 'timeout_21d_no_response'"), '50|50', 'four ticks at once archive each lead once');

# Assignments side by side: from whom is always who had it.
$node->safe_psql('postgres', 'SELECT 1');
open my $script, '>', "$dir/assign.sql" or die;
print $script "\\set n random(1, 1000000)\nSELECT crm.assign_lead('l60', 'agent ' || :client_id || ' ' || :n);\n";
close $script;
$node->command_ok([ 'pgbench', '-n', '-c', '4', '-t', '50', '-f', "$dir/assign.sql", 'log' ], 'four clients assign one lead');
is($node->safe_psql('log', <<'SQL'), '201|0', 'each knows from whom');
SELECT count(*), count(*) FILTER (WHERE from_agent_id IS DISTINCT FROM before)
  FROM (SELECT from_agent_id, lag(agent_id) OVER (ORDER BY version) AS before FROM crm.lead_assignments WHERE lead_id = 'l60') a
SQL
is($node->safe_psql('log', 'SELECT count(*) FROM eventsource.projections p, eventsource.verify_projection(p.target) v'), '0', 'projections are what events make');

# Two installs at once: one defines, the other finds it.
$node->safe_psql('postgres', 'CREATE DATABASE twice');
$node->safe_psql('twice', 'CREATE EXTENSION eventsource_crm CASCADE');
my @installs = map { $node->background_psql('twice', on_error_stop => 0) } 1 .. 2;
$_->query_until(qr/ready/, "\\echo ready\nSELECT crm.install();\n") for @installs;
$_->quit for @installs;
is($node->safe_psql('twice', 'SELECT crm.install()'), '0', 'after two installs at once all is there');
is($node->safe_psql('twice', "SELECT count(*), count(DISTINCT (type, category)) FROM eventsource.event_type_versions"),
	join('|', ($node->safe_psql('twice', 'SELECT count(*) FROM crm.catalogue()')) x 2), 'no type is registered twice');
is($node->safe_psql('twice', "SELECT max(version) FROM eventsource.state_machines WHERE name = 'crm_lead'"), '1', 'nor the state machine');

$node->stop;
done_testing();
