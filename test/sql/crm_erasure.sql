\set own_database crm_erasure
\i test/own_database.sql
-- Customers who are forgotten, softly, anonymized and for good: what is left of them where, and that the proofs stand.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(90);
SET timezone = 'UTC';
SET datestyle = 'ISO';

SELECT crm.create_integration('mail'), crm.create_integration('news') \g /dev/null
SELECT crm.create_campaign('carts', '{"event": "CartAbandoned"}', '[{"type": "wait", "config": {"duration": "1 second"}}, {"type": "send-email", "config": {"templateId": "t", "messageClass": "transactional"}}]') \g /dev/null
SELECT crm.create_campaign('idle', '{"event": "SearchPerformed", "idle": "1 second"}', '[{"type": "send-email", "config": {"templateId": "t", "messageClass": "transactional"}}]') \g /dev/null
-- What is due waits until they are resumed, below.
SELECT crm.set_setting('campaign_retry', '1 second'), crm.pause_campaign('idle') \g /dev/null

-- Somebody who has done all that can be done here.
CREATE PROCEDURE pg_temp.lives(c text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM crm.register_customer(c || '@example.com', '1', first_name => 'Ada ' || c, last_name => 'Quill', phone => '+49 30 5', marketing_consent => true,
		ip_address => '198.51.100.9', user_agent => 'Lynx/2', customer_id => c, occurred_at => now() - interval '300 days');
	PERFORM crm.update_profile(c, '{"address": {"city": "Bonn"}, "dateOfBirth": "1979-03-04"}');
	PERFORM crm.grant_consent(c, 'marketing', 'sms', ip_address => '198.51.100.9'), crm.grant_consent(c, 'analytics', 'email');
	PERFORM crm.update_preferences(c, '{"timezone": "Europe/Berlin", "emailFrequency": "daily"}');
	PERFORM crm.add_to_segment(c, 'vip');
	-- Before it is known who it is, and after.
	PERFORM eventsource.append('visit-' || c, 'SearchPerformed', jsonb_build_object('query', 'pills for Ada ' || c, 'resultsCount', 1));
	PERFORM eventsource.append('visit-' || c, 'SearchPerformed', jsonb_build_object('query', 'pens for Ada ' || c, 'resultsCount', 1, 'customerId', c));
	PERFORM crm.add_to_cart(c, 'pen', 1, 10, 'EUR', c, occurred_at => now() - interval '3 hours');
	PERFORM crm.place_order(c, '[{"productId": "pen", "quantity": 1, "price": 100}]', 'EUR', order_id => c, shipping_address => '{"city": "Bonn"}');
	PERFORM crm.record_payment(c, 'p1', 100), crm.initiate_refund(c, 'r1', 'other', 30), crm.complete_refund(c, 'r1');
	PERFORM crm.post_to_ledger(c, 'credit', 5, 'EUR', note => 'A gift for Ada ' || c);
	PERFORM crm.send_message(c, 'email', message_class => 'transactional', message_id => c || '-sent',
		content => jsonb_build_object('text', 'Dear Ada ' || c)), crm.complete_message(c || '-sent');
	PERFORM crm.send_message(c, 'email', message_id => c || '-waits', content => jsonb_build_object('text', 'Dear Ada ' || c));
	PERFORM crm.record_integration('mail', 'upsert', 1, c, false, 'RATE_LIMIT', 'Ada ' || c || ': too many');
	PERFORM crm.change_email(c, c || '@example.org');
END
$$;
CALL pg_temp.lives('soft');
CALL pg_temp.lives('anon');
CALL pg_temp.lives('hard');
CALL pg_temp.lives('stays');
SELECT count(*) FROM eventsource.run_due(1000) \g /dev/null
SELECT count(*) FROM eventsource.run_due(1000) \g /dev/null
SELECT crm.pause_campaign('carts') \g /dev/null
SELECT is((SELECT count(*) FROM crm.campaign_runs WHERE is_active AND campaign_id = 'carts'), 4::bigint, 'all are in a campaign');
SELECT is((SELECT string_agg(DISTINCT e.subject, ' ') FROM eventsource.events e WHERE e.type = 'CartAbandoned' AND e.stream = 'cart-hard'), 'customer-hard', 'a cart that is left alone is about whose it is');
-- Everything that can be read of somebody, as text: log, projections and jobs.
CREATE TABLE pg_temp.places AS SELECT format('%I.%I', n.nspname, c.relname) AS place FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'crm' AND c.relkind IN ('r', 'v') OR n.nspname = 'eventsource' AND c.relname IN ('events', 'jobs', 'dead_letters', 'outbox', 'parked_events');
CREATE FUNCTION pg_temp.found(what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	p text;
	found boolean;
	result text[];
BEGIN
	FOR p IN SELECT place FROM pg_temp.places ORDER BY place COLLATE "C" LOOP
		EXECUTE format('SELECT EXISTS (SELECT FROM %s x WHERE x::text ~ $1)', p) INTO found USING what;
		IF found THEN
			result := result || p;
		END IF;
	END LOOP;
	RETURN array_to_string(result, ' ');
END
$$;
CREATE FUNCTION pg_temp.columns(c text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', status, email, is_email_verified, first_name, last_name, phone, date_of_birth, address, segments) FROM crm.customers WHERE customer_id = c
$$;
CREATE FUNCTION pg_temp.wrong() RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', (SELECT count(*) FROM eventsource.verify_chain()), (SELECT count(*) FROM eventsource.verify_log() v WHERE v.status <> 'redacted'), (SELECT count(*) FROM eventsource.verify_transitions()),
		(SELECT count(*) FROM eventsource.projections p, eventsource.verify_projection(p.target) v), (SELECT count(*) FROM crm.reconcile()))
$$;
SELECT cmp_ok(array_length(string_to_array(pg_temp.found('Ada hard|hard@example|\+49 30 5'), ' '), 1), '>', 5, 'much can be read of somebody');

-- ---- softly ----

SELECT is(crm.request_erasure(c, m) > 0, true, 'a request, ' || m) FROM (VALUES ('soft', 'soft'), ('anon', 'anonymize'), ('hard', 'hard')) x (c, m);
SELECT pg_temp.refused($$ SELECT crm.erase_customer('soft', 'gentle') $$, 'ZE007 data does not match version 1 of event type "CustomerDataDeleted"', 'a mode that is none');
SELECT pg_temp.refused($$ SELECT crm.erase_customer('nobody') $$, '42704 there is no customer "nobody"', 'nobody is not erased');
SELECT is((SELECT string_agg(target, ', ') FROM crm.erase_customer('soft', 'soft', actor => 'dpo') WHERE affected > 0), 'jobs, personal fields, projection rows', 'hidden: fields and rows; what waits is not done');
SELECT is(pg_temp.columns('soft'), 'deleted f', 'nothing personal of the customer is seen');
SELECT is(pg_temp.found('Ada soft|soft@example'), NULL, 'nor anywhere else');
SELECT is((SELECT string_agg(DISTINCT status, ' ') FROM crm.consents WHERE customer_id = 'soft'), 'revoked', 'consents are taken back');
SELECT is(crm.has_consent('soft', 'marketing', 'email'), false, 'has_consent says so');
SELECT is((SELECT string_agg(DISTINCT end_reason, ' ') FROM crm.consent_history WHERE customer_id = 'soft'), 'erased', 'and why');
SELECT is((SELECT consents FROM crm.customer_360 WHERE customer_id = 'soft'), NULL, 'the picture of all says so, too');
SELECT is((SELECT string_agg(message_id || ' ' || status || coalesce(' ' || skip_reason, ''), ', ' ORDER BY message_id) FROM crm.messages WHERE customer_id = 'soft'), 'soft-sent sent, soft-waits skipped erased', 'what waited is skipped');
SELECT is((SELECT string_agg(campaign_id || ' ' || status || ' ' || end_reason, ', ' ORDER BY campaign_id) FROM crm.campaign_runs WHERE customer_id = 'soft' AND campaign_id = 'carts'), 'carts left erased', 'the campaign is left');
SELECT is((SELECT count(*) FROM crm.segment_members WHERE customer_id = 'soft'), 0::bigint, 'all segments are left');
SELECT is((SELECT concat_ws(' ', status, total, paid_amount, refunded_amount) FROM crm.orders WHERE order_id = 'soft'), 'confirmed 100 100 30', 'what was bought stays');
SELECT is((SELECT balance FROM crm.account_balances WHERE account_id = 'soft'), 65::numeric, 'and what is owed');
SELECT is((SELECT is_abandoned FROM crm.carts WHERE cart_id = 'soft'), true, 'and the cart');
SELECT is(crm.masked('x'), 'x', 'who asks may see personal data');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE subject IN ('customer-soft', 'visit-soft') AND state IN ('available', 'scheduled', 'claimed')), 0::bigint, 'no job of the customer waits');
SELECT is((SELECT string_agg(DISTINCT action, ' ') FROM crm.poll_integration('mail') WHERE customer_id = 'soft'), 'delete', 'programs of others are told to delete');
SELECT is((SELECT count(*) FROM crm.poll_integration('mail') WHERE customer_id = 'soft' AND (email IS NOT NULL OR is_subscribed)), 0::bigint, 'and no more');
SELECT is(pg_temp.wrong(), '0 0 0 0 0', 'chain, proofs, transitions, projections, ledger');
SELECT pg_temp.refused($$ SELECT crm.grant_consent('soft', 'marketing', 'push') $$, 'ZE009 subject "customer-soft" is erased', 'nothing is recorded');
SELECT pg_temp.refused($$ SELECT eventsource.append('visit-soft', 'PageViewed', '{"pageUrl": "/"}') $$, 'ZE009 subject "visit-soft" is erased', 'nor of the visit');
SELECT pg_temp.refused($$ SELECT crm.erase_customer('soft', 'soft') $$, 'ZE009 subject "customer-soft" is erased', 'once');

