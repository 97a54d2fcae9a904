\set own_database crm_roles
\i test/own_database.sql
-- Roles: a program that writes, a BI tool that reads; what they can do, and whom they see.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
CREATE ROLE crm_roles_app;
CREATE ROLE crm_roles_bi;
CREATE ROLE crm_roles_sender;
CREATE ROLE crm_roles_admin;
SELECT crm.grant_writer('crm_roles_app'), crm.grant_reader('crm_roles_bi'), crm.grant_writer('crm_roles_sender'), crm.grant_admin('crm_roles_admin') \g /dev/null
SELECT eventsource.create_queue('crm_email', workers => 'crm_roles_sender'), eventsource.grant_personal_data('crm_roles_sender') \g /dev/null
SELECT crm.create_integration('mailer', consumers => 'crm_roles_sender') \g /dev/null
SELECT crm.create_example_campaigns() \g /dev/null
SELECT plan(82);
SET timezone = 'UTC';

-- ---- a program that writes ----

SET ROLE crm_roles_app;
SELECT lives_ok($$ SELECT crm.register_customer('zilda@example.com', '1', first_name => 'Zilda', last_name => 'Zarathustra', phone => '+99 999', marketing_consent => true, ip_address => '203.0.113.77', user_agent => 'Zbrowser', customer_id => 'z') $$, 'a writer registers customers');
SELECT lives_ok($$ SELECT crm.grant_consent('z', 'marketing', 'sms', ip_address => '203.0.113.77') $$, 'records consents');
SELECT lives_ok($$ SELECT crm.revoke_consent('z', 'marketing', 'sms') $$, 'and that they are taken back, with what follows');
SELECT lives_ok($$ SELECT crm.update_preferences('z', '{"emailFrequency": "daily"}') $$, 'preferences');
SELECT pg_temp.refused($$ SELECT crm.update_profile('z', '{"phone": "1"}') $$, '42501 permission denied to see the profile that is changed', 'but does not compare what it may not see');
SELECT lives_ok($$ SELECT crm.change_email('z', 'zilda@example.org') $$, 'a new address');
SELECT lives_ok($$ SELECT crm.add_to_cart('k', 'pen', 1, 60, 'EUR', 'z') $$, 'carts');
SELECT lives_ok($$ SELECT crm.start_checkout('k') $$, 'a checkout');
SELECT lives_ok($$ SELECT crm.place_order('z', '[{"productId": "pen", "quantity": 1, "price": 60}]', 'EUR', order_id => 'o', cart_id => 'k', shipping_address => '{"city": "Zagreb"}') $$, 'orders');
SELECT lives_ok($$ SELECT crm.initiate_payment('o', 'p', 'paypal') $$, 'payments');
SELECT lives_ok($$ SELECT crm.fail_payment('o', 'p', 'TIMEOUT', error_message => 'Zilda has no money') $$, 'that fail');
SELECT lives_ok($$ SELECT crm.retry_payment('o', 'p') $$, 'are tried again');
SELECT lives_ok($$ SELECT crm.record_payment('o', 'p') $$, 'and succeed, with what follows in categories and queues');
SELECT lives_ok($$ SELECT crm.initiate_refund('o', 'r', 'other', 10) $$, 'refunds');
SELECT lives_ok($$ SELECT crm.complete_refund('o', 'r') $$, 'that are paid');
SELECT lives_ok($$ SELECT crm.send_message('z', 'email', 't', 'transactional', message_id => 'm', content => '{"text": "Dear Zilda"}') $$, 'messages');
SELECT lives_ok($$ SELECT crm.add_to_segment('z', 'vip') $$, 'segments');
SELECT lives_ok($$ SELECT crm.trigger_campaign('order-confirmation', 'z') $$, 'campaigns, by hand');
SELECT lives_ok($$ SELECT crm.import_event('Products Searched', 'z', '{"query": "gift for Zilda"}') $$, 'events of others');
SELECT count(*) FROM crm.intake('{"type": "identify", "userId": "z", "anonymousId": "x"}') \g /dev/null
SELECT pg_temp.refused($$ SELECT crm.create_campaign('x', '{"event": "CartAbandoned"}', '[{"type": "send-email", "config": {"templateId": "t"}}]') $$, '42501 permission denied for function create_campaign', 'but defines no campaigns');
SELECT pg_temp.refused($$ SELECT crm.claim_messages('email') $$, '42501 permission denied for queue "crm_email"', 'works in no queue');
SELECT pg_temp.refused($$ SELECT crm.erase_customer('z') $$, '42501 permission denied for view erased_subjects', 'and erases nobody');
SELECT pg_temp.refused($$ SELECT * FROM crm.poll_integration('mailer') $$, '42501 permission denied to see the contacts of an integration', 'nor follows for others');
SELECT pg_temp.refused($$ SELECT crm.install() $$, '42501 permission denied for function install', 'nor installs');
SELECT pg_temp.refused($$ SELECT crm.set_setting('affinity_threshold', '0.1') $$, '42501 permission denied for function set_setting', 'and changes no settings');
SELECT pg_temp.refused($$ SELECT eventsource.append('crm_setting-affinity_threshold', 'setting_changed', '{"value": "0.1"}') $$, '42501 permission denied for category "crm_setting"', 'by no door');
SELECT pg_temp.refused($$ SELECT eventsource.append('campaign-x', 'CampaignDefined', '{"trigger": {"event": "CartAbandoned", "where": "true"}, "steps": [{"type": "wait"}], "messageClass": "marketing"}') $$, '42501 permission denied for category "campaign"', 'nor appends what install() would make reactions of');
SELECT is((SELECT email FROM crm.customers WHERE customer_id = 'z'), '***', 'it sees no personal data');
RESET ROLE;
SELECT crm.create_lead('l', name => 'Zilda', email => 'zilda@example.com') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE error_code IS NOT NULL), 0::bigint, 'what follows is done with the rights of who installed it');
SELECT is((SELECT string_agg(segment_id, ' ' ORDER BY segment_id) FROM crm.segment_members WHERE customer_id = 'z'), 'buyers vip', 'and is there');

