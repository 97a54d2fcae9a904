# 071_crm_races.pl: where two do at once what only one may: registrations, consents,
# payments, refunds, first purchases, messages under a cap, steps of campaigns.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('crm_races', 'eventsource.worker_enabled = off', 'client_min_messages = warning');

$node->safe_psql('log', <<'SQL');
CREATE EXTENSION eventsource_crm;
SQL

# Three who install at once make it once.
my $install = PostgreSQL::Test::Utils::tempdir . '/install.sql';
append_to_file($install, "SELECT crm.install();\n");
$node->command_ok([ 'pgbench', '-n', '-c', '3', '-j', '3', '-t', '1', '-f', $install, 'log' ], 'three install at once');
is($node->safe_psql('log', 'SELECT crm.install()'), '0', 'and everything is there');

$node->safe_psql('log', <<'SQL');
-- How a command ends: what it returns, or how it is refused.
CREATE FUNCTION outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
	name text;
BEGIN
	EXECUTE command INTO result;
	RETURN coalesce(result, 'done');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME;
	RETURN trim(SQLSTATE || ' ' || name);
END
$$;
SELECT crm.register_customer(c || '@example.com', '1', marketing_consent => true, customer_id => c) FROM unnest('{ada,bob,cy,dee}'::text[]) c;
SELECT crm.place_order('ada', '[{"productId": "pen", "quantity": 1, "price": 100}]', 'EUR', order_id => 'o1');
SELECT crm.record_payment('o1', 'p1', 100);
SELECT crm.place_order('bob', '[{"productId": "pen", "quantity": 1, "price": 100}]', 'EUR', order_id => 'o2');
SQL

