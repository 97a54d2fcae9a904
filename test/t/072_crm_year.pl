# 072_crm_year.pl: a year of a brokerage with a shop, from a seeded generator: more than
# 100,000 events, after which every projection verifies, and what the views say is what
# plain SQL over the log says.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('crm_year', 'eventsource.worker_enabled = off', 'eventsource.segment_size = 20000', 'client_min_messages = warning', 'synchronous_commit = off', 'jit = off');

$node->safe_psql('log', <<'SQL');
CREATE EXTENSION eventsource_crm;
SELECT crm.install();
CREATE FUNCTION pick(VARIADIC a text[]) RETURNS text LANGUAGE sql AS $$ SELECT a[1 + floor(random() * cardinality(a))::int] $$;
CREATE FUNCTION put(stream text, type text, at timestamptz, data jsonb DEFAULT '{}', reason text DEFAULT NULL, actor text DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
	SELECT eventsource.append(stream, type, data, reason, actor, occurred_at => at)
$$;

CREATE PROCEDURE leads(n integer) LANGUAGE plpgsql AS $$
DECLARE
	s text;
	t timestamptz;
	state text;
	agent text;
	agents text[] := '{joe,ryan,josh,ann,bea}';
BEGIN
	FOR i IN 1 .. n LOOP
		s := 'lead-' || i;
		t := '2025-01-01'::timestamptz + random() * interval '300 days';
		agent := pick(VARIADIC agents);
		PERFORM put(s, 'contact_form_submission', t, jsonb_build_object('name', 'Lead ' || i, 'source', pick('website', 'open house', 'referral')));
		PERFORM put(s, 'lead_assigned', t, jsonb_build_object('agent_id', agent));
		t := t + random() * interval '10 minutes';
		FOR k IN 1 .. 1 + floor(random() * 4)::int LOOP
			PERFORM put(s, 'contact_attempted', t, jsonb_build_object('channel', pick('phone', 'email', 'text'), 'outcome', 'voicemail'), actor => 'agent:' || agent);
			t := t + random() * interval '2 days';
		END LOOP;
		IF random() < 0.2 THEN
			agent := (SELECT a FROM unnest(agents) a WHERE a <> agent ORDER BY random() LIMIT 1);
			PERFORM put(s, 'lead_assigned', t, jsonb_build_object('agent_id', agent), pick('pto', 'workload'));
		END IF;
		IF random() < 0.15 THEN
			PERFORM put(s, 'flag_set', t, '{"flag": "unsubscribed"}');
			IF random() < 0.5 THEN
				PERFORM put(s, 'flag_cleared', t + interval '1 day', '{"flag": "unsubscribed"}');
				t := t + interval '1 day';
			END IF;
		END IF;
		IF random() < 0.1 THEN
			PERFORM put(s, 'bogus_contact_detected', t, reason => pick('spam', 'wrong_number'));
			CONTINUE;
		ELSIF random() < 0.2 THEN
			CONTINUE;
		END IF;
		PERFORM put(s, 'motivation_confirmed', t);
		state := 'QUALIFIED';
		FOR k IN 1 .. 6 LOOP
			t := t + random() * interval '20 days';
			PERFORM put(s, 'lead_engaged', t, jsonb_build_object('signal', pick('tour_requested', 'replied', 'property_viewed')));
			IF state = 'QUALIFIED' THEN
				EXIT WHEN random() < 0.3;
				PERFORM put(s, 'buyer_agreement_signed', t);
				state := 'COMMITTED';
			ELSIF state = 'COMMITTED' AND random() < 0.35 THEN
				PERFORM put(s, 'deal_collapsed', t, reason => pick('financing', 'inspection', 'changed_mind'));
				state := 'QUALIFIED';
			ELSIF state = 'COMMITTED' THEN
				PERFORM put(s, 'contract_executed', t);
				state := 'IN_CONTRACT';
			ELSIF random() < 0.25 THEN
				PERFORM put(s, 'contract_voided', t, reason => pick('financing', 'title_defect', 'mutual_release'));
				state := 'QUALIFIED';
			ELSE
				PERFORM put(s, 'closing_complete', t);
				EXIT;
			END IF;
		END LOOP;
	END LOOP;
END
$$;

CREATE PROCEDURE customers(n integer) LANGUAGE plpgsql AS $$
DECLARE
	c text;
	s text;
	o text;
	t timestamptz;
	total numeric;
	currency text;
	channel text;
BEGIN
	FOR i IN 1 .. n LOOP
		c := 'c' || i;
		s := 'customer-' || c;
		t := '2025-01-01'::timestamptz + random() * interval '200 days';
		PERFORM put(s, 'CustomerCreated', t, jsonb_build_object('email', c || '@example.com', 'source', pick('web', 'mobile')));
		PERFORM put(s, 'TermsAccepted', t, '{"termsVersion": "1"}');
		FOREACH channel IN ARRAY '{email,sms,push}'::text[] LOOP
			CONTINUE WHEN random() < 0.4;
			PERFORM put(s, 'ConsentGranted', t, jsonb_build_object('purpose', 'marketing', 'channel', channel));
			IF random() < 0.3 THEN
				PERFORM put(s, 'ConsentRevoked', t + interval '30 days', jsonb_build_object('purpose', 'marketing', 'channel', channel));
				IF random() < 0.3 THEN
					PERFORM put(s, 'ConsentGranted', t + interval '60 days', jsonb_build_object('purpose', 'marketing', 'channel', channel));
				END IF;
			END IF;
		END LOOP;
		PERFORM put(s, 'PreferencesUpdated', t + interval '1 day', jsonb_build_object('preferences', jsonb_build_object('emailFrequency', pick('daily', 'weekly', 'never'))));
		currency := pick('EUR', 'EUR', 'USD');
		FOR v IN 1 .. 1 + floor(random() * 4)::int LOOP
			t := t + random() * interval '25 days';
			PERFORM put('visit-' || c || '_' || v, 'PageViewed', t, jsonb_strip_nulls(jsonb_build_object('pageUrl', '/', 'customerId', c, 'channel', CASE WHEN random() < 0.8 THEN pick('email', 'social', 'web', 'paid-ad') END)));
			FOR k IN 1 .. 1 + floor(random() * 3)::int LOOP
				t := t + interval '1 minute';
				PERFORM put('visit-' || c || '_' || v, 'ProductViewed', t, jsonb_build_object('customerId', c, 'productId', 'p' || floor(random() * 50)::int));
			END LOOP;
			IF random() < 0.6 THEN
				PERFORM put('visit-' || c || '_' || v, 'ProductCompared', t, jsonb_build_object('customerId', c, 'productIds', '["p1", "p2"]'::jsonb));
			END IF;
			CONTINUE WHEN random() < 0.5;
			t := t + interval '2 minutes';
			total := round((5 + random() * 400)::numeric, 2);
			PERFORM put('cart-' || c || '_' || v, 'ItemAddedToCart', t, jsonb_build_object('productId', 'p1', 'quantity', 1, 'price', total, 'currency', currency, 'customerId', c, 'productCategory', pick('pens', 'ink', 'paper')));
			CONTINUE WHEN random() < 0.3;
			PERFORM put('cart-' || c || '_' || v, 'CheckoutStarted', t + interval '1 minute');
			t := t + interval '5 minutes';
			o := c || '_' || v;
			PERFORM put('order-' || o, 'OrderPlaced', t, jsonb_build_object('customerId', c, 'cartId', o, 'items', jsonb_build_array(jsonb_build_object('productId', 'p1', 'quantity', 1, 'price', total, 'category', pick('pens', 'ink', 'paper'))),
				'subtotal', total, 'tax', 0, 'shipping', 4.99, 'total', total + 4.99, 'currency', currency));
			total := total + 4.99;
			PERFORM put('order-' || o, 'PaymentInitiated', t, jsonb_build_object('customerId', c, 'paymentId', 'a', 'paymentMethod', 'paypal', 'amount', total, 'currency', currency));
			IF random() < 0.1 THEN
				PERFORM put('order-' || o, 'PaymentFailed', t, jsonb_build_object('customerId', c, 'paymentId', 'a', 'amount', total, 'currency', currency, 'errorCode', 'CARD_DECLINED', 'retryable', false));
				CONTINUE;
			END IF;
			PERFORM put('order-' || o, 'PaymentSucceeded', t + interval '1 minute', jsonb_build_object('customerId', c, 'paymentId', 'a', 'amount', total, 'currency', currency));
			PERFORM put('order-' || o, 'OrderShipped', t + interval '1 day', jsonb_build_object('customerId', c));
			PERFORM put('order-' || o, 'OrderDelivered', t + interval '3 days', jsonb_build_object('customerId', c));
			IF random() < 0.15 THEN
				total := CASE WHEN random() < 0.5 THEN total ELSE round(total / 3, 2) END;
				PERFORM put('order-' || o, 'RefundInitiated', t + interval '5 days', jsonb_build_object('customerId', c, 'refundId', 'r', 'amount', total, 'currency', currency, 'reason', 'quality-issue', 'refundType', 'partial'));
				PERFORM put('order-' || o, 'RefundCompleted', t + interval '6 days', jsonb_build_object('customerId', c, 'refundId', 'r', 'amount', total, 'currency', currency));
			END IF;
			PERFORM put('message-' || o, 'MessageSent', t + interval '1 minute', jsonb_build_object('customerId', c, 'channel', 'email', 'messageClass', 'transactional'));
			IF random() < 0.9 THEN
				PERFORM put('message-' || o, 'MessageDelivered', t + interval '2 minutes', jsonb_build_object('customerId', c, 'channel', 'email'));
			END IF;
		END LOOP;
	END LOOP;
END
$$;
SQL

my $began = time;
$node->safe_psql('log', "SELECT setseed(0.2025); CALL leads(5500);");
$node->safe_psql('log', "SELECT setseed(0.52); CALL customers(3200);");
note('generated in ' . (time - $began) . ' s');
$began = time;
my $rounds = 0;
1 while $rounds++ < 200 && $node->safe_psql('log', "SELECT coalesce(sum(count), 0) FROM eventsource.run_due(1000) WHERE work IN ('steps', 'timeouts')") > 0;
$node->safe_psql('log', 'SELECT crm.tick_leads(max_rows => 100000)');
note('what was due was done in ' . (time - $began) . " s, $rounds rounds");

# And of late: what the views that look at today have something to say of.
$node->safe_psql('log', <<'SQL');
SELECT setseed(0.7);
DO $$
DECLARE
	s text;
	t timestamptz;
BEGIN
	FOR i IN 1 .. 200 LOOP
		s := 'lead-late' || i;
		t := now() - interval '10 days' + random() * interval '2 days';
		PERFORM put(s, 'contact_form_submission', t, '{"name": "Late", "source": "website"}'), put(s, 'lead_assigned', t, '{"agent_id": "joe"}');
		FOR k IN 1 .. 1 + floor(random() * 8)::int LOOP
			t := t + random() * interval '3 hours';
			PERFORM put(s, 'contact_attempted', t, '{"channel": "phone", "outcome": "voicemail"}', actor => 'agent:joe');
		END LOOP;
		IF random() < 0.5 THEN
			t := t + interval '1 hour';
			PERFORM put(s, 'motivation_confirmed', t);
		END IF;
		FOR k IN 1 .. floor(random() * 4)::int LOOP
			t := t + interval '1 hour';
			PERFORM put(s, 'lead_engaged', t, jsonb_build_object('signal', pick('tour_requested', 'favorite_saved', 'search_saved', 'property_viewed')));
		END LOOP;
	END LOOP;
	PERFORM crm.update_preferences(c.customer_id, jsonb_build_object('pushCategories', jsonb_build_array('pens', pick('ink', 'paper'))))
	   FROM (SELECT customer_id FROM crm.customers ORDER BY customer_id LIMIT 100) c;
	PERFORM crm.intake(jsonb_build_object('type', 'identify', 'messageId', 'i' || c.customer_id, 'userId', c.customer_id, 'anonymousId', 'anon-' || c.customer_id))
	   FROM (SELECT customer_id FROM crm.customers ORDER BY customer_id LIMIT 50) c;
	PERFORM crm.set_setting('affinity_threshold', '0.4'), crm.define_funnel('cart to order', '[{"name": "cart", "events": ["ItemAddedToCart"]}, {"name": "order", "events": ["OrderPlaced"]}]');
	PERFORM crm.create_campaign('thanks', '{"event": "OrderDelivered"}', '[{"type": "send-email", "config": {"templateId": "thanks"}}, {"type": "add-to-segment", "config": {"segmentId": "thanked"}}]', 'transactional');
END
$$;
DO $$ BEGIN PERFORM crm.trigger_campaign('thanks', c.customer_id) FROM (SELECT customer_id FROM crm.customers ORDER BY customer_id LIMIT 60) c; END $$;
SELECT sum(count) FROM eventsource.run_due(1000);
DO $$
DECLARE
	m record;
BEGIN
	FOR m IN SELECT * FROM crm.claim_messages('email', 60, worker => 'year') ORDER BY message_id LOOP
		IF random() < 0.3 THEN
			PERFORM crm.fail_message(m.message_id, m.job_id, 'REJECTED', worker => 'year', attempt => m.attempt);
		ELSE
			PERFORM crm.complete_message(m.message_id, m.job_id, worker => 'year', attempt => m.attempt);
		END IF;
	END LOOP;
	PERFORM crm.create_integration('books');
	LOOP
		SELECT * INTO m FROM crm.poll_integration('books', 3000) p ORDER BY p.event_position DESC LIMIT 1;
		EXIT WHEN NOT FOUND;
		PERFORM crm.ack_integration('books', m.event_position, m.action, m.customer_id);
	END LOOP;
END
$$;
SQL
$node->safe_psql('log', 'ANALYZE');

my $count = $node->safe_psql('log', 'SELECT count(*) FROM eventsource.events');
cmp_ok($count, '>=', 100_000, "a year: $count events");
is($node->safe_psql('log', "SELECT count(*) FROM eventsource.jobs WHERE queue LIKE '\$%' AND (error_code IS NOT NULL OR state = 'discarded')"), '0', 'nothing that was due failed');
$began = time;
is($node->safe_psql('log', 'SELECT p.target, v.key FROM eventsource.projections p, eventsource.verify_projection(p.target) v LIMIT 10'), '', 'every projection verifies');
note('verified in ' . (time - $began) . ' s');
is($node->safe_psql('log', 'SELECT * FROM crm.reconcile() LIMIT 10'), '', 'the ledger agrees with the orders');

# What a view says, and what plain SQL over events says: the same rows.
my %compared;
sub agrees
{
	my ($what, $view, $plain) = @_;
	my $start = time;
	$compared{$_} = 1 for $view =~ /\bcrm\.(\w+)/g;
	my ($rows, @differ) = split /\n/, $node->safe_psql('log', "WITH v AS MATERIALIZED ($view), p AS MATERIALIZED ($plain)
		SELECT count(*)::text FROM v UNION ALL
		(SELECT 'view ' || x::text FROM (TABLE v EXCEPT ALL TABLE p) x UNION ALL SELECT 'plain ' || x::text FROM (TABLE p EXCEPT ALL TABLE v) x LIMIT 10)");
	is(join("\n", @differ), '', "$what: $rows rows agree");
	cmp_ok($rows, '>', 0, "$what: there are some");
	note("$what: " . (time - $start) . ' s') if time - $start > 1;
	return;
}

agrees('leads by state', 'SELECT state, count(*) FROM crm.leads GROUP BY state',
	q{SELECT to_state, count(*) FROM (SELECT DISTINCT ON (stream) to_state FROM eventsource.events WHERE category = 'lead' ORDER BY stream, version DESC) l GROUP BY to_state});
agrees('the board', 'SELECT lead_id, state, agent_id FROM crm.board', q{
	SELECT key, (array_agg(to_state ORDER BY version DESC))[1], (array_agg(data->>'agent_id' ORDER BY version DESC) FILTER (WHERE type = 'lead_assigned'))[1] FROM eventsource.events WHERE category = 'lead' GROUP BY key});
agrees('first contacts', 'SELECT status, count(*) FROM crm.sla_first_contacts GROUP BY status', q{
	SELECT CASE WHEN f <= i + interval '5 minutes' THEN 'met' ELSE 'breached' END, count(*)
	  FROM (SELECT min(occurred_at) FILTER (WHERE type = 'contact_form_submission') i, min(occurred_at) FILTER (WHERE type = 'contact_attempted') f FROM eventsource.events WHERE category = 'lead' GROUP BY stream) x GROUP BY 1});
agrees('collapses by agent, quarter and reason', 'SELECT agent_id, quarter_start, reason, collapse_count, before_contract_count FROM crm.deal_collapses', q{
	SELECT (SELECT a.data->>'agent_id' FROM eventsource.events a WHERE a.stream = e.stream AND a.type = 'lead_assigned' AND a.version < e.version ORDER BY a.version DESC LIMIT 1),
		   date_trunc('quarter', e.occurred_at AT TIME ZONE 'UTC')::date, e.reason, count(*), count(*) FILTER (WHERE e.type = 'deal_collapsed')
	  FROM eventsource.events e WHERE e.type IN ('deal_collapsed', 'contract_voided') GROUP BY 1, 2, 3});
agrees('flags that are set', 'SELECT lead_id, flag FROM crm.lead_flags WHERE is_current', q{
	SELECT key, data->>'flag' FROM eventsource.events WHERE type IN ('flag_set', 'flag_cleared') GROUP BY key, data->>'flag' HAVING count(*) FILTER (WHERE type = 'flag_set') > count(*) FILTER (WHERE type = 'flag_cleared')});
my $visits = q{(SELECT e.key, e.version, e.type, e.reason, e.to_state, e.occurred_at AS at, lead(e.occurred_at) OVER w AS until, lead(e.type) OVER w AS ended_by
	FROM eventsource.events e WHERE e.category = 'lead' AND e.to_state IS DISTINCT FROM e.from_state WINDOW w AS (PARTITION BY e.key ORDER BY e.version))};
agrees('visits to states', 'SELECT lead_id, version, state, visit_number, event_type, reason, entered_at, exited_at, exited_by_event FROM crm.lead_state_visits', qq{
	SELECT key, version, to_state, row_number() OVER (PARTITION BY key, to_state ORDER BY version), type, reason, at, until, ended_by FROM $visits x});
agrees('leads that came back', 'SELECT lead_id, state, visit_count FROM crm.lead_bounces', qq{SELECT key, to_state, count(*) FROM $visits x GROUP BY 1, 2 HAVING count(*) > 1});
agrees('how often deals fall through', 'SELECT state, quarter_start, entered_count, collapsed_count, advanced_count, open_count FROM crm.collapse_stage_rates', qq{
	SELECT to_state, date_trunc('quarter', at AT TIME ZONE 'UTC')::date, count(*), count(*) FILTER (WHERE ended_by IN ('deal_collapsed', 'contract_voided')),
		   count(*) FILTER (WHERE ended_by IN ('contract_executed', 'closing_complete')), count(*) FILTER (WHERE ended_by IS NULL)
	  FROM $visits x WHERE to_state IN ('COMMITTED', 'IN_CONTRACT') GROUP BY 1, 2});
agrees('each deal that fell through', 'SELECT lead_id, version, stage, reason, collapsed_at FROM crm.deal_collapse_events', q{
	SELECT key, version, CASE type WHEN 'deal_collapsed' THEN 'before_contract' ELSE 'after_contract' END, reason, occurred_at
	  FROM eventsource.events WHERE type IN ('deal_collapsed', 'contract_voided')});
agrees('the health of the pipeline', 'SELECT state, agent_id, sum(lead_count) FROM crm.pipeline_health GROUP BY 1, 2', q{
	SELECT state, agent, count(*)::numeric FROM (SELECT (array_agg(to_state ORDER BY version DESC))[1] AS state,
		(array_agg(data->>'agent_id' ORDER BY version DESC) FILTER (WHERE type = 'lead_assigned'))[1] AS agent FROM eventsource.events WHERE category = 'lead' GROUP BY key) x GROUP BY 1, 2});
agrees('columns of the board', 'SELECT state, lead_count, restricted_count FROM crm.board_columns WHERE lead_count > 0', q{
	SELECT state, count(*), count(*) FILTER (WHERE set > cleared) FROM (SELECT (array_agg(to_state ORDER BY version DESC))[1] AS state, count(*) FILTER (WHERE type = 'flag_set') AS set,
		count(*) FILTER (WHERE type = 'flag_cleared') AS cleared FROM eventsource.events WHERE category = 'lead' GROUP BY key) x GROUP BY 1});
agrees('who had a lead', 'SELECT lead_id, version, agent_id, from_agent_id, assigned_at, assigned_until, is_current FROM crm.lead_assignments', q{
	SELECT key, version, data->>'agent_id', lag(data->>'agent_id') OVER w, occurred_at, lead(occurred_at) OVER w, lead(version) OVER w IS NULL
	  FROM eventsource.events WHERE type = 'lead_assigned' WINDOW w AS (PARTITION BY key ORDER BY version)});
agrees('attempts to reach leads', q{SELECT lead_id, version, channel, outcome, attempt_number, is_first_outreach FROM crm.lead_contacts WHERE direction = 'outbound'}, q{
	SELECT key, version, data->>'channel', data->>'outcome', row_number() OVER w, row_number() OVER w = 1
	  FROM eventsource.events WHERE type = 'contact_attempted' WINDOW w AS (PARTITION BY key ORDER BY version)});
agrees('timelines of leads', 'SELECT lead_id, version, occurred_at, event_type, from_state, to_state, reason FROM crm.lead_timeline', q{
	SELECT key, version, occurred_at, type, from_state, to_state, reason FROM eventsource.events WHERE category = 'lead'});
agrees('leads by day', q{SELECT time, metric, value FROM crm.lead_metrics WHERE metric <> 'first_contacts_breached'}, q{
	SELECT date_trunc('day', occurred_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', m, count(*)::numeric FROM (SELECT occurred_at, CASE WHEN version = 1 THEN 'leads_created'
		WHEN type IN ('deal_collapsed', 'contract_voided') THEN 'deals_collapsed' WHEN to_state = 'CLOSED' AND from_state <> 'CLOSED' THEN 'deals_closed'
		WHEN to_state = 'ARCHIVED' AND from_state <> 'ARCHIVED' THEN 'leads_archived' END AS m FROM eventsource.events WHERE category = 'lead') x WHERE m IS NOT NULL GROUP BY 1, 2});
agrees('consents on 1 August', q{SELECT c.customer_id, ch FROM crm.customers c, unnest('{email,sms,push}'::text[]) ch WHERE crm.has_consent(c.customer_id, 'marketing', ch, '2025-08-01')}, q{
	SELECT key, channel FROM (SELECT DISTINCT ON (key, data->>'channel') key, data->>'channel' AS channel, type FROM eventsource.events
		WHERE type IN ('ConsentGranted', 'ConsentRevoked') AND occurred_at <= '2025-08-01' ORDER BY key, data->>'channel', version DESC) x WHERE type = 'ConsentGranted'});
agrees('consents', 'SELECT customer_id, purpose, channel, changed_at, expires_at FROM crm.consents', q{
	SELECT DISTINCT ON (key, data->>'channel') key, data->>'purpose', data->>'channel', occurred_at, CASE type WHEN 'ConsentGranted' THEN occurred_at + interval '2 years' END
	  FROM eventsource.events WHERE type IN ('ConsentGranted', 'ConsentRevoked') ORDER BY key, data->>'channel', version DESC});
agrees('consents over time', 'SELECT customer_id, channel, version, granted_at, ended_at FROM crm.consent_history', q{
	SELECT key, channel, version, occurred_at, ended_at FROM (SELECT key, data->>'channel' AS channel, version, occurred_at, type, lead(occurred_at) OVER (PARTITION BY key, data->>'channel' ORDER BY version) AS ended_at
		FROM eventsource.events WHERE type IN ('ConsentGranted', 'ConsentRevoked')) x WHERE type = 'ConsentGranted'});
agrees('what changed about customers', q{SELECT customer_id, version, new_value FROM crm.customer_audit_trail WHERE field = 'email'}, q{
	SELECT key, version, data->>'email' FROM eventsource.events WHERE type = 'CustomerCreated'});
agrees('who gets nothing', 'SELECT customer_id, channel, reason FROM crm.suppressions', q{
	SELECT key, 'sms', 'no-phone' FROM eventsource.events WHERE type = 'CustomerCreated' UNION ALL
	SELECT key, channel, 'campaigns-paused' FROM (SELECT DISTINCT ON (key, data->>'channel') key, data->>'channel' AS channel, type FROM eventsource.events
		WHERE type IN ('CampaignsPaused', 'CampaignsResumed') ORDER BY key, data->>'channel', version DESC) x WHERE type = 'CampaignsPaused' UNION ALL
	SELECT key, 'email', 'frequency-never' FROM eventsource.events WHERE type = 'PreferencesUpdated' AND data #>> '{preferences,emailFrequency}' = 'never'});
agrees('preferences', 'SELECT customer_id, email_frequency FROM crm.preferences', q{SELECT key, data #>> '{preferences,emailFrequency}' FROM eventsource.events
	WHERE type = 'PreferencesUpdated' AND data->'preferences' ? 'emailFrequency'});
agrees('orders', 'SELECT order_id, customer_id, total, paid_amount, refunded_amount, currency FROM crm.orders', q{
	SELECT key, max(data->>'customerId'), sum((data->>'total')::numeric), coalesce(sum((data->>'amount')::numeric) FILTER (WHERE type = 'PaymentSucceeded'), 0),
		   coalesce(sum((data->>'amount')::numeric) FILTER (WHERE type = 'RefundCompleted'), 0), max(data->>'currency') FROM eventsource.events WHERE category = 'order' GROUP BY key});
agrees('what was ordered', 'SELECT order_id, customer_id, product_id, product_category, quantity, amount, currency, placed_at FROM crm.order_items', q{
	SELECT key, data->>'customerId', i->>'productId', i->>'category', (i->>'quantity')::integer, (i->>'quantity')::numeric * (i->>'price')::numeric, data->>'currency', occurred_at
	  FROM eventsource.events, jsonb_array_elements(data->'items') i WHERE type = 'OrderPlaced'});
agrees('payments', 'SELECT order_id, payment_id, status, amount, currency, initiated_at, succeeded_at, failed_at FROM crm.payments', q{
	SELECT key, 'a', CASE WHEN bool_or(type = 'PaymentSucceeded') THEN 'succeeded' ELSE 'failed' END, max((data->>'amount')::numeric), max(data->>'currency'), min(occurred_at) FILTER (WHERE type = 'PaymentInitiated'),
		   min(occurred_at) FILTER (WHERE type = 'PaymentSucceeded'), min(occurred_at) FILTER (WHERE type = 'PaymentFailed')
	  FROM eventsource.events WHERE category = 'order' AND data->>'paymentId' = 'a' GROUP BY key});
agrees('payments that failed', 'SELECT order_id, version, amount, error_code, is_retryable, attempt, failed_at FROM crm.payment_failures', q{
	SELECT key, version, (data->>'amount')::numeric, data->>'errorCode', (data->>'retryable')::boolean, 1, occurred_at FROM eventsource.events WHERE type = 'PaymentFailed'});
agrees('refunds', 'SELECT order_id, refund_id, status, refund_type, reason, amount, currency, initiated_at, completed_at FROM crm.refunds', q{
	SELECT i.key, 'r', 'completed', i.data->>'refundType', i.data->>'reason', (i.data->>'amount')::numeric, i.data->>'currency', i.occurred_at, c.occurred_at
	  FROM eventsource.events i JOIN eventsource.events c USING (stream) WHERE i.type = 'RefundInitiated' AND c.type = 'RefundCompleted'});
agrees('statuses of orders', 'SELECT order_id, status, visit_number, event_type, entered_at, is_current FROM crm.order_state_visits', q{
	SELECT key, to_state, row_number() OVER (PARTITION BY key, to_state ORDER BY version)::integer, type, occurred_at, lead(version) OVER (PARTITION BY key ORDER BY version) IS NULL
	  FROM eventsource.events WHERE category = 'order' AND to_state IS DISTINCT FROM from_state});
agrees('timelines of orders', 'SELECT order_id, version, occurred_at, event_type, from_status, to_status, amount FROM crm.order_timeline', q{
	SELECT key, version, occurred_at, type, from_state, to_state, coalesce(data->>'amount', data->>'total')::numeric FROM eventsource.events WHERE category = 'order'});
agrees('entries of the ledger', 'SELECT account_id, order_id, kind, amount, currency FROM crm.ledger_entries', q{
	SELECT data->>'customerId', key, CASE type WHEN 'PaymentSucceeded' THEN 'charge' ELSE 'refund' END, CASE type WHEN 'PaymentSucceeded' THEN 1 ELSE -1 END * (data->>'amount')::numeric, data->>'currency'
	  FROM eventsource.events WHERE type IN ('PaymentSucceeded', 'RefundCompleted')});
agrees('what lies in carts', 'SELECT cart_id, product_id, quantity, price, currency FROM crm.cart_items', q{
	SELECT key, data->>'productId', (data->>'quantity')::integer, (data->>'price')::numeric, data->>'currency' FROM eventsource.events WHERE type = 'ItemAddedToCart'});
agrees('balances', 'SELECT account_id, currency, balance FROM crm.account_balances', q{
	SELECT data->>'customerId', data->>'currency', sum(CASE type WHEN 'PaymentSucceeded' THEN 1 ELSE -1 END * (data->>'amount')::numeric) FROM eventsource.events WHERE type IN ('PaymentSucceeded', 'RefundCompleted') GROUP BY 1, 2});
agrees('carts left alone', q{SELECT cart_id FROM crm.carts WHERE abandonment_count > 0}, q{SELECT DISTINCT key FROM eventsource.events WHERE type IN ('CartAbandoned', 'CheckoutAbandoned')});
agrees('carts that nobody ordered are left alone', q{SELECT cart_id FROM crm.abandoned_carts}, q{SELECT key FROM eventsource.events WHERE category = 'cart' GROUP BY key HAVING NOT bool_or(type = 'CartConverted')});

# What customers did, and which stage of the funnel that is: from events alone.
$node->safe_psql('log', <<'SQL');
CREATE TABLE walked AS
SELECT e.stream, e.version, e.position AS p, e.category, e.type, e.occurred_at AS at, e.data, coalesce(e.data->>'customerId', CASE e.category WHEN 'customer' THEN e.key ELSE known.customer END) AS customer,
	   CASE WHEN e.type IN ('PageViewed', 'ProductViewed') THEN 1 WHEN e.type IN ('ProductCompared', 'ReviewRead') THEN 2 WHEN e.type IN ('ItemAddedToCart', 'CartCreated') THEN 3
			WHEN e.type IN ('CheckoutStarted', 'CheckoutStepCompleted') THEN 4 WHEN e.type IN ('OrderPlaced', 'PaymentSucceeded') THEN 5 END AS n
  FROM eventsource.events e
  LEFT JOIN (SELECT stream, min(data->>'customerId') AS customer FROM eventsource.events WHERE category IN ('visit', 'cart') GROUP BY stream) known USING (stream)
 WHERE e.category IN ('visit', 'cart', 'order', 'message', 'customer');
CREATE INDEX ON walked (customer, n, at);
ANALYZE walked;
SQL
agrees('journeys', 'SELECT customer_id, event_position, occurred_at, event_type, category, stream, version, session_id, product_id, amount FROM crm.journeys', q{
	SELECT customer, p, at, type, category, stream, version, CASE category WHEN 'visit' THEN substr(stream, 7) END, data->>'productId',
		   coalesce(data->>'amount', data->>'total', data->>'totalValue', data->>'cartValue')::numeric FROM walked});
agrees('visits', 'SELECT session_id, customer_id, started_at, ended_at, event_count, product_count, channel FROM crm.sessions', q{
	SELECT substr(stream, 7), min(customer), min(at), max(at), count(*), count(DISTINCT data->>'productId'), (array_agg(data->>'channel' ORDER BY version) FILTER (WHERE data ? 'channel'))[1]
	  FROM walked WHERE category = 'visit' GROUP BY stream});
agrees('sessions by rest', 'SELECT customer_id, started_at, event_count FROM crm.sessions()', q{
	WITH v AS MATERIALIZED (SELECT * FROM walked WHERE category = 'visit'), s AS (SELECT customer, at, coalesce(lead(at) OVER (PARTITION BY customer ORDER BY at), 'infinity') AS until FROM v
		WHERE NOT EXISTS (SELECT FROM v b WHERE b.customer = v.customer AND (b.at, b.p) < (v.at, v.p) AND b.at >= v.at - interval '30 minutes'))
	SELECT s.customer, s.at, count(*) FROM s JOIN v ON v.customer = s.customer AND v.at >= s.at AND v.at < s.until GROUP BY 1, 2});
agrees('touches', 'SELECT customer_id, event_position, touched_at, channel, event_type, session_id FROM crm.touchpoints', q{
	SELECT customer, p, at, data->>'channel', type, substr(stream, 7) FROM walked WHERE category = 'visit' AND data ? 'channel'});

my $net = q{(SELECT key, max(data->>'customerId') AS customer, max(data->>'currency') AS currency, max(occurred_at) FILTER (WHERE type = 'PaymentSucceeded') AS paid_at,
	sum((data->>'amount')::numeric) FILTER (WHERE type = 'PaymentSucceeded') AS paid, sum(CASE type WHEN 'PaymentSucceeded' THEN (data->>'amount')::numeric WHEN 'RefundCompleted' THEN -(data->>'amount')::numeric ELSE 0 END) AS net FROM eventsource.events WHERE category = 'order' GROUP BY key)};
agrees('frequency and monetary value', 'SELECT customer_id, currency, frequency, monetary FROM crm.rfm() WHERE frequency > 0', qq{SELECT customer, currency, count(*), sum(net) FROM $net o WHERE net > 0 GROUP BY 1, 2});
agrees('repeat purchases', 'SELECT customer_id, currency, frequency, recency FROM crm.clv_summary()', qq{
	SELECT customer, currency, count(DISTINCT paid_at::date) - 1, max(paid_at::date) - min(paid_at::date) FROM $net o WHERE net > 0 GROUP BY 1, 2});
agrees('buyers', q{SELECT customer_id FROM crm.segment_members WHERE segment_id = 'buyers'}, qq{SELECT DISTINCT customer FROM $net o WHERE net > 0});
agrees('who was in a segment', 'SELECT customer_id, segment_id, version, is_current FROM crm.segment_history', q{
	SELECT a.key, a.data->>'segmentId', a.version, NOT EXISTS (SELECT FROM eventsource.events r WHERE r.stream = a.stream AND r.type = 'CustomerSegmentRemoved' AND r.version > a.version)
	  FROM eventsource.events a WHERE a.type = 'CustomerSegmentAdded'});
agrees('sizes of segments', 'SELECT segment_id, member_count FROM crm.segments WHERE member_count > 0', qq{SELECT 'buyers', count(DISTINCT customer) FROM $net o WHERE net > 0 UNION ALL
	SELECT 'thanked', count(*) FROM eventsource.events WHERE type = 'CampaignStepDone' AND data->>'action' = 'add-to-segment'});
my $totals = qq{(SELECT customer, currency, count(*) FILTER (WHERE net > 0) AS orders, sum(paid) AS paid, sum(net) AS net, min(paid_at) FILTER (WHERE net > 0) AS first_at, max(paid_at) FILTER (WHERE net > 0) AS last_at
	FROM $net o WHERE paid_at IS NOT NULL GROUP BY 1, 2)};
agrees('purchases', 'SELECT customer_id, currency, order_count, delivered_order_count, paid_amount, refunded_amount, lifetime_value, average_order_value, first_order_at, last_order_at FROM crm.customer_purchases', qq{
	SELECT customer, currency, orders, orders, paid, paid - net, net, round(net / nullif(orders, 0), 2), first_at, last_at FROM $totals t});
agrees('all about a customer', 'SELECT customer_id, order_count, lifetime_value, open_cart_count, message_count, last_seen_at FROM crm.customer_360', qq{
	SELECT c.key, coalesce(t.orders, 0)::numeric, t.net || ' ' || t.currency, coalesce(k.open, 0), coalesce(w.messages, 0), w.at
	  FROM eventsource.events c
	  LEFT JOIN $totals t ON t.customer = c.key
	  LEFT JOIN (SELECT customer, count(*) AS open FROM (SELECT customer FROM walked WHERE category = 'cart' GROUP BY customer, stream HAVING NOT bool_or(type = 'CartConverted')) x GROUP BY 1) k ON k.customer = c.key
	  LEFT JOIN (SELECT customer, count(*) FILTER (WHERE type = 'MessageSent') AS messages, max(at) AS at FROM walked GROUP BY 1) w ON w.customer = c.key
	 WHERE c.type = 'CustomerCreated'});
# Five parts of those who bought in a currency: how many of the others did so less.
my $ranked = qq{(SELECT t.*, count(*) OVER (PARTITION BY currency) - 1 AS others FROM $totals t WHERE orders > 0)};
my $score = sub { return "(SELECT least(1 + floor(5 * count(*)::float8 / t.others), 5)::integer FROM r o WHERE o.currency = t.currency AND o.$_[0] < t.$_[0])" };
agrees('scores', 'SELECT customer_id, currency, frequency, monetary, r_score, f_score, m_score, last_order_at FROM crm.rfm_segments WHERE frequency > 0', qq{
	WITH r AS MATERIALIZED (SELECT * FROM $ranked x) SELECT customer, currency, orders, net, } . join(', ', map { $score->($_) } qw(last_at orders net)) . q{, last_at FROM r t});
agrees('lifetime value', 'SELECT customer_id, currency, frequency, recency, monetary_value FROM crm.customer_lifetime_values', qq{
	SELECT customer, currency, count(*) - 1, max(day) - min(day), coalesce(round(avg(net) FILTER (WHERE day > first), 4), 0)
	  FROM (SELECT customer, currency, paid_at::date AS day, sum(net) AS net, min(min(paid_at::date)) OVER (PARTITION BY customer, currency) AS first FROM $net o WHERE net > 0 GROUP BY 1, 2, 3) d GROUP BY 1, 2});
my $spent = qq{(SELECT customer, currency, i->>'category' AS category, sum((i->>'price')::numeric) AS amount, round(sum((i->>'price')::numeric) / sum(sum((i->>'price')::numeric)) OVER (PARTITION BY customer), 4) AS score
	FROM $net o JOIN eventsource.events e ON e.stream = 'order-' || o.key AND e.type = 'OrderPlaced', jsonb_array_elements(e.data->'items') i WHERE net > 0 GROUP BY 1, 2, 3)};
agrees('what customers spend on', 'SELECT customer_id, currency, product_category, amount, affinity_score FROM crm.product_affinities', qq{SELECT customer, currency, category, amount, score FROM $spent s});
agrees('what customers like', 'SELECT customer_id, product_category, affinity_score FROM crm.customer_affinities', qq{SELECT customer, category, score FROM $spent s WHERE score > 0.7});
agrees('messages', 'SELECT status, count(*) FROM crm.messages GROUP BY status', q{
	SELECT s, count(*) FROM (SELECT CASE WHEN bool_or(type = 'MessageDelivered') THEN 'delivered' WHEN bool_or(type = 'MessageFailed') THEN 'failed' ELSE 'sent' END AS s FROM eventsource.events WHERE category = 'message' GROUP BY stream) x GROUP BY s});

# Chains of stages, each the first event of the stage from that of the stage before on, from
# every beginning; of each customer the one that gets furthest counts, of several the first.
my $chains = sub {
	my ($period, $end) = @_;
	my $until = $period eq 'NULL' ? q{'infinity'} : "c.began + interval $period";
	return "(WITH RECURSIVE c AS (SELECT customer, at AS began, p AS begins, at, n FROM walked WHERE n = 1 AND at < '$end' UNION ALL
		SELECT c.customer, c.began, c.begins, x.at, c.n + 1 FROM c CROSS JOIN LATERAL (SELECT w.at FROM walked w WHERE w.customer = c.customer AND w.n = c.n + 1
			AND w.at >= c.at AND w.at < '$end' AND w.at <= $until ORDER BY w.at LIMIT 1) x),
		won AS (SELECT DISTINCT ON (customer) customer, begins FROM c ORDER BY customer, n DESC, began, begins)
		SELECT customer, (ARRAY['awareness', 'consideration', 'intent', 'checkout', 'purchase'])[n] AS stage, n, at, lead(at) OVER (PARTITION BY customer ORDER BY n) AS next_at,
			at - lag(at) OVER (PARTITION BY customer ORDER BY n) AS since FROM c JOIN won USING (customer, begins))";
};
for my $period ('NULL', q{'7 days'}, q{'10 minutes'})
{
	my $chain = $chains->($period, 'infinity');
	agrees("the funnel within $period", "SELECT step_number, event_type, unique_users, median_time_from_previous FROM crm.funnel('purchase', period => $period)",
		"SELECT n, stage, count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY since) FROM $chain c GROUP BY 1, 2");
	agrees("window_funnel within $period", "SELECT customer, eventsource.window_funnel($period, '', at, n = 1, n = 2, n = 3, n = 4, n = 5) FROM walked WHERE n IS NOT NULL GROUP BY customer",
		"SELECT w.customer, coalesce(max(c.n), 0) FROM (SELECT DISTINCT customer FROM walked WHERE n IS NOT NULL) w LEFT JOIN $chain c USING (customer) GROUP BY 1");
}
agrees('all funnels', 'SELECT funnel_id, step_number, customer_count, median_hours_from_previous FROM crm.funnel_conversions',
	q{SELECT 'purchase', n, count(*), round(extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY since)) / 3600, 2) FROM } . $chains->('NULL', 'infinity') . q{ c GROUP BY 2 UNION ALL
	SELECT 'cart to order', g.n, CASE g.n WHEN 1 THEN count(*) ELSE count(x.ordered) END, round(extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY x.ordered - x.at) FILTER (WHERE g.n = 2)) / 3600, 2)
	  FROM (SELECT a.customer, min(a.at) AS at, (SELECT min(o.at) FROM walked o WHERE o.customer = a.customer AND o.type = 'OrderPlaced' AND o.at >= min(a.at)) AS ordered
			  FROM walked a WHERE a.type = 'ItemAddedToCart' GROUP BY a.customer) x, generate_series(1, 2) g (n) GROUP BY g.n});
