\set own_database crm_not_repeated_log
\i test/own_database.sql
-- Faults of the documents' code about the log, schemas, followers, retention and health, by their numbers in docs/checklist.md: each is tried, and not repeated.
SET eventsource.segment_size = 100;
CREATE EXTENSION eventsource_crm;
SELECT plan(52);
SELECT is_empty($$ SELECT * FROM eventsource.health() WHERE status = 'degraded' $$, 'X63: health of an empty log is no crash');
SELECT is((SELECT count(*) FROM eventsource.health_status), 1::bigint, 'X63: it is one row');
SELECT crm.install() \g /dev/null
-- Longer than these tests will be run, whatever they say of 2026.
SELECT crm.set_setting('consent_term_marketing', '90 years') \g /dev/null
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';

SELECT crm.set_retention_defaults() \g /dev/null

-- ---- order and versions ----

SELECT crm.register_customer('ada@example.com', '1', marketing_consent => true, customer_id => 'ada', occurred_at => '2026-01-01') \g /dev/null
SELECT is((SELECT count(DISTINCT occurred_at) || ' ' || string_agg(type, ' ' ORDER BY version) FROM eventsource.events WHERE stream = 'customer-ada'), '1 CustomerCreated TermsAccepted ConsentGranted EmailVerificationRequested',
	'X2: four events of one moment are in the order in which they were appended');
SELECT is((SELECT array_agg(version ORDER BY position) FROM eventsource.events WHERE stream = 'customer-ada'), '{1,2,3,4}', 'X1: versions count');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('customer-ada', 'PreferencesUpdated', '{"preferences": {"smsEnabled": true}}', expected_version => 4) $$), 'done', 'X1: who has seen the latest version appends');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('customer-ada', 'PreferencesUpdated', '{"preferences": {"smsEnabled": false}}', expected_version => 4) $$), '40001', 'X1: who has not is told to look again');
SELECT is((SELECT is_sms_enabled FROM crm.preferences WHERE customer_id = 'ada'), true, 'X1: and nothing is lost');
SELECT crm.update_preferences('ada', '{"smsEnabled": false}', occurred_at => '2025-01-01') \g /dev/null
SELECT is((SELECT version FROM eventsource.events WHERE stream = 'customer-ada' AND occurred_at < '2026-01-01'), 6::bigint, 'X70: what arrives late is in the log where it arrived');
SELECT is((SELECT is_sms_enabled FROM crm.preferences WHERE customer_id = 'ada'), true, 'X70: the later one holds for preferences alone');

-- ---- one transaction ----

SELECT crm.create_integration('crm2') \g /dev/null
SELECT count(*) AS n FROM eventsource.jobs \gset
SELECT is(pg_temp.outcome($$ SELECT crm.send_message('ada', 'email', 't', message_id => 'm1'), 1 / 0 $$), '22012', 'X3: a program that fails');
SELECT is((SELECT (SELECT count(*) FROM eventsource.jobs) - :n || ' ' || count(*) FROM eventsource.events WHERE stream = 'message-m1'), '0 0', 'X3: leaves neither an event without its job nor a job without its event');
SELECT crm.send_message('ada', 'email', 't', message_id => 'm2') \g /dev/null
SELECT is((SELECT count(*) - :n FROM eventsource.jobs), 1::bigint, 'X3: one that does not leaves both');
SELECT is((SELECT count(*) FROM crm.poll_integration('crm2')), 2::bigint, 'X3: and who follows the log is told, without anybody publishing');
SELECT is(pg_temp.outcome($$ SELECT crm.create_lead('half', agent_id => '') $$), 'ZE007', 'X78: a command whose second event is refused');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'lead-half'), 0::bigint, 'X78: leaves nothing of the first');
SELECT is(pg_temp.outcome($$ SELECT crm.deactivate_customer('ada', 'bored') $$), 'ZE007', 'X78: of a deactivation');
SELECT is(crm.has_consent('ada', 'marketing', 'email', '2026-02-01'), true, 'X78: that is refused no consent is taken back');
SELECT is((SELECT string_agg(event_position::text, ' ') FROM crm.poll_integration('crm2', 1)), (SELECT string_agg(event_position::text, ' ') FROM crm.poll_integration('crm2', 1)), 'X61: what was read and not acknowledged is not lost: it comes again');
SELECT crm.nack_integration('crm2', min(event_position), 'upsert', 'ada', 'TIMEOUT') FROM crm.poll_integration('crm2') \g /dev/null
SELECT is((SELECT min(event_position) FROM crm.poll_integration('crm2')), (SELECT position FROM eventsource.events WHERE stream = 'customer-ada' AND version = 1), 'X61: and what failed, too');

-- ---- one event, many readers ----