-- Somebody else has the address meanwhile.
SELECT lives_ok($$ SELECT crm.register_customer('soft@example.org', '1', customer_id => 'other') $$, 'the address is free');
SELECT pg_temp.refused($$ SELECT crm.revert_erasure('soft', 'was a mistake') $$, '23505 customer_email_is_taken', 'so that it cannot be given back');
SELECT crm.change_email('other', 'other@example.org') \g /dev/null
SELECT is((SELECT sum(affected) > 0 FROM crm.revert_erasure('soft', 'was a mistake', 'dpo')), true, 'now it can');
SELECT is(pg_temp.columns('soft'), 'deleted soft@example.org f Ada soft Quill +49 30 5 1979-03-04 {"city": "Bonn"}', 'all is seen again, of an account that stays deleted');
SELECT is((SELECT e.data->>'query' FROM eventsource.events e WHERE e.stream = 'visit-soft' AND e.version = 1), 'pills for Ada soft', 'of the visit, too');
SELECT is(crm.has_consent('soft', 'marketing', 'email'), false, 'consents are not given back');
SELECT is((SELECT reasons FROM crm.can_contact('soft', 'email', 'transactional')), 'erased', 'nobody writes');
SELECT pg_temp.refused($$ SELECT crm.revert_erasure('soft', 'again') $$, '55000 erasure of subject "customer-soft" cannot be reverted', 'what is not hidden is not shown again');
SELECT is((SELECT count(*) > 0 FROM crm.erase_customer('soft', 'soft')), true, 'hidden once more');
SELECT is((SELECT sum(affected) > 0 FROM crm.erase_customer('soft', 'anonymize')), true, 'a stronger mode follows');
SELECT pg_temp.refused($$ SELECT crm.revert_erasure('soft', 'too late') $$, '55000 erasure of subject "customer-soft" cannot be reverted', 'which is for good');
SELECT is((SELECT count(*) FROM eventsource.events e WHERE e.stream = 'customer-soft' AND e.type = 'CustomerDataDeleted'), 1::bigint, 'the customer was deleted once');