-- ---- who sends ----

SELECT eventsource.revoke_personal_data('crm_roles_sender') \g /dev/null
SET ROLE crm_roles_sender;
SELECT throws_ok($$ SELECT crm.claim_messages('email', 10) $$, '42501', 'permission denied to see whom messages go to', 'nobody sends mail to ***');
RESET ROLE;
SELECT eventsource.grant_personal_data('crm_roles_sender') \g /dev/null
SET ROLE crm_roles_sender;
SELECT job_id, attempt, recipient FROM crm.claim_messages('email', 10) WHERE message_id = 'm' \gset
SELECT is(:'recipient'::text, 'zilda@example.org', 'who works in the queue gets messages, and with the right to it the address');
SELECT lives_ok(format($$ SELECT crm.complete_message('m', %s, 'prov', attempt => %s) $$, :job_id, :attempt), 'says that they went out');
SELECT ok((SELECT count(*) > 0 FROM crm.poll_integration('mailer')), 'who follows for others polls');
SELECT lives_ok($$ SELECT crm.ack_integration('mailer', (SELECT max(event_position) FROM crm.poll_integration('mailer')), 'upsert', 'z') $$, 'and acknowledges');

-- ---- a BI tool ----

SELECT crm.update_preferences('z', '{"pushCategories": ["pens"]}') IS NOT NULL AS ok \gset
SELECT eventsource.append('customer-z', 'ProductAffinityDetected', '{"category": "pens", "affinityScore": 0.8}') IS NOT NULL AS ok \gset
SET ROLE crm_roles_bi;
CREATE FUNCTION pg_temp.read_all(pattern text) RETURNS TABLE (view_name text, row_count bigint, telling bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR view_name IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'crm'::regnamespace AND c.relkind = 'v' ORDER BY 1 LOOP
		EXECUTE format('SELECT count(*), count(*) FILTER (WHERE v::text ~ %L) FROM crm.%I v', pattern, view_name) INTO row_count, telling;
		RETURN NEXT;
	END LOOP;
END
$$;
CREATE TEMP TABLE seen AS SELECT * FROM pg_temp.read_all('[Zz]ilda|Zara|99 999|Zagreb|203\.0\.113\.77|Zbrowser');
SELECT cmp_ok((SELECT count(*) FROM seen), '>', 60::bigint, 'a BI tool reads all views');
SELECT is_empty($$ SELECT view_name FROM seen WHERE telling > 0 $$, 'and finds nobody in them');
SELECT is_empty($$ SELECT view_name FROM seen WHERE row_count = 0 AND view_name NOT IN ('abandoned_carts', 'collapse_stage_rates', 'deal_collapse_events', 'deal_collapses', 'lead_assignments', 'lead_bounces',
	'lead_contacts', 'lead_flags', 'lead_timeouts', 'funnel_dropoffs', 'dead_letters', 'product_affinities', 'suppressions', 'campaign_runs', 'messages', 'touchpoints', 'integration_deliveries') $$, 'though there is something in them');
-- Rows whose key is another one's, or is none.
CREATE FUNCTION pg_temp.wrong_keys() RETURNS TABLE (view_name text, wrong bigint) LANGUAGE plpgsql AS $$
DECLARE
	k record;
BEGIN
	FOR k IN SELECT v.view_name AS name, (SELECT string_agg(format('v.%I', c), ', ') FROM unnest(v.key_columns) c) AS key FROM crm.view_keys() v LOOP
		EXECUTE format('SELECT count(*) - count(DISTINCT ROW(%s)) + count(*) FILTER (WHERE NOT ROW(%1$s) IS NOT NULL) FROM crm.%I v', k.key, k.name) INTO wrong;
		view_name := k.name;
		RETURN NEXT;
	END LOOP;
END
$$;
SELECT is_empty('SELECT * FROM pg_temp.wrong_keys() WHERE wrong <> 0', 'B26: keys of views are keys');
SELECT pg_temp.refused($$ SELECT * FROM crm.customer $$, '42501 permission denied for table customer', 'it reads no tables');
SELECT is(eventsource.is_preloaded() OR EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database() AND s.setrole = 0 AND s.setconfig::text ~ 'session_preload_libraries=[^=]*eventsource'), true, 'its sessions load the library at their start, so that the first query works');
SELECT pg_temp.refused($$ SELECT crm.update_preferences('z', '{}') $$, '42501 permission denied for function update_preferences', 'and changes nothing');
RESET ROLE;
SELECT eventsource.grant_personal_data('crm_roles_bi') \g /dev/null
SET ROLE crm_roles_bi;
SELECT pg_temp.refused('SELECT crm.preload_library()', '42501 permission denied for function preload_library', 'which not everybody decides');
SELECT ok((SELECT bool_and(telling > 0) FROM pg_temp.read_all('Zilda|zilda@') WHERE view_name IN ('customers', 'customer_360', 'customer_audit_trail', 'leads', 'lead_timeline')), 'with the right to it, it finds her');
RESET ROLE;

