\set own_database crm_customers
\i test/own_database.sql
-- Customers: registration, verification, profiles, closing and opening accounts; consent and preferences at their boundaries.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(91);
SET timezone = 'America/New_York';
SET datestyle = 'ISO';

CREATE FUNCTION pg_temp.types(customer text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(e.type, ' ' ORDER BY e.version) FROM eventsource.events e WHERE e.stream = 'customer-' || customer
$$;

-- ---- registration ----

SELECT id, verification_token AS token FROM crm.register_customer('Ada@Example.com', '2026-01', first_name => 'Ada', last_name => 'Byron', phone => '1',
	marketing_consent => true, ip_address => '203.0.113.9', user_agent => 'curl', customer_id => 'ada', occurred_at => '2026-01-01 00:00Z') \gset
SELECT is(:'id'::text, 'ada', 'a customer registers');
SELECT is(pg_temp.types('ada'), 'CustomerCreated TermsAccepted ConsentGranted EmailVerificationRequested', 'in one transaction, four events in this order');
SELECT crm.register_customer('bob@example.com', '2026-01', customer_id => 'bob', occurred_at => '2026-01-01 00:00Z') \g /dev/null
SELECT is(pg_temp.types('bob'), 'CustomerCreated TermsAccepted EmailVerificationRequested', 'and without consent three');
SELECT is(pg_temp.outcome($$ SELECT crm.register_customer('cy@example.com', repeat('x', 101), customer_id => 'cy') $$), 'ZE007', 'where the second is refused,');
SELECT is((SELECT count(*) FROM crm.customers WHERE customer_id = 'cy'), 0::bigint, 'the first is not there either');
SELECT is((SELECT status || ' ' || email || ' ' || is_email_verified || ' ' || terms_version FROM crm.customers WHERE customer_id = 'ada'),
	'pending-verification Ada@Example.com false 2026-01', 'the address is as it was written, and is to be proved');
SELECT is(pg_temp.outcome($$ SELECT crm.register_customer('no address', '1') $$), 'ZE007', 'no address, no customer');
SELECT is(pg_temp.outcome($$ SELECT crm.register_customer('a@b', '1') $$), 'ZE007', 'nor with a host alone');
SELECT is(pg_temp.outcome($$ SELECT crm.register_customer('a b@c.de', '1') $$), 'ZE007', 'nor with a blank');
SELECT is(pg_temp.outcome($$ SELECT crm.register_customer('x@example.com', NULL) $$), '22023', 'the terms must be accepted');
SELECT is(pg_temp.outcome($$ SELECT crm.register_customer('x@example.com', '1', source => 'fax') $$), 'ZE007', 'sources are those of the documents');
SELECT is(pg_temp.outcome($$ SELECT crm.register_customer('ADA@example.COM', '1', customer_id => 'ada2') $$), '23505 customer_email_is_taken', 'an address is taken whatever its case');
SELECT is(pg_temp.outcome(format($$ SELECT crm.register_customer(%L, '1', customer_id => 'ada2') $$, 'a' || chr(8203) || 'da@example.com')), '23505 customer_email_is_taken', 'or with what nobody sees');
SELECT is(pg_temp.outcome(format($$ SELECT crm.register_customer(%L, '1', customer_id => 'ada2') $$, 'ａda@example.com')), '23505 customer_email_is_taken', 'or however its letters are written');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'customer-ada2'), 0::bigint, 'and nothing is left of who tried');
SELECT is(pg_temp.outcome($$ SELECT crm.register_customer('other@example.com', '1', customer_id => 'ada') $$), 'ZE002', 'nobody registers twice');
SELECT throws_ok($$ SELECT crm.register_customer('other@example.com', '1', customer_id => 'ada') $$, 'ZE002', 'customer "ada" is there already', 'and is told so');
SELECT is_empty($$ SELECT c FROM unnest(ARRAY[
	'verify_email(''nobody'', ''x'')', 'change_email(''nobody'', ''n@example.com'')', 'update_profile(''nobody'', ''{}'')', 'deactivate_customer(''nobody'', ''other'')',
	'reactivate_customer(''nobody'')', 'grant_consent(''nobody'', ''marketing'', ''email'')', 'renew_consent(''nobody'', ''marketing'', ''email'')',
	'revoke_consent(''nobody'', ''marketing'', ''email'')', 'update_preferences(''nobody'', ''{}'')', 'pause_campaigns(''nobody'')', 'resume_campaigns(''nobody'')',
	'add_to_segment(''nobody'', ''vip'')', 'remove_from_segment(''nobody'', ''vip'')', 'request_erasure(''nobody'')', 'erase_customer(''nobody'')', 'update_preferences(NULL, ''{}'')']) c
	WHERE pg_temp.outcome('SELECT crm.' || c) <> '42704' $$, 'a customer whom there is not is no customer, whatever is to be done');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('customer-typo', 'TermsAccepted', '{"termsVersion": "1"}') $$), 'ZE002', 'a customer begins with CustomerCreated');

