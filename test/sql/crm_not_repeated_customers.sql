\set own_database crm_not_repeated_customers
\i test/own_database.sql
-- Faults of the documents' code about customers, consent and erasure, by their numbers in docs/checklist.md: each is tried, and not repeated.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(52);
SET timezone = 'UTC';
SET datestyle = 'ISO';

CREATE FUNCTION pg_temp.active(id text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	token text;
BEGIN
	SELECT verification_token INTO token FROM crm.register_customer(id || '@example.com', '2026-01', customer_id => id, occurred_at => '2026-01-01 00:00Z');
	PERFORM crm.verify_email(id, token, occurred_at => '2026-01-01 01:00Z');
END
$$;
SELECT pg_temp.active(c) FROM unnest('{ada,bob,cy,dee,eve,fay,gus}'::text[]) c \g /dev/null

-- ---- the state that guards look at ----

SELECT crm.change_email('ada', 'ada@example.org', occurred_at => '2026-01-02') \g /dev/null
SELECT is(pg_temp.outcome($$ SELECT crm.change_email('ada', 'ada@example.org') $$), '23514 customer_email_must_differ', 'X8: another address is compared with the one before, and not with the first');
SELECT is(pg_temp.outcome($$ SELECT crm.change_email('ada', 'ada@example.com', occurred_at => '2026-01-03') $$), 'done', 'X8: so that the first can be taken again');
SELECT crm.deactivate_customer('bob', 'other') \g /dev/null
SELECT is((SELECT string_agg(c || ' ' || pg_temp.outcome(command), ', ' ORDER BY c) FROM (VALUES
	('address', $$ SELECT crm.update_profile('bob', '{"address": {"city": "Ulm"}}') $$), ('close', $$ SELECT crm.deactivate_customer('bob', 'other') $$),
	('consent', $$ SELECT crm.grant_consent('bob', 'marketing', 'email') $$), ('email', $$ SELECT crm.change_email('bob', 'b@example.org') $$),
	('preferences', $$ SELECT crm.update_preferences('bob', '{"smsEnabled": true}') $$)) v (c, command)),
	'address ZE002, close ZE002, consent ZE002, email ZE002, preferences ZE002', 'X8: the fold knows of the deactivation: every guard on it fires');
SELECT count(*) AS done FROM crm.erase_customer('cy') \gset
SELECT is((SELECT string_agg(DISTINCT left(pg_temp.outcome(command), 5), ' ') FROM (VALUES
	($$ SELECT crm.grant_consent('cy', 'marketing', 'email') $$), ($$ SELECT crm.change_email('cy', 'b@example.org') $$),
	($$ SELECT crm.update_profile('cy', '{"phone": "2"}') $$), ($$ SELECT crm.deactivate_customer('cy', 'other') $$)) v (command)), 'ZE009', 'X8: and of the erasure');
SELECT is((SELECT count(*) FROM crm.customers WHERE status NOT IN ('pending-verification', 'active', 'deactivated', 'deleted')), 0::bigint, 'X15: one set of statuses');
SELECT crm.register_customer('new@example.com', '1', customer_id => 'new') \g /dev/null
SELECT is((SELECT status FROM crm.customers WHERE customer_id = 'new'), 'pending-verification', 'X15: a new customer has one, whichever code looks');

-- ---- consent ----

SELECT crm.grant_consent('ada', 'marketing', 'sms', occurred_at => '2026-02-01'), crm.revoke_consent('ada', 'marketing', 'sms', occurred_at => '2026-03-01'),
	crm.grant_consent('ada', 'marketing', 'sms', occurred_at => '2026-04-01'), crm.revoke_consent('ada', 'marketing', 'sms', occurred_at => '2026-05-01') \g /dev/null
SELECT is((SELECT string_agg(to_char(granted_at, 'MM-DD') || ' ' || to_char(ended_at, 'MM-DD'), ', ' ORDER BY version) FROM crm.consent_history WHERE customer_id = 'ada'),
	'02-01 03-01, 04-01 05-01', 'X9: the second revocation does not overwrite when the first was');
SELECT is((SELECT count(*) FROM crm.consents WHERE customer_id = 'ada' AND channel = 'sms'), 1::bigint, 'X9: a consent that is given again is no second one');
SELECT is(pg_temp.outcome($$ SELECT crm.grant_consent('ada', 'marketing', 'sms', occurred_at => '2026-04-15') $$), 'ZE005 consent_is_not_from_before', 'X10: a grant that arrives late does not bring back what was taken back since');
SELECT is(crm.has_consent('ada', 'marketing', 'sms', '2026-06-01'), false, 'X10: there is no consent');
SELECT is((SELECT status FROM crm.consents WHERE customer_id = 'ada'), 'revoked', 'X10: in the read model either');
SELECT is(pg_temp.outcome($$ SELECT crm.register_customer('DEE@EXAMPLE.COM', '1', customer_id => 'dee2') $$), '23505 customer_email_is_taken', 'X11: an address is unique by a constraint (at once: t/071_crm_races.pl)');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('customer-dee3', 'CustomerCreated', '{"email": "dee@example.com", "source": "api"}') $$), '23505 customer_email_is_taken', 'X11: for a raw append, too');
SELECT is(pg_temp.outcome($$ SELECT crm.register_customer('t@example.com', NULL) $$), '22023', 'X12: the terms must be accepted');
SELECT is((SELECT data->>'termsVersion' FROM eventsource.events WHERE stream = 'customer-dee' AND type = 'TermsAccepted'), '2026-01', 'X12: and that they were is recorded, with their version');
SELECT crm.grant_consent('dee', 'marketing', 'email', occurred_at => '2024-01-01') \g /dev/null
SELECT is(pg_temp.outcome($$ SELECT crm.grant_consent('dee', 'marketing', 'email', occurred_at => '2025-12-31 23:59:59.999999') $$), 'ZE005 consent_is_not_granted', 'X13: while it holds it is not given twice');
SELECT is(pg_temp.outcome($$ SELECT crm.grant_consent('dee', 'marketing', 'email', occurred_at => '2026-01-01') $$), 'done', 'X13: what has run out is given again, and not "already there"');
SET timezone = 'Pacific/Auckland';
SELECT crm.grant_consent('eve', 'marketing', 'email', occurred_at => '2024-02-29 23:30Z') \g /dev/null
SELECT is((SELECT expires_at AT TIME ZONE 'UTC' FROM crm.consents WHERE customer_id = 'eve'), '2026-02-28 23:30'::timestamp, 'X14: 29 February and two years is 28 February, wherever the server stands');
SET timezone = 'UTC';
SELECT is((SELECT string_agg(s #>> '{}', ' ' ORDER BY n) FROM crm.event_types, jsonb_array_elements(schema #> '{properties,source,enum}') WITH ORDINALITY x (s, n) WHERE event_type = 'CustomerCreated'),
	'web mobile api import', 'X16: one list of sources');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('customer-eve', 'ConsentGranted', '{"purpose": "marketing", "channel": "sms", "device": "x"}') $$), 'ZE007', 'X16: a field that no schema tells of is refused');