-- ---- anonymized ----

SELECT count(*) AS before FROM eventsource.events WHERE subject = 'customer-anon' \gset
SELECT is((SELECT string_agg(e #>> '{data,query}', ', ') FROM jsonb_array_elements(crm.export_customer('anon')->'events_before_known') e WHERE e->>'stream' = 'visit-anon'),
	(SELECT string_agg(data->>'query', ', ' ORDER BY position) FROM eventsource.events WHERE stream = 'visit-anon' AND subject <> 'customer-anon'), 'what there is about a customer has what was done before it was known who it was');
SELECT is((SELECT count(*) FROM crm.export_customer('anon') x, jsonb_array_elements(x->'events' || (x->'events_before_known')) e WHERE e->>'category' IN ('visit', 'cart')),
	(SELECT count(*) FROM crm.journeys WHERE customer_id = 'anon' AND category IN ('visit', 'cart')), 'nothing of it is missing, and nothing there twice');
SELECT is((SELECT string_agg(target, ', ') FROM crm.erase_customer('anon', actor => 'dpo') WHERE affected > 0), 'idempotency keys, jobs, personal fields, projection rows', 'cleared');
SELECT is((SELECT status || ' ' || (email ~ '^[0-9a-f]{64}$') || ' ' || concat_ws(' ', first_name, last_name, phone, date_of_birth, address) FROM crm.customers WHERE customer_id = 'anon'), 'deleted true ', 'a pseudonym is left of the customer');
SELECT is(pg_temp.found('Ada anon|anon@example'), NULL, 'nothing that tells of a person, anywhere');
SELECT is((SELECT data->>'ipAddress' || ' ' || (data->>'userAgent') FROM eventsource.events WHERE stream = 'customer-anon' AND version = 1), '198.51.0.0 [redacted]', 'the network stays');
SELECT is((SELECT string_agg(data->>'query', ', ' ORDER BY version) FROM eventsource.events WHERE stream = 'visit-anon'), '[redacted], [redacted]', 'what was searched for does not, from before it was known who it was, either');
SELECT is((SELECT count(*) >= :before FROM eventsource.events WHERE subject = 'customer-anon'), true, 'no event is lost');
SELECT is((SELECT note_left FROM (SELECT data->>'note' AS note_left FROM eventsource.events WHERE stream = 'account-anon' AND type = 'CreditPosted') n), '[redacted]', 'notes in the ledger are gone');
SELECT is((SELECT concat_ws(' ', status, total, paid_amount, refunded_amount) FROM crm.orders WHERE order_id = 'anon'), 'confirmed 100 100 30', 'what was bought stays');
SELECT is((SELECT concat_ws(' ', r.frequency, r.monetary) FROM crm.rfm() r WHERE r.customer_id = 'anon'), '1 70', 'and is counted');
SELECT is((SELECT string_agg(DISTINCT d.error_code, ' ') FROM crm.integration_deliveries d WHERE d.customer_id = 'anon'), 'RATE_LIMIT', 'what programs of others were told stays');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'integration-mail' AND data->>'errorMessage' LIKE '%Ada anon%'), 0::bigint, 'without what they said');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE subject IN ('customer-anon', 'visit-anon') AND (state IN ('available', 'scheduled', 'claimed') OR payload <> '{}')), 0::bigint, 'jobs are empty');
SELECT is(pg_temp.wrong(), '0 0 0 0 0', 'chain, proofs, transitions, projections, ledger');
SELECT lives_ok($$ SELECT crm.nack_integration('news', p.event_position, p.action, p.customer_id, 'RATE_LIMIT', 'Ada anon: not now') FROM (SELECT * FROM crm.poll_integration('news') WHERE customer_id = 'anon' ORDER BY event_position LIMIT 1) p $$,
	'that a program could not be told is recorded');