-- ---- the token ----

SELECT is((SELECT count(*) FROM eventsource.events WHERE position(:'token' IN data::text) > 0), 0::bigint, 'the log has no token');
SELECT is(pg_temp.outcome($$ SELECT crm.verify_email('ada', 'guess') $$), 'ZE005 token_is_right', 'another token proves nothing');
SELECT is(pg_temp.outcome(format($$ SELECT crm.verify_email('ada', %L, occurred_at => '2026-01-02 00:00:00.000001Z') $$, :'token')), 'ZE005 token_is_good', 'nor after 24 hours');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('customer-ada', 'EmailVerified', '{"tokenHash": "0000000000000000000000000000000000000000000000000000000000000000"}') $$),
	'ZE005 token_is_right', 'nor a raw append');
-- A token that lasts for a microsecond has run out when the next statement comes, whatever that says.
SELECT crm.register_customer('late@example.com', '1', customer_id => 'late', occurred_at => '2026-01-01 00:00Z') IS NOT NULL AS ok \gset
SELECT eventsource.append('customer-late', 'EmailVerificationRequested', jsonb_build_object('email', 'late@example.com',
	'tokenHash', encode(sha256(decode(crm.token_hash('late'), 'hex')), 'hex'), 'expiresAt', '2026-01-01T00:00:00.000001Z'), occurred_at => '2026-01-01 00:00Z') IS NOT NULL AS ok \gset
SELECT is(pg_temp.outcome($$ SELECT crm.verify_email('late', 'late', occurred_at => '2026-01-01 00:00Z') $$), 'ZE005 token_is_good', 'nor what is late and said to be of before');
SELECT is((crm.verify_email('ada', :'token', occurred_at => '2026-01-02 00:00Z')).state, 'active', 'the right one does, after exactly 24 hours');
SELECT is(pg_temp.outcome(format($$ SELECT crm.verify_email('ada', %L) $$, :'token')), 'ZE005 token_is_right', 'once');

-- ---- another address ----

SELECT is(pg_temp.outcome($$ SELECT crm.change_email('ada', 'ADA@EXAMPLE.COM') $$), '23514 customer_email_must_differ', 'the same address in capitals is the same address');
SELECT is(pg_temp.outcome($$ SELECT crm.change_email('ada', 'bob@example.com') $$), '23505 customer_email_is_taken', 'that of another is taken');
SELECT is(pg_temp.outcome($$ SELECT crm.change_email('ada', 'nowhere') $$), 'ZE007', 'and it must be one');
SELECT crm.change_email('ada', 'ada@example.org', ip_address => '203.0.113.9', occurred_at => '2026-01-03 00:00Z') AS token \gset
SELECT is((SELECT email || ' ' || is_email_verified FROM crm.customers WHERE customer_id = 'ada'), 'ada@example.org false', 'another one is to be proved anew');
SELECT is(pg_temp.outcome($$ SELECT crm.register_customer('ada@example.com', '1', customer_id => 'heir') $$), 'done', 'and the one before is free');
SELECT is((SELECT old_value || ' > ' || new_value || ' from ' || ip_address FROM crm.customer_audit_trail WHERE customer_id = 'ada' AND event_type = 'CustomerEmailUpdated'),
	'Ada@Example.com > ada@example.org from 203.0.113.9', 'the audit trail has both, and from where');
SELECT is((crm.verify_email('ada', :'token', occurred_at => '2026-01-03 01:00Z')).state, 'active', 'proved');

-- ---- profiles ----

