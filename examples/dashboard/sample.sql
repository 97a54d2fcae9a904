-- A year of a small brokerage with a shop, for the dashboard to show: some 500 leads
-- and 400 customers up to today. For a database with eventsource_crm installed and
-- nothing in it. The dice are loaded, so that it comes out the same on the same day.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SELECT setseed(0.62) \g /dev/null

CREATE FUNCTION pg_temp.pick(VARIADIC choices text[]) RETURNS text LANGUAGE sql AS $$
	SELECT choices[1 + floor(random() * cardinality(choices))::int]
$$;
-- What would lie in the future has not happened.
CREATE FUNCTION pg_temp.put(stream text, type text, at timestamptz, data jsonb DEFAULT '{}', reason text DEFAULT NULL, actor text DEFAULT 'system:sample') RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF at < now() THEN
		PERFORM eventsource.append(stream, type, data, reason, actor, occurred_at => at);
	END IF;
	RETURN at < now();
END
$$;

DO $$
DECLARE
	s text;
	agent text;
	state text;
	t timestamptz;
BEGIN
	FOR i IN 1 .. 500 LOOP
		s := 'lead-' || i;
		agent := pg_temp.pick('joe', 'joe', 'ryan', 'josh', 'ann');
		t := now() - random() * interval '365 days';
		PERFORM pg_temp.put(s, 'contact_form_submission', t, jsonb_build_object('name', 'Sample Lead' || i, 'email', 'lead' || i || '@example.com', 'phone', '+1 212 555 ' || 1000 + i, 'source', pg_temp.pick('website', 'open house', 'referral')));
		CONTINUE WHEN random() < 0.04;
		PERFORM pg_temp.put(s, 'lead_assigned', t, jsonb_build_object('agent_id', agent));
		t := t + random() * interval '8 minutes';
		FOR k IN 1 .. 1 + floor(random() * 7)::int LOOP
			PERFORM pg_temp.put(s, 'contact_attempted', t, jsonb_build_object('channel', pg_temp.pick('phone', 'email', 'text'), 'outcome', 'voicemail'), actor => 'agent:' || agent);
			t := t + random() * interval '2 days';
		END LOOP;
		IF random() < 0.06 THEN
			PERFORM pg_temp.put(s, 'bogus_contact_detected', t, reason => pg_temp.pick('spam', 'wrong_number'));
			CONTINUE;
		END IF;
		CONTINUE WHEN random() < 0.15 OR NOT pg_temp.put(s, 'motivation_confirmed', t);
		state := 'QUALIFIED';
		FOR k IN 1 .. 8 LOOP
			t := t + interval '3 days' + random() * interval '40 days';
			EXIT WHEN NOT pg_temp.put(s, 'lead_engaged', t, jsonb_build_object('signal', pg_temp.pick('tour_requested', 'replied', 'property_viewed')));
			IF state = 'QUALIFIED' THEN
				EXIT WHEN random() < 0.2;
				PERFORM pg_temp.put(s, 'buyer_agreement_signed', t);
				state := 'COMMITTED';
			ELSIF state = 'COMMITTED' AND random() < (CASE agent WHEN 'joe' THEN 0.5 ELSE 0.25 END) THEN
				PERFORM pg_temp.put(s, 'deal_collapsed', t, reason => CASE agent WHEN 'joe' THEN pg_temp.pick('inspection', 'inspection', 'financing') ELSE pg_temp.pick('financing', 'financing', 'inspection', 'changed_mind') END);
				state := 'QUALIFIED';
			ELSIF state = 'COMMITTED' THEN
				PERFORM pg_temp.put(s, 'contract_executed', t);
				state := 'IN_CONTRACT';
			ELSIF random() < 0.25 THEN
				PERFORM pg_temp.put(s, 'contract_voided', t, reason => pg_temp.pick('financing', 'title_defect', 'mutual_release'));
				state := 'QUALIFIED';
			ELSE
				PERFORM pg_temp.put(s, 'closing_complete', t);
				EXIT;
			END IF;
		END LOOP;
	END LOOP;
END
$$;

DO $$
DECLARE
	c text;
	s text;
	o text;
	t timestamptz;
	total numeric;
	currency text;
	channel text;
	who jsonb;
BEGIN
	FOR i IN 1 .. 400 LOOP
		c := 'sample' || i;
		who := jsonb_build_object('customerId', c);
		currency := pg_temp.pick('EUR', 'EUR', 'EUR', 'USD');
		t := now() - random() * interval '365 days';
		PERFORM pg_temp.put('customer-' || c, 'CustomerCreated', t, jsonb_build_object('email', c || '@example.com', 'firstName', 'Sample', 'lastName', 'Customer' || i, 'source', 'web'));
		FOR v IN 1 .. 1 + floor(random() * 4)::int LOOP
			t := t + random() * interval '20 days';
			s := 'visit-' || c || '_' || v;
			channel := CASE WHEN v = 1 THEN pg_temp.pick('social', 'social', 'paid-ad', 'web') ELSE pg_temp.pick('email', 'email', 'web', 'sms', NULL) END;
			EXIT WHEN NOT pg_temp.put(s, 'PageViewed', t, who || jsonb_strip_nulls(jsonb_build_object('pageUrl', '/', 'channel', channel,
				'campaignId', CASE channel WHEN 'email' THEN pg_temp.pick('newsletter', 'cart-reminder') WHEN 'paid-ad' THEN 'spring' END)));
			PERFORM pg_temp.put(s, 'ProductViewed', t + interval '1 minute', who || '{"productId": "pen"}');
			CONTINUE WHEN random() < 0.35;
			PERFORM pg_temp.put(s, 'ProductCompared', t + interval '3 minutes', who || '{"productIds": ["pen", "ink"]}');
			CONTINUE WHEN random() < 0.3;
			o := c || '_' || v;
			total := round((20 + random() * 300)::numeric, 2);
			PERFORM pg_temp.put('cart-' || o, 'ItemAddedToCart', t + interval '5 minutes', who || jsonb_build_object('productId', 'pen', 'quantity', 1, 'price', total, 'currency', currency));
			CONTINUE WHEN random() < 0.35;
			PERFORM pg_temp.put('cart-' || o, 'CheckoutStarted', t + interval '7 minutes');
			CONTINUE WHEN random() < 0.2;
			t := t + interval '10 minutes';
			EXIT WHEN NOT pg_temp.put('order-' || o, 'OrderPlaced', t, who || jsonb_build_object('cartId', o, 'items', jsonb_build_array(jsonb_build_object('productId', 'pen', 'quantity', 1, 'price', total)),
				'subtotal', total, 'tax', 0, 'shipping', 0, 'total', total, 'currency', currency));
			PERFORM pg_temp.put('order-' || o, 'PaymentInitiated', t, who || jsonb_build_object('paymentId', 'p', 'paymentMethod', 'paypal', 'amount', total, 'currency', currency));
			PERFORM pg_temp.put('order-' || o, 'PaymentSucceeded', t, who || jsonb_build_object('paymentId', 'p', 'amount', total, 'currency', currency));
		END LOOP;
	END LOOP;
END
$$;

-- What follows from it: carts that were left alone, leads that went quiet.
SELECT sum(count) FROM eventsource.run_due(5000) \g /dev/null
SELECT sum(count) FROM eventsource.run_due(5000) \g /dev/null
SELECT crm.tick_leads(max_rows => 5000) \g /dev/null