agrees('who stops where', q{SELECT customer_id, stage, idle_time, dropoff_likelihood FROM crm.funnel_dropoff('purchase', '2025-03-01')}, q{
	WITH e AS MATERIALIZED (SELECT * FROM } . $chains->('NULL', '2025-03-01') . q{ c)
	SELECT e.customer, e.stage, '2025-03-01' - e.at, (SELECT round(1 - count(o.next_at)::numeric / nullif(count(*), 0), 4) FROM e o
		WHERE o.n = e.n AND coalesce(o.next_at, '2025-03-01') - o.at > '2025-03-01' - e.at) FROM e WHERE e.next_at IS NULL AND e.n < 5});
agrees('who stands where', 'SELECT customer_id, stage, last_activity_at FROM crm.funnel_dropoffs', 'SELECT customer, stage, at FROM ' . $chains->('NULL', 'infinity') . ' c WHERE next_at IS NULL AND n < 5');

my $paths = q{(SELECT o.position, o.stream, (o.data->>'total')::numeric AS total, o.data->>'currency' AS currency, t.data->>'channel' AS channel, t.occurred_at AS at, t.position AS p, o.occurred_at AS ordered_at
	FROM eventsource.events o LEFT JOIN eventsource.events t ON t.category = 'visit' AND t.data->>'channel' IS NOT NULL AND t.data->>'customerId' = o.data->>'customerId'
		AND (t.occurred_at, t.position) < (o.occurred_at, o.position) AND t.occurred_at >= o.occurred_at - interval '30 days' WHERE o.type = 'OrderPlaced')};