SELECT is(crm.update_profile('ada', '{"firstName": "Ada", "lastName": "Lovelace", "phone": "1"}', occurred_at => '2026-01-04 00:00Z'), 1, 'what is the same is no event');
SELECT is((SELECT data - 'newLastName' FROM eventsource.events WHERE stream = 'customer-ada' AND type = 'CustomerNameUpdated'), '{"newFirstName": "Ada"}', 'the name is');
SELECT is(crm.update_profile('ada', '{"phone": null, "address": {"city": "Ulm"}, "dateOfBirth": "1980-12-10"}', occurred_at => '2026-01-05 00:00Z'), 3, 'an event for each aspect');
SELECT is((SELECT phone || '' FROM crm.customers WHERE customer_id = 'ada'), NULL, 'null takes away');
SELECT is((SELECT date_of_birth || ' ' || address FROM crm.customers WHERE customer_id = 'ada'), '1980-12-10 {"city": "Ulm"}', 'and the date of birth is not dropped');
SELECT is(crm.update_profile('ada', '{}'), 0, 'nothing given, nothing done');
SELECT crm.update_profile('ada', '{"address": {"city": "Bern"}}', '203.0.113.10', 'Lynx', occurred_at => '2026-01-06 00:00Z') \g /dev/null
SELECT is((SELECT concat_ws(' ', old_value, new_value, ip_address, user_agent) FROM crm.customer_audit_trail WHERE customer_id = 'ada' AND field = 'address' ORDER BY version DESC LIMIT 1), '{"city": "Ulm"} {"city": "Bern"} 203.0.113.10 Lynx', 'from where and with what is in the audit trail, of each change');
SELECT crm.update_profile('ada', '{"address": {"city": "Ulm"}}', occurred_at => '2026-01-06 00:00Z') \g /dev/null
SELECT is(pg_temp.outcome($$ SELECT crm.update_profile('ada', '{"email": "x@y.zz"}') $$), '22023', 'the address is no matter of the profile');
SELECT is((SELECT string_agg(field || ': ' || coalesce(old_value, '-') || ' > ' || coalesce(new_value, '-'), ', ' ORDER BY version, field) FROM crm.customer_audit_trail
	WHERE customer_id = 'ada' AND field IN ('last_name', 'phone')), 'last_name: - > Byron, phone: - > 1, last_name: Byron > Lovelace, phone: 1 > -', 'the audit trail has old and new');

-- ---- consent ----

SELECT is(crm.has_consent('ada', 'marketing', 'email', '2026-01-01 00:00Z'), true, 'consent holds from the moment that it is given');
SELECT is(crm.has_consent('ada', 'marketing', 'email', '2025-12-31 23:59:59.999999Z'), false, 'not before');
SELECT is(crm.has_consent('ada', 'marketing', 'email', '2027-12-31 23:59:59.999999Z'), true, 'until two years later');
SELECT is(crm.has_consent('ada', 'marketing', 'email', '2028-01-01 00:00Z'), false, 'exclusively');
SELECT is(crm.has_consent('ada', 'marketing', 'sms', '2026-02-01'), false, 'for that channel');
SELECT is(crm.has_consent('ada', 'analytics', 'email', '2026-02-01'), false, 'and that purpose');
SELECT is(crm.has_consent('nobody', 'marketing', 'email'), false, 'who is not known consents to nothing');
SELECT is(pg_temp.outcome($$ SELECT crm.grant_consent('ada', 'marketing', 'email', occurred_at => '2026-02-01') $$), 'ZE005 consent_is_not_granted', 'it is not given twice');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('customer-ada', 'ConsentGranted', '{"purpose": "marketing", "channel": "email"}', occurred_at => '2026-02-01') $$),
	'ZE005 consent_is_not_granted', 'by no door');
SELECT is(pg_temp.outcome($$ SELECT crm.grant_consent('ada', 'marketing', 'email', occurred_at => '2028-01-01 00:00Z') $$), 'done', 'but again when it has run out');
SELECT is(pg_temp.outcome($$ SELECT crm.grant_consent('ada', 'fun', 'email') $$), 'ZE007', 'purposes are those of the documents');
SELECT is(pg_temp.outcome($$ SELECT crm.revoke_consent('ada', 'marketing', 'push') $$), 'ZE005 consent_is_there', 'nobody takes back what was not given');
SELECT crm.grant_consent('bob', 'marketing', 'sms', 'popup', '2026-02', '2001:db8::1', 'Firefox', occurred_at => '2024-02-29 12:00Z') \g /dev/null
SELECT is((SELECT expires_at AT TIME ZONE 'UTC' FROM crm.consents WHERE customer_id = 'bob' AND channel = 'sms'), '2026-02-28 12:00'::timestamp, '29 February and two years is 28 February');
SELECT is((SELECT status || ' ' || is_active FROM crm.consents WHERE customer_id = 'bob' AND channel = 'sms'), 'expired false', 'without anybody sweeping');
SELECT is((SELECT concat_ws(' ', consent_method, notice_version, ip_address, user_agent, legal_basis) FROM crm.consent_history WHERE customer_id = 'bob'),
	'popup 2026-02 2001:db8::1 Firefox consent', 'with its evidence');