SELECT crm.grant_consent('eve', 'analytics', 'email', ip_address => '203.0.113.9', user_agent => 'curl', occurred_at => '2026-01-02') \g /dev/null
SELECT is((SELECT ip_address || ' ' || user_agent FROM crm.consent_history WHERE customer_id = 'eve' AND purpose = 'analytics'), '203.0.113.9 curl', 'X16: the evidence has its fields');
-- For longer than these tests will be run.
SELECT crm.set_setting('consent_term_' || p, '90 years') FROM unnest('{marketing,analytics,essential}'::text[]) p \g /dev/null
SELECT crm.grant_consent('fay', c.purpose, 'email', occurred_at => '2026-01-02') FROM unnest('{marketing,analytics,essential}'::text[]) c (purpose) \g /dev/null
SELECT is(crm.deactivate_customer('fay', 'customer-request', occurred_at => '2026-02-01'), 1, 'X20: closing an account takes back one consent');
SELECT is((SELECT string_agg(purpose || ' ' || status, ', ' ORDER BY purpose) FROM crm.consents WHERE customer_id = 'fay'), 'analytics granted, essential granted, marketing revoked', 'X20: that to marketing');
SELECT is((crm.reactivate_customer('fay', occurred_at => '2026-03-01')).state, 'active', 'X21: a closed account is opened again, by an event');
SELECT is(crm.has_consent('fay', 'marketing', 'email', '2026-03-02'), false, 'X21: and consent is to be asked for');
SELECT is(pg_temp.outcome($$ SELECT crm.grant_consent('fay', 'marketing', 'email', occurred_at => '2026-03-02') $$), 'done', 'X21: which can be given');
SELECT crm.send_message('fay', 'email', message_id => 'f1') \g /dev/null
SELECT is((SELECT status FROM crm.messages WHERE message_id = 'f1'), 'queued', 'X69: something waits for fay');
BEGIN;
SELECT crm.revoke_consent('fay', 'marketing', 'email') \g /dev/null
SELECT is((SELECT crm.has_consent('fay', 'marketing', 'email', clock_timestamp()) || ' ' || status FROM crm.messages WHERE message_id = 'f1'), 'false skipped', 'X69: the delay of a revocation is none: the same transaction');
COMMIT;

