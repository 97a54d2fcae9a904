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
$node->safe_psql('log', 'ANALYZE');

my $count = $node->safe_psql('log', 'SELECT count(*) FROM eventsource.events');
cmp_ok($count, '>=', 100_000, "a year: $count events");
is($node->safe_psql('log', "SELECT count(*) FROM eventsource.jobs WHERE queue LIKE '\$%' AND (error_code IS NOT NULL OR state = 'discarded')"), '0', 'nothing that was due failed');
$began = time;
is($node->safe_psql('log', 'SELECT p.target, v.key FROM eventsource.projections p, eventsource.verify_projection(p.target) v LIMIT 10'), '', 'every projection verifies');
note('verified in ' . (time - $began) . ' s');
is($node->safe_psql('log', 'SELECT * FROM crm.reconcile() LIMIT 10'), '', 'the ledger agrees with the orders');

# What a view says, and what plain SQL over events says: the same rows.
sub agrees
{
	my ($what, $view, $plain) = @_;
	my $start = time;
	my $rows = $node->safe_psql('log', "SELECT count(*) FROM ($view) v");
	my $differ = $node->safe_psql('log', "SELECT 'view', v::text FROM (($view) EXCEPT ALL ($plain)) v UNION ALL SELECT 'plain', p::text FROM (($plain) EXCEPT ALL ($view)) p LIMIT 10");
	is($differ, '', "$what: $rows rows agree");
	cmp_ok($rows, '>', 0, "$what: there are some");
	note("$what: " . (time - $start) . ' s');
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
agrees('consents on 1 August', q{SELECT c.customer_id, ch FROM crm.customers c, unnest('{email,sms,push}'::text[]) ch WHERE crm.has_consent(c.customer_id, 'marketing', ch, '2025-08-01')}, q{
	SELECT key, channel FROM (SELECT DISTINCT ON (key, data->>'channel') key, data->>'channel' AS channel, type FROM eventsource.events
		WHERE type IN ('ConsentGranted', 'ConsentRevoked') AND occurred_at <= '2025-08-01' ORDER BY key, data->>'channel', version DESC) x WHERE type = 'ConsentGranted'});
agrees('preferences', 'SELECT customer_id, email_frequency FROM crm.preferences', q{SELECT key, data #>> '{preferences,emailFrequency}' FROM eventsource.events WHERE type = 'PreferencesUpdated'});
agrees('orders', 'SELECT order_id, customer_id, total, paid_amount, refunded_amount, currency FROM crm.orders', q{
	SELECT key, max(data->>'customerId'), sum((data->>'total')::numeric), coalesce(sum((data->>'amount')::numeric) FILTER (WHERE type = 'PaymentSucceeded'), 0),
		   coalesce(sum((data->>'amount')::numeric) FILTER (WHERE type = 'RefundCompleted'), 0), max(data->>'currency') FROM eventsource.events WHERE category = 'order' GROUP BY key});
agrees('balances', 'SELECT account_id, currency, balance FROM crm.account_balances', q{
	SELECT data->>'customerId', data->>'currency', sum(CASE type WHEN 'PaymentSucceeded' THEN 1 ELSE -1 END * (data->>'amount')::numeric) FROM eventsource.events WHERE type IN ('PaymentSucceeded', 'RefundCompleted') GROUP BY 1, 2});
agrees('carts left alone', q{SELECT cart_id FROM crm.carts WHERE abandonment_count > 0}, q{SELECT DISTINCT key FROM eventsource.events WHERE type IN ('CartAbandoned', 'CheckoutAbandoned')});
agrees('carts that nobody ordered are left alone', q{SELECT cart_id FROM crm.abandoned_carts}, q{SELECT key FROM eventsource.events WHERE category = 'cart' GROUP BY key HAVING NOT bool_or(type = 'CartConverted')});

my $net = q{(SELECT key, max(data->>'customerId') AS customer, max(data->>'currency') AS currency, max(occurred_at) FILTER (WHERE type = 'PaymentSucceeded') AS paid_at,
	sum(CASE type WHEN 'PaymentSucceeded' THEN (data->>'amount')::numeric WHEN 'RefundCompleted' THEN -(data->>'amount')::numeric ELSE 0 END) AS net FROM eventsource.events WHERE category = 'order' GROUP BY key)};
agrees('frequency and monetary value', 'SELECT customer_id, currency, frequency, monetary FROM crm.rfm() WHERE frequency > 0', qq{SELECT customer, currency, count(*), sum(net) FROM $net o WHERE net > 0 GROUP BY 1, 2});
agrees('repeat purchases', 'SELECT customer_id, currency, frequency, recency FROM crm.clv_summary()', qq{
	SELECT customer, currency, count(DISTINCT paid_at::date) - 1, max(paid_at::date) - min(paid_at::date) FROM $net o WHERE net > 0 GROUP BY 1, 2});
agrees('buyers', q{SELECT customer_id FROM crm.segment_members WHERE segment_id = 'buyers'}, qq{SELECT DISTINCT customer FROM $net o WHERE net > 0});
agrees('messages', 'SELECT status, count(*) FROM crm.messages GROUP BY status', q{
	SELECT s, count(*) FROM (SELECT CASE WHEN bool_or(type = 'MessageDelivered') THEN 'delivered' ELSE 'sent' END AS s FROM eventsource.events WHERE category = 'message' GROUP BY stream) x GROUP BY s});

# Stage after stage, each the first event after the one before.
my $stage = sub {
	my ($types, $before) = @_;
	return "SELECT DISTINCT ON (customer) customer, e.occurred_at AS at, e.event_position AS p FROM $before b JOIN j e USING (customer) WHERE e.type IN ($types) AND (e.occurred_at, e.event_position) > (b.at, b.p) ORDER BY customer, e.occurred_at, e.event_position";
};
agrees('the funnel', q{SELECT step_number, unique_users FROM crm.funnel('purchase')}, q{
	WITH j AS MATERIALIZED (SELECT e.type, e.occurred_at, e.position AS event_position, coalesce(e.data->>'customerId', (SELECT max(x.data->>'customerId') FROM eventsource.events x WHERE x.stream = e.stream)) AS customer
		FROM eventsource.events e WHERE e.type IN ('PageViewed', 'ProductViewed', 'ProductCompared', 'ReviewRead', 'ItemAddedToCart', 'CartCreated', 'CheckoutStarted', 'CheckoutStepCompleted', 'OrderPlaced', 'PaymentSucceeded')),
	s0 AS (SELECT DISTINCT customer, '-infinity'::timestamptz AS at, 0::bigint AS p FROM j),
	s1 AS (} . $stage->(q{'PageViewed', 'ProductViewed'}, 's0') . '), s2 AS (' . $stage->(q{'ProductCompared', 'ReviewRead'}, 's1') . '), s3 AS (' . $stage->(q{'ItemAddedToCart', 'CartCreated'}, 's2')
	. '), s4 AS (' . $stage->(q{'CheckoutStarted', 'CheckoutStepCompleted'}, 's3') . '), s5 AS (' . $stage->(q{'OrderPlaced', 'PaymentSucceeded'}, 's4') . q{)
	SELECT 1, count(*) FROM s1 UNION ALL SELECT 2, count(*) FROM s2 UNION ALL SELECT 3, count(*) FROM s3 UNION ALL SELECT 4, count(*) FROM s4 UNION ALL SELECT 5, count(*) FROM s5});

agrees('how far by window_funnel', q{SELECT customer_id, eventsource.window_funnel(NULL, '', occurred_at, event_type = 'PageViewed', event_type = 'ItemAddedToCart', event_type = 'OrderPlaced')
	FROM crm.journeys WHERE customer_id IS NOT NULL GROUP BY customer_id}, q{
	SELECT j.customer_id, (a.at IS NOT NULL)::int + (b.at IS NOT NULL)::int + (c.at IS NOT NULL)::int FROM (SELECT DISTINCT customer_id FROM crm.journeys WHERE customer_id IS NOT NULL) j
	 CROSS JOIN LATERAL (SELECT min(occurred_at) AS at FROM crm.journeys x WHERE x.customer_id = j.customer_id AND x.event_type = 'PageViewed') a
	 CROSS JOIN LATERAL (SELECT min(occurred_at) AS at FROM crm.journeys x WHERE x.customer_id = j.customer_id AND x.event_type = 'ItemAddedToCart' AND x.occurred_at >= a.at) b
	 CROSS JOIN LATERAL (SELECT min(occurred_at) AS at FROM crm.journeys x WHERE x.customer_id = j.customer_id AND x.event_type = 'OrderPlaced' AND x.occurred_at >= b.at) c});
agrees('who stops where', q{SELECT customer_id, stage, idle_time, dropoff_likelihood FROM crm.funnel_dropoff('purchase', '2025-03-01')}, q{
	WITH e AS MATERIALIZED (SELECT customer_id_reached AS customer, step_number AS n, stage, entered_at, lead(entered_at) OVER (PARTITION BY customer_id_reached ORDER BY step_number) AS next_at
		FROM crm.funnel_entries('purchase', end_at => '2025-03-01'))
	SELECT e.customer, e.stage, '2025-03-01' - e.entered_at, (SELECT round(1 - count(o.next_at)::numeric / nullif(count(*), 0), 4) FROM e o
		WHERE o.n = e.n AND coalesce(o.next_at, '2025-03-01') - o.entered_at > '2025-03-01' - e.entered_at) FROM e WHERE e.next_at IS NULL AND e.n < 5});

my $paths = q{(SELECT o.position, o.stream, (o.data->>'total')::numeric AS total, t.data->>'channel' AS channel, t.occurred_at AS at, t.position AS p, o.occurred_at AS ordered_at
	FROM eventsource.events o LEFT JOIN eventsource.events t ON t.category = 'visit' AND t.data->>'channel' IS NOT NULL AND t.data->>'customerId' = o.data->>'customerId'
		AND (t.occurred_at, t.position) < (o.occurred_at, o.position) AND t.occurred_at >= o.occurred_at - interval '30 days' WHERE o.type = 'OrderPlaced')};
agrees('last touches', q{SELECT conversion_stream, channel, value FROM crm.attribution('last_touch') WHERE credit = 100}, qq{SELECT DISTINCT ON (stream) stream, coalesce(channel, 'direct'), total FROM $paths x ORDER BY stream, at DESC NULLS LAST, p DESC});
agrees('first touches', q{SELECT conversion_stream, channel, value FROM crm.attribution('first_touch') WHERE credit = 100}, qq{SELECT DISTINCT ON (stream) stream, coalesce(channel, 'direct'), total FROM $paths x ORDER BY stream, at, p});
agrees('paths', 'SELECT cv_id, path_length, channel_transformed_path FROM crm.paths_to_conversion', qq{SELECT stream, count(channel)::int, coalesce(string_agg(channel, ' > ' ORDER BY at, p), 'direct') FROM $paths x GROUP BY stream});
is($node->safe_psql('log', q{SELECT m.model FROM crm.attribution_models() m, crm.attribution(m.model) a GROUP BY m.model
	HAVING sum(a.value) <> (SELECT sum(total) FROM crm.orders) OR sum(a.credit) <> 100 * (SELECT count(*) FROM crm.orders)}), '', 'every model parts all of it, to the cent');

agrees('metrics', "SELECT time::date, metric, value FROM crm.daily_metrics WHERE metric IN ('orders_placed', 'carts_abandoned', 'revenue_EUR', 'deals_closed')", q{
	SELECT occurred_at::date, CASE type WHEN 'OrderPlaced' THEN 'orders_placed' WHEN 'PaymentSucceeded' THEN 'revenue_EUR' WHEN 'closing_complete' THEN 'deals_closed' ELSE 'carts_abandoned' END,
		   sum(CASE type WHEN 'PaymentSucceeded' THEN (data->>'amount')::numeric ELSE 1 END) FROM eventsource.events
	 WHERE type IN ('OrderPlaced', 'CartAbandoned', 'CheckoutAbandoned', 'closing_complete') OR type = 'PaymentSucceeded' AND data->>'currency' = 'EUR' GROUP BY 1, 2});

# Every view can be read.
my @views = split /\n/, $node->safe_psql('log', "SELECT relname FROM pg_class WHERE relnamespace = 'crm'::regnamespace AND relkind = 'v' ORDER BY 1");
for my $view (@views)
{
	my $start = time;
	my $rows = $node->safe_psql('log', "SELECT count(*) FROM (SELECT * FROM crm.$view OFFSET 0) v");
	note("crm.$view: $rows rows in " . (time - $start) . ' s') if time - $start > 1;
}
ok(@views > 60, scalar(@views) . ' views are read');

$node->stop;
done_testing();