SELECT crm.renew_consent('bob', 'marketing', 'sms', occurred_at => '2026-03-01 00:00Z') \g /dev/null
SELECT is(crm.has_consent('bob', 'marketing', 'sms', '2026-02-28 18:00Z'), false, 'a renewal does not fill the gap');
SELECT is(crm.has_consent('bob', 'marketing', 'sms', '2026-03-01 00:00Z'), true, 'it begins anew');
SELECT crm.revoke_consent('bob', 'marketing', 'sms', 'asked by mail', occurred_at => '2026-04-01 00:00Z') \g /dev/null
SELECT is(crm.has_consent('bob', 'marketing', 'sms', '2026-03-31 23:59Z'), true, 'before it was taken back it was there');
SELECT is(crm.has_consent('bob', 'marketing', 'sms', '2026-04-01 00:00Z'), false, 'from then on it is not');
SELECT is(pg_temp.outcome($$ SELECT crm.grant_consent('bob', 'marketing', 'sms', occurred_at => '2026-03-15 00:00Z') $$), 'ZE005 consent_is_not_from_before', 'a grant that comes late does not bring it back');
SELECT is(pg_temp.outcome($$ SELECT crm.renew_consent('bob', 'marketing', 'sms', occurred_at => '2026-05-01 00:00Z') $$), 'ZE005 consent_is_there', 'nor does a renewal');
SELECT crm.grant_consent('bob', 'marketing', 'sms', occurred_at => '2026-05-01 00:00Z') \g /dev/null
SELECT crm.revoke_consent('bob', 'marketing', 'sms', occurred_at => '2026-06-01 00:00Z') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT granted_at AT TIME ZONE 'UTC', ended_at AT TIME ZONE 'UTC', ended_by, end_reason FROM crm.consent_history WHERE customer_id = 'bob' ORDER BY version $$, $$ VALUES
	('2024-02-29 12:00'::timestamp, '2026-02-28 12:00'::timestamp, 'ConsentRenewed', NULL), ('2026-03-01', '2026-04-01', 'ConsentRevoked', 'asked by mail'),
	('2026-05-01', '2026-06-01', 'ConsentRevoked', NULL) $$, 'intervals: the second revocation does not touch the first');
SELECT crm.register_customer('early@example.com', '1', customer_id => 'early', occurred_at => '2026-01-01 00:00Z') IS NOT NULL AS ok \gset
SELECT crm.grant_consent('early', 'marketing', 'sms', occurred_at => '2026-05-01 00:00Z') IS NOT NULL AS ok \gset
SELECT crm.revoke_consent('early', 'marketing', 'sms', occurred_at => '2026-04-01 00:00Z') IS NOT NULL AS ok \gset
SELECT is((SELECT ended_at - granted_at FROM crm.consent_history WHERE customer_id = 'early'), '0'::interval, 'none ends before it began');
SELECT crm.set_setting('consent_term_analytics', '13 months') \g /dev/null
SELECT crm.grant_consent('bob', 'analytics', 'email', occurred_at => '2026-01-31 00:00Z') \g /dev/null
SELECT is((SELECT expires_at AT TIME ZONE 'UTC' FROM crm.consents WHERE customer_id = 'bob' AND purpose = 'analytics'), '2027-02-28 00:00'::timestamp, 'the term is a setting of the purpose');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('customer-bob', 'ConsentExpired', '{"purpose": "analytics", "channel": "email", "expiredAt": "2027-02-28"}', occurred_at => '2027-02-27') $$),
	'ZE005 consent_is_over', 'it is not said to have run out before it has');

-- ---- preferences ----