-- ---- an admin of the CRM ----

CREATE VIEW pg_temp.kept AS SELECT p.oid::regprocedure::text AS name FROM pg_proc p WHERE p.pronamespace IN ('crm'::regnamespace, 'eventsource'::regnamespace) AND has_function_privilege('crm_roles_admin', p.oid, 'EXECUTE') AND NOT has_function_privilege('public', p.oid, 'EXECUTE');
GRANT SELECT ON pg_temp.kept TO crm_roles_admin;
SET ROLE crm_roles_admin;
SELECT lives_ok($$ SELECT crm.set_setting('affinity_threshold', '0.6') $$, 'an admin changes settings');
SELECT lives_ok($$ SELECT crm.set_channel_rule('sms', 'marketing', '{"isAllowed": true}') $$, 'channel rules');
SELECT lives_ok($$ SELECT crm.set_frequency_cap('sms-daily', 'sms', 1, '1 day') $$, 'and caps');
SELECT lives_ok($$ SELECT crm.define_segment('big', '$.ltv > 10') $$, 'defines segments');
SELECT lives_ok($$ SELECT crm.recalculate_segments() $$, 'that take effect');
SELECT lives_ok($$ SELECT crm.drop_segment('big') $$, 'and drops them');
SELECT lives_ok($$ SELECT crm.define_funnel('short', '[{"name": "seen", "events": ["PageViewed"]}, {"name": "bought", "events": ["OrderPlaced"]}]') $$, 'funnels');
SELECT lives_ok($$ SELECT crm.create_integration('other', consumers => 'crm_roles_sender') $$, 'integrations');
SELECT lives_ok($$ SELECT crm.drop_integration('other') $$, 'that end');
SELECT is(crm.create_campaign('x', '{"event": "CartAbandoned", "conditions": {"totalValue": {"$gte": 5}}}', '[{"type": "send-email", "config": {"templateId": "t"}}]'), 1, 'campaigns');
SELECT is(crm.create_campaign('x2', '{"event": "OrderDelivered", "conditions": {"productCategory": "ink"}}', '[{"type": "send-email", "config": {"templateId": "t"}}]'), 1, 'also by categories');
SELECT pg_temp.refused('SELECT crm.set_retention_defaults()', '42501 permission denied for function set_retention_defaults', 'but how long what is kept, the owner says');
SELECT is(crm.create_campaign('x', '{"event": "CartAbandoned"}', '[{"type": "send-email", "config": {"templateId": "t"}}]'), 2, 'and versions of them');
SELECT is(crm.create_example_campaigns(), 10, 'those of the documents');
SELECT pg_temp.refused($$ SELECT crm.create_campaign('y', '{"event": "CartAbandoned", "where": "true"}', '[{"type": "send-email", "config": {"templateId": "t"}}]') $$, '42501 permission denied to give campaign "y" an expression', 'but none with an expression, which would have the rights of another');
SELECT pg_temp.refused($$ SELECT crm.put_campaign('y', '{"event": "CartAbandoned"}', '[{"type": "send-email", "config": {"templateId": "t"}}]', 'marketing', NULL, NULL) $$, '42501 permission denied for function put_campaign', 'by no door');
SELECT pg_temp.refused($$ SELECT eventsource.append('campaign-x', 'CampaignDefined', '{"trigger": {"event": "CartAbandoned", "where": "true"}, "steps": [{"type": "wait"}], "messageClass": "marketing"}') $$, '42501 permission denied for category "campaign"', 'nor by hand');
SELECT is(crm.install(), 0, 'install() makes what is missing');
SELECT lives_ok($$ SELECT crm.pause_campaign('x'), crm.resume_campaign('x'), crm.trigger_campaign('x', 'z') $$, 'a campaign rests, and goes on');
SELECT pg_temp.refused($$ SELECT crm.end_campaign('x|.*') $$, '42704 there is no campaign "x|.*"', 'to end what is none ends no other');
SELECT ok((SELECT count(*) > 10 FROM eventsource.reactions r WHERE r.name LIKE 'campaign\_%'), 'that is');
SELECT lives_ok($$ SELECT crm.end_campaign('x') $$, 'and it ends');
SELECT is((SELECT status FROM crm.campaigns WHERE campaign_id = 'x'), 'ended', 'for good');
SELECT pg_temp.refused($$ SELECT eventsource.create_reaction('r', 'order', 'OrderPlaced', action => '{"enqueue": "q"}') $$, '42501 permission denied for function create_reaction', 'he defines nothing else');
SELECT pg_temp.refused($$ SELECT eventsource.create_category('c') $$, '42501 permission denied for function create_category', 'no category');
SELECT pg_temp.refused($$ SELECT eventsource.append('other-1', 'x') $$, '42501 permission denied for category "other"', 'appends nothing outside');
SELECT pg_temp.refused($$ SELECT crm.erase_customer('z') $$, '42501 permission denied for view erased_subjects', 'erases nobody');
SELECT pg_temp.refused($$ SELECT crm.grant_admin('crm_roles_bi') $$, '42501 permission denied for function grant_admin', 'gives no rights');
SELECT is((SELECT email FROM crm.customers WHERE customer_id = 'z'), '***', 'and sees no personal data');
RESET ROLE;
SELECT is((SELECT changed_by FROM crm.campaigns WHERE campaign_id = 'x'), (SELECT session_user::text), 'who did it is recorded');