-- ---- preferences ----

SELECT crm.update_preferences('gus', '{"emailFrequency": "daily", "timezone": "Europe/Berlin", "categories": ["pens"]}', occurred_at => '2026-02-01') \g /dev/null
SELECT crm.update_preferences('gus', '{"smsEnabled": false}', occurred_at => '2026-02-02') \g /dev/null
SELECT is((SELECT email_frequency || ' ' || timezone || ' ' || categories || ' ' || is_sms_enabled FROM crm.preferences WHERE customer_id = 'gus'), 'daily Europe/Berlin pens false', 'X64: a field that is not named stays; the time zone is not dropped');
SELECT crm.update_preferences('gus', '{"emailFrequency": "never", "smsEnabled": true}', occurred_at => '2026-02-01 12:00') \g /dev/null
SELECT is((SELECT email_frequency || ' ' || is_sms_enabled FROM crm.preferences WHERE customer_id = 'gus'), 'never false', 'X64: what arrives late wins field by field, where it is the later');
SELECT crm.update_preferences('gus', '{"emailFrequency": "weekly"}', occurred_at => '2026-02-01 12:00') \g /dev/null
SELECT is((SELECT email_frequency FROM crm.preferences WHERE customer_id = 'gus'), 'weekly', 'X64: of two at one time the one of the higher version holds');

-- ---- addresses and profiles ----

SELECT is(pg_temp.outcome($$ SELECT crm.change_email('gus', 'GUS@Example.COM') $$), '23514 customer_email_must_differ', 'X75: the same address in capitals is the same');
SELECT is(pg_temp.outcome($$ SELECT crm.change_email('gus', 'Dee@Example.com') $$), '23505 customer_email_is_taken', 'X75: a new one is unique');
SELECT is(pg_temp.outcome($$ SELECT crm.change_email('gus', 'not an address') $$), 'ZE007', 'X75: and is one');
SELECT crm.update_profile('gus', '{"phone": "1", "dateOfBirth": "1980-12-10", "firstName": "Gus"}', occurred_at => '2026-01-05') \g /dev/null
SELECT is((SELECT date_of_birth FROM crm.customers WHERE customer_id = 'gus'), '1980-12-10', 'X76: a date of birth is not dropped');
SELECT is(crm.update_profile('gus', '{"phone": null, "firstName": ""}', occurred_at => '2026-01-06'), 2, 'X76: a phone is taken away, a name is made empty: both are changes');
SELECT is((SELECT coalesce(phone, 'none') || '/' || first_name || '/' || date_of_birth FROM crm.customers WHERE customer_id = 'gus'), 'none//1980-12-10', 'X76: and hold');

-- ---- tokens ----

SELECT verification_token AS token FROM crm.register_customer('tok@example.com', '1', customer_id => 'tok') \gset
SELECT is((SELECT count(*) FROM eventsource.events WHERE position(:'token' IN data::text || metadata::text) > 0), 0::bigint, 'X23: no token is in the log');
SELECT is((SELECT data->>'tokenHash' FROM eventsource.events WHERE stream = 'customer-tok' AND type = 'EmailVerificationRequested'), encode(sha256(sha256(convert_to(:'token', 'UTF8'))), 'hex'), 'X23: the hash of its hash is');

-- ---- erasure ----

SELECT crm.register_customer('ida@example.com', '1', first_name => 'Idaho', last_name => 'Lovelacious', phone => '+49 171 555-ida', marketing_consent => true, ip_address => '203.0.113.77', user_agent => 'Netscape', customer_id => 'ida', occurred_at => '2026-01-01') \g /dev/null
SELECT crm.register_customer('six@example.com', '1', ip_address => '2001:db8:aaaa:bbbb::1', customer_id => 'six', occurred_at => '2026-01-01'), crm.register_customer('noip@example.com', '1', customer_id => 'noip', occurred_at => '2026-01-01') \g /dev/null
SELECT crm.change_email('ida', 'idaho@example.org', occurred_at => '2026-01-02'), crm.update_profile('ida', '{"lastName": "Byronic", "address": {"street": "Rosebud Lane 1428"}, "dateOfBirth": "1977-07-07"}', occurred_at => '2026-01-02'),
	crm.place_order('ida', '[{"productId": "pen", "quantity": 1, "price": 10}]', 'EUR', order_id => 'oi', shipping_address => '{"street": "Rosebud Lane 1428"}', billing_address => '{"street": "Rosebud Lane 1429"}', occurred_at => '2026-01-02'),
	crm.initiate_payment('oi', 'p', 'credit-card', occurred_at => '2026-01-02'), crm.fail_payment('oi', 'p', 'CARD_DECLINED', error_message => 'Card of Idaho declined', occurred_at => '2026-01-02'),
	crm.deactivate_customer('ida', 'other', 'Idaho moved', occurred_at => '2026-01-03') \g /dev/null