SELECT crm.update_preferences('bob', '{"emailFrequency": "daily", "timezone": "Europe/Berlin", "smsEnabled": true}', occurred_at => '2026-07-02 00:00Z') \g /dev/null
SELECT crm.update_preferences('bob', '{"smsEnabled": false}', occurred_at => '2026-07-03 00:00Z') \g /dev/null
SELECT is((SELECT email_frequency || ' ' || timezone || ' ' || is_sms_enabled FROM crm.preferences WHERE customer_id = 'bob'), 'daily Europe/Berlin false', 'what is not named stays');
SELECT crm.update_preferences('bob', '{"emailFrequency": "never", "smsEnabled": true}', occurred_at => '2026-07-01 00:00Z') \g /dev/null
SELECT is((SELECT email_frequency || ' ' || is_sms_enabled FROM crm.preferences WHERE customer_id = 'bob'), 'daily false', 'what arrives late does not win over what is later');
SELECT crm.update_preferences('bob', '{"emailFrequency": "weekly"}', occurred_at => '2026-07-02 00:00Z') \g /dev/null
SELECT is((SELECT email_frequency FROM crm.preferences WHERE customer_id = 'bob'), 'weekly', 'of two at one time the one recorded last holds');
SELECT is(pg_temp.outcome($$ SELECT crm.update_preferences('bob', '{"emailFrequency": "hourly"}') $$), 'ZE007', 'values are those of the documents');
SELECT is(pg_temp.outcome($$ SELECT crm.update_preferences('bob', '{"emailFrequence": "daily"}') $$), 'ZE007', 'and so are the fields');
SELECT is(pg_temp.outcome($$ SELECT crm.update_preferences('bob', '{"timezone": "Berlin"}') $$), '22023', 'and time zones those that there are');
SELECT is((SELECT count(*) FROM crm.preferences WHERE customer_id = 'ada'), 0::bigint, 'who said nothing has none');
SELECT crm.update_preferences('ada', '{"categories": ["pens", "ink"], "pushCategories": []}', occurred_at => '2026-07-01 00:00Z') \g /dev/null
SELECT is((SELECT categories || '/' || coalesce(push_categories, '-') || '/' || coalesce(email_frequency, '-') FROM crm.preferences WHERE customer_id = 'ada'),
	'pens > ink/-/-', 'lists are text');

-- ---- closing and opening accounts ----

SELECT crm.grant_consent('ada', 'essential', 'email', occurred_at => '2028-01-02 00:00Z') \g /dev/null
SELECT crm.grant_consent('ada', 'marketing', 'push', occurred_at => '2028-01-02 00:00Z') \g /dev/null
SELECT is(crm.deactivate_customer('ada', 'customer-request', occurred_at => '2028-02-01 00:00Z'), 2, 'closing an account takes back the consents to marketing');
SELECT is((SELECT string_agg(purpose || '/' || channel || ' ' || crm.has_consent('ada', purpose, channel, '2028-02-02')::text, ', ' ORDER BY purpose, channel) FROM crm.consents WHERE customer_id = 'ada'),
	'essential/email true, marketing/email false, marketing/push false', 'and no others');
SELECT is((SELECT data->>'previousStatus' FROM eventsource.events WHERE stream = 'customer-ada' AND type = 'CustomerDeactivated'), 'active', 'the database says what the status was');
SELECT is((SELECT DISTINCT end_reason FROM crm.consent_history WHERE customer_id = 'ada' AND ended_by = 'ConsentRevoked'), 'account-deactivated', 'and why consent ended');
SELECT is(pg_temp.outcome($$ SELECT crm.deactivate_customer('bob', 'bored') $$), 'ZE007', 'reasons are those of the documents');
SELECT is(pg_temp.outcome($$ SELECT crm.deactivate_customer('ada', 'fraud') $$), 'ZE002', 'a closed account is not closed again');
SELECT is(pg_temp.outcome($$ SELECT crm.change_email('ada', 'new@example.com') $$), 'ZE002', 'nor changed');
SELECT is(pg_temp.outcome($$ SELECT crm.grant_consent('ada', 'marketing', 'email') $$), 'ZE002', 'nor consented for');
SELECT is(pg_temp.outcome($$ SELECT crm.register_customer('ada@example.org', '1') $$), '23505 customer_email_is_taken', 'its address is not free');
SELECT is((crm.reactivate_customer('ada', occurred_at => '2028-03-01 00:00Z')).state, 'active', 'it is opened again');
SELECT is(crm.has_consent('ada', 'marketing', 'email', '2028-03-02'), false, 'and consent is to be asked for');
SELECT is(crm.deactivate_customer('heir', 'fraud'), 0, 'one that was not proved is closed');
SELECT is((crm.reactivate_customer('heir')).state, 'pending-verification', 'and is opened as that');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('crm.customer') $$, 'customers equal their replay');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('crm.consent_change') $$, 'consents do');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('crm.preference') $$, 'preferences do');
\i test/own_database_end.sql