agrees('last touches', q{SELECT conversion_stream, channel, value FROM crm.attribution('last_touch') WHERE credit = 100}, qq{SELECT DISTINCT ON (stream) stream, coalesce(channel, 'direct'), total FROM $paths x ORDER BY stream, at DESC NULLS LAST, p DESC});
agrees('first touches', q{SELECT conversion_stream, channel, value FROM crm.attribution('first_touch') WHERE credit = 100}, qq{SELECT DISTINCT ON (stream) stream, coalesce(channel, 'direct'), total FROM $paths x ORDER BY stream, at, p});
agrees('paths', 'SELECT cv_id, path_length, channel_transformed_path FROM crm.paths_to_conversion', qq{SELECT stream, count(channel)::int, coalesce(string_agg(channel, ' > ' ORDER BY at, p), 'direct') FROM $paths x GROUP BY stream});
agrees('touches side by side', 'SELECT cv_id, source_index, path_length, channel, cv_total_revenue, first_touch_attribution > 0, last_touch_attribution > 0 FROM crm.channel_attributions', qq{
	SELECT stream, row_number() OVER w, count(channel) OVER s, coalesce(channel, 'direct'), total, row_number() OVER w = 1, row_number() OVER w = count(*) OVER s
	  FROM $paths x WINDOW w AS (PARTITION BY stream ORDER BY at, p), s AS (PARTITION BY stream)});