-- ---- taken back ----

SELECT crm.revoke_admin('crm_roles_admin') \g /dev/null
SET ROLE crm_roles_admin;
SELECT pg_temp.refused($$ SELECT crm.set_setting('affinity_threshold', NULL) $$, '42501 permission denied for function set_setting', 'who is no admin any more defines nothing');
SELECT lives_ok($$ SELECT crm.create_lead('l2') $$, 'but writes');
RESET ROLE;
SELECT crm.revoke_writer('crm_roles_admin') \g /dev/null
SET ROLE crm_roles_admin;
SELECT pg_temp.refused($$ SELECT crm.create_lead('l3') $$, '42501 permission denied for function create_lead', 'who is no writer any more writes nothing');
SELECT pg_temp.refused($$ SELECT eventsource.append('lead-l3', 'contact_form_submission') $$, '42501 permission denied for function append', 'by no door');
SELECT is((SELECT count(*) FROM crm.leads WHERE lead_id = 'l2'), 1::bigint, 'but reads');
SELECT is_empty('SELECT * FROM crm.reconcile()', 'and compares the ledger');
RESET ROLE;
SELECT crm.revoke_reader('crm_roles_admin') \g /dev/null
SET ROLE crm_roles_admin;
SELECT pg_temp.refused($$ SELECT * FROM crm.leads $$, '42501 permission denied for schema crm', 'who is no reader any more reads nothing');
RESET ROLE;
SELECT is_empty($$ SELECT name FROM pg_temp.kept WHERE name <> 'crm.expect_installed_again()' $$, 'and has no function left but what is everybody''s');
\i test/own_database_end.sql