SELECT is((SELECT concat_ws(' ', (SELECT consents ? 'marketing/email' FROM crm.customer WHERE customer_id = 'ada'), (SELECT count(*) FROM crm.consent_history WHERE customer_id = 'ada'), (SELECT consents FROM crm.customer_360 WHERE customer_id = 'ada'),
	(SELECT count(*) FROM crm.journeys WHERE customer_id = 'ada' AND event_type = 'ConsentGranted'))), 't 1 marketing/email 1', 'X71: a consent reaches the customer, the history, the 360 and the journey');
SELECT crm.place_order('ada', '[{"productId": "pen", "quantity": 1, "price": 10}]', 'EUR', order_id => 'o1', cart_id => 'k1') \g /dev/null
SELECT is((SELECT string_agg(DISTINCT category, ' ' ORDER BY category) FROM eventsource.events WHERE subject = 'customer-ada'), 'cart customer integration message order', 'X7: orders, carts and messages are streams of their own, about their customer');
SELECT is((SELECT count(*) FROM eventsource.read_stream('order-o1')), 1::bigint, 'X7: and are read by themselves');

-- ---- long histories, and bounds ----

SELECT count(eventsource.append('customer-ada', 'PreferencesUpdated', jsonb_build_object('preferences', jsonb_build_object('categories', jsonb_build_array(i::text))), occurred_at => '2026-02-01'::timestamptz + i * interval '1 second')) AS done FROM generate_series(1, 1500) i \gset
SELECT is((SELECT categories FROM crm.preferences WHERE customer_id = 'ada'), '1500', 'X5: the last of 1,500 events counts');
SELECT is((SELECT jsonb_array_length(eventsource.export_subject('customer-ada')->'events') > 1500), true, 'X5: an export has them all');
SELECT is((SELECT sum(n) FROM (SELECT count(*) AS n FROM generate_series(1, 1600, 100) f, eventsource.read_stream('customer-ada', f, 100)) x), 1506::numeric, 'X5: page by page as well');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('crm.customer') $$, 'X5: a replay reads to the end');
SELECT eventsource.append('visit-b', 'PageViewed', '{"pageUrl": "/", "customerId": "b"}', occurred_at => '2026-01-01'::timestamptz + i * interval '1 day') FROM generate_series(0, 2) i \g /dev/null
SELECT is((SELECT string_agg(unique_users::text, ' ' ORDER BY step_number) FROM crm.funnel('purchase', '2026-01-04')), '0 0 0 0 0', 'X6: a beginning is looked at');
SELECT is((SELECT string_agg(unique_users::text, ' ' ORDER BY step_number) FROM crm.funnel('purchase', end_at => '2026-01-01')), '0 0 0 0 0', 'X6: and an end');

-- ---- schemas ----

SELECT is(pg_temp.outcome($$ SELECT eventsource.append('visit-b', 'VideoWatched', '{"videoId": "v"}') $$), 'ZE007', 'X65: an append looks at the schema');
SELECT eventsource.append('visit-b', 'VideoWatched', '{"videoId": "v", "watchDuration": 30, "totalDuration": 60}') \g /dev/null
SELECT schema AS v1 FROM eventsource.event_types WHERE type = 'VideoWatched' \gset
SELECT is(pg_temp.outcome(format($$ SELECT eventsource.register_event_type('VideoWatched', 'visit', %L, version => 2) $$, jsonb_set(:'v1', '{required}', '["videoId", "watchDuration", "totalDuration", "quality"]') || '{"title": "2"}')), 'ZE011', 'X65: a schema that old readers or old events do not bear is refused');
SELECT eventsource.register_event_type('VideoWatched', 'visit', jsonb_set(:'v1', '{properties,quality}', '{"type": "string"}') || '{"required": ["videoId", "watchDuration", "totalDuration", "quality"]}', version => 2, compatibility => 'none') \g /dev/null
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('visit-b', 'VideoWatched', '{"videoId": "v", "watchDuration": 30, "totalDuration": 60}', schema_version => 1) $$), 'done', 'X65: an event is judged by the version that it has');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('visit-b', 'VideoWatched', '{"videoId": "v", "watchDuration": 30, "totalDuration": 60}', schema_version => 2) $$), 'ZE007', 'X65: and by no other');
SELECT is((SELECT version FROM eventsource.event_types WHERE type = 'VideoWatched'), 2, 'X65: the latest is the highest');
SELECT eventsource.create_upcaster('VideoWatched', 1, 2, $$ event.data || '{"quality": "unknown"}' $$, 'visit') \g /dev/null
SELECT is((SELECT string_agg(schema_version || ' ' || (data->>'quality'), ', ' ORDER BY version) FROM eventsource.events WHERE stream = 'visit-b' AND type = 'VideoWatched'), '1 unknown, 1 unknown', 'X73: an upcaster is called by who reads');
SELECT is((SELECT bool_and(is_upcast) FROM eventsource.events WHERE stream = 'visit-b' AND type = 'VideoWatched'), true, 'X74: what it adds is marked as derived');
SELECT is((SELECT bool_or(eventsource.stored_data(position) ? 'quality') FROM eventsource.events WHERE stream = 'visit-b' AND type = 'VideoWatched'), false, 'X74: and is not in what is stored');