agrees('what channels are worth', q{SELECT touch_point, currency, in_n_conversion_paths, attributed_conversions, attributed_revenue FROM crm.attribution_overview
	WHERE attribution_type = 'last_touch' AND path_type = 'channel'}, qq{
	SELECT x.channel, x.currency, (SELECT count(DISTINCT y.stream) FROM $paths y WHERE coalesce(y.channel, 'direct') = x.channel AND y.currency = x.currency), round(count(*), 6), sum(x.total)
	  FROM (SELECT DISTINCT ON (stream) stream, coalesce(channel, 'direct') AS channel, currency, total FROM $paths z ORDER BY stream, at DESC NULLS LAST, p DESC) x GROUP BY 1, 2});
is($node->safe_psql('log', q{SELECT m.model FROM crm.attribution_models() m, crm.attribution(m.model) a GROUP BY m.model
	HAVING sum(a.value) <> (SELECT sum(total) FROM crm.orders) OR sum(a.credit) <> 100 * (SELECT count(*) FROM crm.orders)}), '', 'every model parts all of it, to the cent');

agrees('metrics', "SELECT time::date, metric, value FROM crm.daily_metrics WHERE metric IN ('orders_placed', 'carts_abandoned', 'revenue_EUR', 'deals_closed')", q{
	SELECT occurred_at::date, CASE type WHEN 'OrderPlaced' THEN 'orders_placed' WHEN 'PaymentSucceeded' THEN 'revenue_EUR' WHEN 'closing_complete' THEN 'deals_closed' ELSE 'carts_abandoned' END,
		   sum(CASE type WHEN 'PaymentSucceeded' THEN (data->>'amount')::numeric ELSE 1 END) FROM eventsource.events
	 WHERE type IN ('OrderPlaced', 'CartAbandoned', 'CheckoutAbandoned', 'closing_complete') OR type = 'PaymentSucceeded' AND data->>'currency' = 'EUR' GROUP BY 1, 2});