# Does the first in a transaction, lets the second begin, which has to wait, commits,
# and says how the second ended.
sub race
{
	my ($first, $second) = @_;
	my $one = $node->background_psql('log');
	my $two = $node->background_psql('log');
	$one->query_safe('BEGIN');
	my $won = $one->query_safe("SELECT outcome(\$command\$ $first \$command\$)");
	my $pid = $two->query_safe('SELECT pg_backend_pid()');
	$two->query_until(qr/begun/, "\\echo begun\nSELECT outcome(\$command\$ $second \$command\$);\n");
	wait_until(sub { return $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND wait_event_type = 'Lock'") eq '1'; })
	  or fail("the second waits for the first: $second");
	$one->query_safe('COMMIT');
	$one->quit;
	my $lost = $two->query_safe('SELECT 1');
	$two->quit;
	$lost =~ s/\n?1$//;
	return "$won; $lost";
}

like(race("SELECT id FROM crm.register_customer('new\@example.com', '1', customer_id => 'n1')", "SELECT id FROM crm.register_customer('NEW\@example.com', '1', customer_id => 'n2')"),
	qr/^n1; 23505 customer_email_is_taken$/, 'two registrations with one address');
is($node->safe_psql('log', "SELECT count(*) FROM eventsource.events WHERE stream = 'customer-n2'"), '0', 'nothing is left of the second');
is(race("SELECT (crm.grant_consent('ada', 'marketing', 'sms')).state", "SELECT (crm.grant_consent('ada', 'marketing', 'sms')).state"),
	'pending-verification; ZE005 consent_is_not_granted', 'one consent given twice');
is(race("SELECT (crm.initiate_refund('o1', 'r1', 'other', 60)).state", "SELECT (crm.initiate_refund('o1', 'r2', 'other', 60)).state"),
	'confirmed; ZE005 no_more_than_was_paid', 'two refunds of more than was paid together');
is($node->safe_psql('log', "SELECT open_refund_amount FROM crm.orders WHERE order_id = 'o1'"), '60', 'one is reserved');
is(race("SELECT (crm.complete_refund('o1', 'r1')).state", "SELECT (crm.complete_refund('o1', 'r1')).state"),
	'confirmed; ZE005 refund_is_open', 'one refund paid twice');
is(race("SELECT (crm.record_payment('o2', 'p1', 100)).state", "SELECT (crm.record_payment('o2', 'p2', 100)).state"),
	'confirmed; ZE002', 'one order paid twice');
is($node->safe_psql('log', "SELECT count(*) FROM eventsource.events WHERE stream = 'order-o2' AND type = 'OrderConfirmed'"), '1', 'it is confirmed once');
is(race("SELECT skip_reason FROM crm.send_message('cy', 'email', message_id => 'm1')", "SELECT skip_reason FROM crm.send_message('cy', 'email', message_id => 'm2')"),
	'done; frequency-cap', 'two messages under one cap');
# Whoever sees less than there is decides nothing.
$node->safe_psql('log', "SELECT crm.register_customer('eve\@example.com', '1', marketing_consent => true, customer_id => 'eve')");
my @serial = map { $node->background_psql('log') } 1 .. 2;
$_->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM crm.messages') foreach @serial;
is($serial[0]->query_safe("SELECT skip_reason FROM crm.send_message('eve', 'email', message_id => 'e1')"), '', 'one of two SERIALIZABLE transactions queues a message');
$serial[0]->query_safe('COMMIT');
$serial[1]->query_until(qr/over/, "SELECT skip_reason FROM crm.send_message('eve', 'email', message_id => 'e2');\nCOMMIT;\n\\echo over\n");
$_->quit foreach @serial;
is($node->safe_psql('log', "SELECT count(*) FROM crm.messages WHERE customer_id = 'eve' AND status = 'queued'"), '1', 'the other one does not');
is(race("SELECT crm.add_to_segment('dee', 'vip')", "SELECT crm.add_to_segment('dee', 'vip')"), 'true; false', 'one segment entered twice');

# Each makes the lifecycle of leads anew, of what the one before has left.
is(race("SELECT crm.define_lead_reason('one', 'One', 'x', '{deal_collapsed}')", "SELECT crm.define_lead_reason('two', 'Two', 'x', '{deal_collapsed}')"), '; ', 'two define reasons');
is($node->safe_psql('log', "SELECT count(*) FROM eventsource.state_machine_transitions t WHERE t.state_machine = 'crm_lead' AND t.is_current AND t.type = 'deal_collapsed' AND t.reasons \@> '{one,two}'"),
	'1', 'and both are taken');
$node->safe_psql('log', "SELECT crm.retire_lead_reason(r) FROM unnest('{duplicate,fake_identity}'::text[]) r");
is(race("SELECT crm.retire_lead_reason('spam')", "SELECT crm.retire_lead_reason('wrong_number')"), '; 55000', 'two retire the last two: one is left');

# Who takes consent back is not sent what waits.
$node->safe_psql('log', "SELECT crm.send_message('dee', 'email', message_id => 'd1')");
my $revokes = $node->background_psql('log');
$revokes->query_safe("BEGIN; SELECT crm.revoke_consent('dee', 'marketing', 'email')");
is($node->safe_psql('log', "SELECT count(*) FROM crm.claim_messages('email', 10) WHERE message_id = 'd1'"), '0', 'consent that is being taken back while somebody claims');
$revokes->query_safe('COMMIT');
$revokes->quit;
is($node->safe_psql('log', "SELECT status FROM crm.messages WHERE message_id = 'd1'"), 'skipped', 'the message is skipped');

# ---- many run what is due ----

$node->safe_psql('log', <<'SQL');
SELECT crm.create_campaign('hello', '{"event": "CartAbandoned"}', '[{"type": "send-email", "config": {"templateId": "t", "messageClass": "transactional"}}, {"type": "add-to-segment", "config": {"segmentId": "seen"}}]');
SELECT crm.register_customer('x' || i || '@example.com', '1', customer_id => 'x' || i) FROM generate_series(1, 40) i;
SELECT crm.place_order('x' || i, '[{"productId": "pen", "quantity": 1, "price": 10}]', 'EUR', order_id => 'x' || i || '-' || k) FROM generate_series(1, 40) i, generate_series(1, 2) k;
SELECT crm.record_payment('x' || i || '-' || k, 'p', 10) FROM generate_series(1, 40) i, generate_series(1, 2) k;
SELECT crm.add_to_cart('kx' || i, 'pen', 1, 10, 'EUR', 'x' || i, occurred_at => now() - interval '3 hours') FROM generate_series(1, 40) i;
SQL
my $script = PostgreSQL::Test::Utils::tempdir . '/due.sql';
append_to_file($script, "SELECT eventsource.run_due(20);\n");
$node->command_ok([ 'pgbench', '-n', '-c', '4', '-t', '30', '--max-tries=10', '-f', $script, 'log' ], 'four run what is due at once');
# Who lost a race is tried again a little later.
wait_until(sub {
	$node->safe_psql('log', 'SELECT sum(count) FROM eventsource.run_due()');
	return $node->safe_psql('log', "SELECT count(*) FROM eventsource.jobs WHERE queue LIKE '\$%' AND state IN ('scheduled', 'available', 'claimed') AND run_at < now() + interval '1 minute'") eq '0'; });
is($node->safe_psql('log', "SELECT count(*), count(DISTINCT stream) FROM eventsource.events WHERE type = 'CustomerSegmentAdded' AND data->>'segmentId' = 'buyers' AND key LIKE 'x%'"), '40|40',
	'two first purchases make one buyer each');
is($node->safe_psql('log', "SELECT count(*), count(DISTINCT customer_id), count(*) FILTER (WHERE status = 'completed') FROM crm.campaign_runs"), '40|40|40', 'each is once in the campaign');
is($node->safe_psql('log', "SELECT count(*) FROM crm.messages WHERE campaign_id = 'hello' AND status = 'queued'"), '40', 'and is written to once');
is($node->safe_psql('log', "SELECT count(*) FROM eventsource.jobs WHERE state = 'discarded'"), '0', 'nothing is given up');
is($node->safe_psql('log', 'SELECT count(*) FROM crm.reconcile()'), '0', 'the ledger agrees');
is($node->safe_psql('log', 'SELECT count(*) FROM eventsource.projections p, eventsource.verify_projection(p.target) v'), '0', 'projections are what events make');

$node->stop;
done_testing();