SELECT is(pg_temp.found('Ada anon'), NULL, 'without what it said of the customer');
SELECT pg_temp.refused($$ SELECT crm.erase_customer('anon') $$, 'ZE009 subject "customer-anon" is erased', 'once');
SELECT is(eventsource.export_subject('customer-anon')::text ~ 'Ada anon|anon@example', false, 'an export has no more');

-- ---- for good ----

SELECT is((SELECT string_agg(target, ', ') FROM crm.erase_customer('hard', 'hard', 'data-retention-policy', 'dpo') WHERE affected > 0), 'events, idempotency keys, jobs, personal fields, projection rows', 'events, too');
SELECT is(pg_temp.found('Ada hard|hard@example'), NULL, 'nothing that tells of a person');
SELECT is((SELECT count(*) FROM eventsource.events WHERE subject IN ('customer-hard', 'visit-hard') AND stream NOT LIKE '$%' AND data <> '{}'), 0::bigint, 'tombstones');
SELECT is((SELECT max(version) = count(*) FROM eventsource.events WHERE stream = 'customer-hard'), true, 'without a gap');
SELECT pg_temp.same_rows($$ SELECT v, n FROM (SELECT 'customers' AS v, count(*) AS n FROM crm.customers WHERE customer_id = 'hard' UNION ALL SELECT 'orders', count(*) FROM crm.orders WHERE customer_id = 'hard' OR order_id = 'hard'
	UNION ALL SELECT 'order items', count(*) FROM crm.order_items WHERE customer_id = 'hard' UNION ALL SELECT 'ledger', count(*) FROM crm.ledger_entries WHERE account_id = 'hard' UNION ALL SELECT 'messages', count(*) FROM crm.messages WHERE customer_id = 'hard'
	UNION ALL SELECT 'carts', count(*) FROM crm.carts WHERE customer_id = 'hard' UNION ALL SELECT 'journeys', count(*) FROM crm.journeys WHERE customer_id = 'hard' UNION ALL SELECT 'runs', count(*) FROM crm.campaign_runs WHERE customer_id = 'hard'
	UNION ALL SELECT 'deliveries', count(*) FROM crm.integration_deliveries WHERE customer_id = 'hard' UNION ALL SELECT 'consents', count(*) FROM crm.consents WHERE customer_id = 'hard' UNION ALL SELECT 'preferences', count(*) FROM crm.preferences WHERE customer_id = 'hard'
	UNION ALL SELECT 'segments', count(*) FROM crm.segment_history WHERE customer_id = 'hard' UNION ALL SELECT 'rfm', count(*) FROM crm.rfm() WHERE customer_id = 'hard' UNION ALL SELECT 'sessions', count(*) FROM crm.sessions WHERE customer_id = 'hard') x WHERE n > 0 $$,
	$$ SELECT NULL::text, NULL::bigint WHERE false $$, 'no view has a row of the customer');