agrees('events for process mining', 'SELECT "case:concept:name", "concept:name", "time:timestamp", "org:resource", "case:type", state, reason, event_position FROM crm.xes_events', q{
	SELECT stream, type, occurred_at, actor, category, to_state, reason, position FROM eventsource.events WHERE category IN ('lead', 'customer', 'visit', 'cart', 'order', 'message', 'campaign_run')});
agrees('events of objects', 'SELECT ocel_id, ocel_type, ocel_time, resource, state FROM crm.ocel_events', q{
	SELECT position::text, type, occurred_at, actor, to_state FROM eventsource.events WHERE category IN ('lead', 'customer', 'visit', 'cart', 'order', 'message')});
my $objects = q{(SELECT position AS p, stream AS object FROM eventsource.events WHERE category IN ('lead', 'customer', 'cart', 'order', 'message') UNION SELECT position, 'customer-' || (data->>'customerId') FROM eventsource.events
	WHERE category IN ('visit', 'cart', 'order', 'message') AND data ? 'customerId' UNION SELECT position, 'cart-' || (data->>'cartId') FROM eventsource.events WHERE data ? 'cartId' AND category IN ('customer', 'order', 'cart', 'message')
	UNION SELECT position, 'order-' || (data->>'orderId') FROM eventsource.events WHERE data ? 'orderId' AND category IN ('customer', 'order', 'cart', 'message'))};