-- ---- terms ----

SELECT is_empty($$ SELECT category FROM eventsource.retention_policies WHERE is_current GROUP BY category HAVING count(*) > 1 $$, 'X67: a category has one term');
SELECT is((SELECT string_agg(category || ' ' || class || coalesce(' ' || total, ''), ', ' ORDER BY category) FROM eventsource.retention_policies WHERE category IN ('customer', 'account', 'order', 'visit')),
	'account kept, customer kept, order ordinary 7 years, visit disposable 2 years', 'X67: that is written down: consent and money are kept');
SELECT is((SELECT extract(year FROM '2026-03-01'::timestamptz + total) FROM eventsource.retention_policies WHERE category = 'order') || ' ' || extract(day FROM '2026-03-01'::timestamptz + interval '7 years'), '2033 1', 'X4: seven years are seven years, and not 7 x 365 days');
SELECT is((SELECT count(*) FROM eventsource.archive_due() WHERE action = 'pruned'), 0::bigint, 'X4: nothing goes by itself before');
SELECT is((SELECT count(*) FROM crm.consent_history WHERE customer_id = 'ada'), 1::bigint, 'X4: least of all a source of truth');
SELECT eventsource.set_retention('visit', detail => '0', total => '0', class => 'disposable'), eventsource.set_retention('customer', detail => '0', class => 'kept', consent_types => '{ConsentGranted}') \g /dev/null
SELECT count(eventsource.append('visit-' || i % 3, 'PageViewed', '{"pageUrl": "/"}')) AS done FROM generate_series(1, 250) i \gset
SELECT sum(events) AS pruned FROM eventsource.archive_due() WHERE action = 'pruned' \gset
SELECT is(:pruned > 100, true, 'X68: an archiver that takes page views');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'customer-ada') || ' ' || crm.has_consent('ada', 'marketing', 'email', '2026-02-01'), '1506 true', 'X68: takes no consent, and no CustomerCreated');
SELECT is_empty($$ SELECT t, v.key FROM unnest('{crm.customer,crm.consent_change,crm.preference}'::regclass[]) t, eventsource.verify_projection(t) v $$, 'X68: a replay is not broken');
SELECT is((SELECT sum(total_events) FROM eventsource.event_summaries WHERE category = 'visit'), (:pruned + (SELECT count(*) FROM eventsource.archived_events WHERE category = 'visit'))::numeric, 'X6: a summary tells of what went or is archived, and of nothing else');

-- ---- health ----

SELECT eventsource.append('visit-future', 'PageViewed', '{"pageUrl": "/"}', occurred_at => now() + interval '20 years') \g /dev/null
SELECT is((SELECT status || ' ' || (value < 60) FROM eventsource.health() h WHERE h."check" = 'feed lag'), 'healthy true', 'X63: an event of the future is no lag');
SELECT is((SELECT max_lag FROM eventsource.subscriptions WHERE name = 'crm_crm2'), interval '1 minute', 'X62: each follower has its own limit');
SELECT is((SELECT count(DISTINCT mode) || ' ' || min(mode) FROM eventsource.projections), '1 inline', 'X62: projections of the CRM are never behind');
SELECT is_empty($$ SELECT * FROM eventsource.health() h WHERE h.status = 'degraded' AND h."check" IN ('feed lag', 'parked events', 'guards', 'retention') $$, 'X63: each check can be made');

-- ---- what was there before ----

SELECT crm.backfill_lead('old', 'QUALIFIED', '2025-01-01', '2025-06-01') \g /dev/null
SELECT is((SELECT is_synthetic || ' ' || occurred_at || ' ' || (recorded_at > now() - interval '1 hour') FROM crm.lead_timeline WHERE lead_id = 'old'), 'true 2025-06-01 00:00:00+00 true', 'X79: a past that is told later says so, and when it was told');
SELECT is((SELECT string_agg(column_name, ' ' ORDER BY column_name) FROM information_schema.columns WHERE table_schema = 'crm' AND table_name = 'lead_state_visits' AND column_name IN ('event_type', 'reason', 'reason_category')), 'event_type reason reason_category', 'X66: what happened and why are two things');
SELECT is((SELECT count(*) FROM eventsource.state_machine_transitions t WHERE t.state_machine = 'crm_lead' AND t.is_current AND t.type = 'deal_collapsed' AND t.from_state <> 'COMMITTED'), 0::bigint, 'X66: what collapses before a contract is told from a contract that is voided');
\i test/own_database_end.sql