SELECT is(crm.has_consent('hard', 'marketing', 'email'), false, 'there is no consent');
SELECT is((SELECT reasons FROM crm.can_contact('hard', 'email', 'transactional')), 'unknown-customer', 'nobody writes to somebody who is not known');
SELECT pg_temp.refused($$ SELECT crm.send_message('hard', 'email', message_class => 'transactional') $$, 'ZE009 subject "customer-hard" is erased', 'nor is that recorded');
SELECT is((SELECT string_agg(DISTINCT action, ' ') FROM crm.poll_integration('mail') WHERE customer_id = 'hard'), 'delete', 'programs of others are told to delete');
SELECT is((SELECT count(*) FROM crm.poll_integration('mail') WHERE customer_id = 'hard' AND (email IS NOT NULL OR segment_id IS NOT NULL OR is_subscribed)), 0::bigint, 'and no more');
SELECT lives_ok($$ SELECT crm.ack_integration('mail', p.event_position, p.action, p.customer_id) FROM (SELECT * FROM crm.poll_integration('mail') WHERE customer_id = 'hard' ORDER BY event_position DESC LIMIT 1) p $$, 'that they were is recorded');
SELECT is((SELECT e.data ? 'customerId' FROM eventsource.events e WHERE e.stream = 'integration-mail' ORDER BY e.version DESC LIMIT 1), false, 'without whom');
SELECT pg_temp.refused($$ SELECT crm.erase_customer('hard', 'hard') $$, 'ZE009 subject "customer-hard" is erased', 'once');
SELECT is(pg_temp.wrong(), '0 0 0 0 0', 'chain, proofs, transitions, projections, ledger');