agrees('objects of events', 'SELECT ocel_event_id, ocel_object_id FROM crm.ocel_event_object', "SELECT p::text, object FROM $objects o");
agrees('objects', 'SELECT ocel_id, ocel_type FROM crm.ocel_objects', "SELECT DISTINCT object, split_part(object, '-', 1) FROM $objects o");
agrees('objects that belong together', 'SELECT ocel_source_id, ocel_target_id FROM crm.ocel_object_object', q{
	SELECT stream, 'customer-' || customer FROM walked WHERE category IN ('order', 'cart', 'message') GROUP BY stream, customer UNION ALL
	SELECT stream, 'cart-' || (data->>'cartId') FROM walked WHERE type = 'OrderPlaced'});

# What looks at today.
my $late = q{(SELECT key, max(version) FILTER (WHERE to_state IS DISTINCT FROM from_state) AS entered, (array_agg(to_state ORDER BY version DESC))[1] AS state, max(occurred_at) AS at,
	(array_agg(occurred_at ORDER BY version) FILTER (WHERE type = 'contact_attempted'))[6] AS sixth FROM eventsource.events WHERE category = 'lead' GROUP BY key)};
agrees('leads whose time runs', 'SELECT lead_id, state, event_type, due_at FROM crm.lead_timeouts', qq{
	SELECT l.key, l.state, CASE l.state WHEN 'QUALIFIED' THEN 'timeout_180d_no_progress' ELSE 'timeout_21d_no_response' END,
		   CASE l.state WHEN 'QUALIFIED' THEN e.occurred_at + interval '4320 hours' ELSE greatest(e.occurred_at + interval '504 hours', l.sixth) END
	  FROM $late l JOIN eventsource.events e ON e.stream = 'lead-' || l.key AND e.version = l.entered
	 WHERE l.state = 'QUALIFIED' OR l.state = 'CONTACTING' AND l.sixth IS NOT NULL});