SELECT eventsource.append('visit-ida', 'SearchPerformed', '{"query": "Idaho potatoes", "resultsCount": 1, "customerId": "ida"}') \g /dev/null
SELECT crm.request_erasure('ida') \g /dev/null
SELECT is(pg_temp.outcome($$ SELECT crm.request_erasure('ida') $$), '55000', 'X22: a request is made once');
SELECT count(*) AS known FROM eventsource.subject_events('customer-ida') \gset
SELECT clock_timestamp() AS began \gset
SELECT count(*) AS done FROM unnest('{ida,six,noip}'::text[]) c, crm.erase_customer(c) \gset
SELECT is((SELECT data->>'eventsAnonymized' FROM eventsource.events WHERE stream = 'customer-ida' AND type = 'CustomerDataDeleted'), :'known', 'X22: the count is of the events that there were, without the one that tells of it');
SELECT cmp_ok((SELECT (data->>'completedAt')::timestamptz FROM eventsource.events WHERE stream = 'customer-ida' AND type = 'CustomerDataDeleted'), '>=', :'began'::timestamptz, 'X22: and it was completed when it was');
SELECT is(pg_temp.outcome($$ SELECT count(*) FROM crm.erase_customer('ida') $$), 'ZE009', 'X22: nobody is erased twice');
SELECT is((SELECT string_agg(type, ' ' ORDER BY version) FROM eventsource.events WHERE stream = 'customer-ida' AND type LIKE '%Deletion%' OR stream = 'customer-ida' AND type LIKE '%Deleted'), 'CustomerDataDeletionRequested CustomerDataDeleted', 'X22: the request stays in the stream, before its completion');
SELECT is((SELECT count(*) FROM eventsource.events e WHERE e::text ~* 'idaho|lovelacious|byronic|555-ida|rosebud|1977-07|netscape|potatoes|203\.0\.113\.77'), 0::bigint, 'X19: no name, phone, address, note, search or message of an error is left in any event');
SELECT is_empty($$ SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'crm' AND c.relkind = 'r'
	AND (xpath('count(//row)', query_to_xml(format('SELECT 1 FROM %s t WHERE t::text ~* %L', c.oid::regclass, 'idaho|lovelacious|byronic|555-ida|rosebud|1977-07|netscape|potatoes|203\.0\.113\.77'), true, false, '')))[1]::text <> '0' $$,
	'X19: nor in any table of the CRM');
SELECT is((SELECT count(*) FROM eventsource.events e, unnest('{ida@example.com,idaho@example.org}'::text[]) a WHERE position(encode(sha256(convert_to(a, 'UTF8')), 'hex') IN e::text) > 0), 0::bigint, 'X17: a hash that a dictionary undoes is not there');
SELECT is((SELECT count(*) FROM eventsource.events e WHERE e.subject LIKE 'customer-%' AND position(encode(sha256(''), 'hex') IN e::text) > 0), 0::bigint, 'X17: nor that of nothing');
SELECT is((SELECT data->>'ipAddress' FROM eventsource.events WHERE stream = 'customer-ida' AND version = 1), '203.0.0.0', 'X18: of an IPv4 address its network is left');
SELECT is((SELECT data->>'ipAddress' FROM eventsource.events WHERE stream = 'customer-six' AND version = 1), '2001:db8:aaaa::', 'X18: of an IPv6 address, too, and no more of it');
SELECT is((SELECT data->>'ipAddress' FROM eventsource.events WHERE stream = 'customer-noip' AND version = 1), NULL, 'X18: of none nothing');
SELECT is_empty($$ SELECT t, v.key FROM unnest('{crm.customer,crm.consent_change,crm.preference,crm.purchase,crm.message}'::regclass[]) t, eventsource.verify_projection(t) v $$, 'all of it equals its replay');
\i test/own_database_end.sql