-- ---- afterwards ----

SELECT crm.resume_campaign('idle'), crm.resume_campaign('carts') \g /dev/null
-- Steps of campaigns are due: those of who stays are done, and of nobody else.
CALL pg_temp.run_due('(SELECT count(*) FROM crm.messages WHERE campaign_id IS NOT NULL) >= 2');
SELECT eventsource.run_due(1000) \g /dev/null
SELECT is((SELECT string_agg(DISTINCT customer_id, ' ') FROM crm.messages WHERE campaign_id IS NOT NULL), 'stays', 'campaigns write to who stays, and to nobody else');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE state = 'discarded' OR error_code IS NOT NULL), 0::bigint, 'and nothing failed');
SELECT is(crm.recalculate_segments() >= 0, true, 'segments can be worked out');
SELECT is(pg_temp.columns('stays'), 'pending-verification stays@example.org f Ada stays Quill +49 30 5 1979-03-04 {"city": "Bonn"} buyers > vip', 'who stays is as before');
SELECT is(crm.install(), 0, 'nothing is to be made anew');
SELECT is((SELECT string_agg(subject || ' ' || status, ', ' ORDER BY subject) FROM eventsource.erasure_requests), 'customer-anon completed, customer-hard completed, customer-soft completed', 'the requests are done');
SELECT is((SELECT count(*) FROM eventsource.projections p, eventsource.rebuild_projection(p.target) r WHERE p.target::text LIKE 'crm.%' AND r > 0), 0::bigint, 'rebuilt, all rows are as they were');

-- An account is closed though one of its consents was recorded to have run out.
SELECT crm.register_customer('dee@example.com', '1', marketing_consent => true, customer_id => 'dee', occurred_at => '2020-01-01') \g /dev/null
SELECT eventsource.append('customer-dee', 'ConsentExpired', '{"purpose": "marketing", "channel": "email", "expiredAt": "2022-01-01T00:00:00Z"}') \g /dev/null
SELECT is(crm.deactivate_customer('dee', 'other'), 0, 'nothing is there to be taken back');
SELECT lives_ok($$ SELECT crm.erase_customer('dee') $$, 'and who has closed the account is erased');

-- ---- rights ----

CREATE ROLE crm_erasure_dpo;
SELECT crm.grant_writer('crm_erasure_dpo'), eventsource.grant_eraser('crm_erasure_dpo', '{soft,anonymize}') \g /dev/null
SET ROLE crm_erasure_dpo;
SELECT pg_temp.refused($$ SELECT crm.erase_customer('stays', 'hard') $$, '42501 permission denied to erase a subject in mode hard', 'each mode is a right of its own');
SELECT is((SELECT status FROM crm.customers WHERE customer_id = 'stays'), 'pending-verification', 'and nothing is done without it');
SELECT lives_ok($$ SELECT crm.erase_customer('stays', 'soft') $$, 'with it, it is');
SELECT lives_ok($$ SELECT crm.revert_erasure('stays', 'was a mistake') $$, 'and undone');
SELECT lives_ok($$ SELECT crm.erase_customer('stays') $$, 'and done for good');
RESET ROLE;
SELECT is(pg_temp.found('Ada stays|stays@example'), NULL, 'so that nothing is left of anybody');
SELECT is(pg_temp.found('Ada (soft|anon|hard|stays)|Quill|\+49 30 5|Bonn|1979-03-04|198\.51\.100\.9|Lynx'), NULL, 'indeed');
\i test/own_database_end.sql