agrees('how warm leads are', 'SELECT lead_id, score, temperature, signal_count FROM crm.lead_temperatures', q{
	SELECT key, score, CASE WHEN score >= 70 THEN 'HOT' WHEN score >= 30 THEN 'WARM' ELSE 'COLD' END, n
	  FROM (SELECT e.key, coalesce(sum(w.points) FILTER (WHERE e.occurred_at >= now() - interval '720 hours'), 0) AS score,
				   count(w.points) FILTER (WHERE e.occurred_at >= now() - interval '720 hours') AS n
			  FROM eventsource.events e
			  LEFT JOIN (VALUES ('tour_requested', 40), ('favorite_saved', 10), ('search_saved', 10), ('property_viewed', 5)) w (signal, points)
					 ON e.type = 'lead_engaged' AND w.signal = e.data->>'signal'
			 WHERE e.category = 'lead' GROUP BY e.key) x});
agrees('whose ids are known', 'SELECT visitor_id, customer_id, origin, linked_at FROM crm.identities', q{
	SELECT key, data->>'customerId', data->>'origin', occurred_at FROM eventsource.events WHERE type = 'IdentityLinked'});
agrees('topics of pushes', 'SELECT customer_id, topic FROM crm.push_topics', q{
	SELECT key, jsonb_array_elements_text(data #> '{preferences,pushCategories}') FROM eventsource.events WHERE type = 'PreferencesUpdated' AND data->'preferences' ? 'pushCategories'});
my $told = q{(SELECT key, position FROM eventsource.events WHERE category = 'customer' AND (type IN ('CustomerCreated', 'CustomerSegmentAdded', 'CustomerSegmentRemoved')
	OR type IN ('ConsentGranted', 'ConsentRevoked') AND data->>'purpose' = 'marketing' AND data->>'channel' = 'email'))};
agrees('what a program of others was told', 'SELECT integration_id, customer_id, event_position, is_delivered FROM crm.integration_deliveries', "SELECT 'books', key, position, true FROM $told t");
agrees('how much that is', 'SELECT integration_id, parked_count, delivered_count, failed_count FROM crm.integrations', "SELECT 'books', 0::bigint, count(*), 0::bigint FROM $told t");
agrees('who is in a campaign', 'SELECT run_id, campaign_id, customer_id, status, steps_done, end_reason, started_at FROM crm.campaign_runs', q{
	SELECT key, max(data->>'campaignId'), max(data->>'customerId'), CASE max(data->>'reason') FILTER (WHERE type = 'CampaignRunEnded') WHEN 'completed' THEN 'completed' ELSE coalesce(left('left', count(*) FILTER (WHERE type = 'CampaignRunEnded')::int * 4), '') END,
		   count(*) FILTER (WHERE type = 'CampaignStepDone'), max(data->>'reason') FILTER (WHERE type = 'CampaignRunEnded'), min(occurred_at) FILTER (WHERE type = 'CampaignRunStarted')
	  FROM eventsource.events WHERE category = 'campaign_run' GROUP BY key});
agrees('campaigns', 'SELECT campaign_id, step_count, run_count, completed_run_count, sent_count FROM crm.campaigns', q{
	SELECT key, jsonb_array_length(data->'steps'), (SELECT count(*) FROM eventsource.events WHERE type = 'CampaignRunStarted'),
		   (SELECT count(*) FROM eventsource.events WHERE type = 'CampaignRunEnded' AND data->>'reason' = 'completed'),
		   (SELECT count(*) FROM eventsource.events s JOIN eventsource.events q ON q.stream = s.stream AND q.type = 'MessageQueued' WHERE s.type = 'MessageSent' AND q.data->>'campaignId' = 'thanks')
	  FROM eventsource.events WHERE type = 'CampaignDefined'});
agrees('their steps', 'SELECT campaign_id, step_number, action FROM crm.campaign_steps', q{
	SELECT key, n::int, step->>'type' FROM eventsource.events, jsonb_array_elements(data->'steps') WITH ORDINALITY x (step, n) WHERE type = 'CampaignDefined'});
agrees('messages that were given up', 'SELECT message_id, customer_id, error_type, failure_count FROM crm.dead_letters', q{
	SELECT key, data->>'customerId', data->>'errorType', 1 FROM eventsource.events WHERE type = 'MessageFailed'});
agrees('what was set', 'SELECT setting_name, value FROM crm.settings WHERE NOT is_default', q{
	SELECT key, data->>'value' FROM eventsource.events WHERE category = 'crm_setting' AND type = 'setting_changed'});
agrees('funnels that were defined', 'SELECT funnel_id, step_number, stage, event_types FROM crm.funnel_stages WHERE NOT is_default', q{
	SELECT key, n::int, step->>'name', step #>> '{events,0}' FROM eventsource.events, jsonb_array_elements(data->'steps') WITH ORDINALITY x (step, n) WHERE type = 'FunnelDefined'});

# Every view can be read, and tells its rows apart by its key.
my %key = map { split /\|/, $_, 2 } split /\n/, $node->safe_psql('log', q{SELECT view_name, (SELECT string_agg(format('v.%I', c), ', ') FROM unnest(key_columns) c) FROM crm.view_keys()});
my @unkeyed;
my @views = split /\n/, $node->safe_psql('log', "SELECT relname FROM pg_class WHERE relnamespace = 'crm'::regnamespace AND relkind = 'v' ORDER BY 1");
for my $view (@views)
{
	my $start = time;
	my $of_key = $key{$view} ? "count(DISTINCT ROW($key{$view})), count(*) FILTER (WHERE ROW($key{$view}) IS NOT NULL)" : 'count(*), count(*)';
	my ($rows, @apart) = split /\|/, $node->safe_psql('log', "SELECT count(*), $of_key FROM (SELECT * FROM crm.$view OFFSET 0) v");
	push @unkeyed, $view if $apart[0] != $rows || $apart[1] != $rows;
	note("crm.$view: $rows rows in " . (time - $start) . ' s') if time - $start > 1;
}
# What is not compared: views of what is defined, of which the log has nothing to say.
is(join(' ', grep { !$compared{$_} } @views), 'channel_rules event_types frequency_caps lead_event_reasons lead_reasons', 'these are only read, the others compared');
is("@unkeyed", '', 'and those with a key have no two rows with the same one');

$node->stop;
done_testing();
