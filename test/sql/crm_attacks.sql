\set own_database crm_attacks
\i test/own_database.sql
-- What a role that writes to the CRM, or a stranger, tries.
SET timezone = 'UTC';
CREATE ROLE crm_attacks_app;
CREATE ROLE crm_attacks_stranger;

-- ---- who was there before the extension ----

CREATE SCHEMA crm AUTHORIZATION crm_attacks_stranger;
SET client_min_messages = warning;
CREATE EXTENSION eventsource_crm CASCADE;
SELECT plan(21);
SELECT throws_ok('SELECT crm.install()', '42501', 'schema crm is not the extension''s alone', 'a schema of somebody else is not taken');
ALTER SCHEMA crm OWNER TO postgres;
CREATE TABLE crm.customer (customer_id text PRIMARY KEY);
ALTER TABLE crm.customer OWNER TO crm_attacks_stranger;
SELECT throws_ok('SELECT crm.install()', '42501', 'schema crm is not the extension''s alone', 'nor a table');
DROP TABLE crm.customer;
SELECT lives_ok('SELECT crm.install()', 'without them it installs');
SELECT crm.grant_writer('crm_attacks_app') \g /dev/null

-- ---- expressions that a writer gets in ----

CREATE SCHEMA of_app AUTHORIZATION crm_attacks_app;
SET ROLE crm_attacks_app;
CREATE FUNCTION of_app.seize() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN ALTER ROLE crm_attacks_app CREATEROLE; RETURN true; END $$;
CREATE FUNCTION of_app.is_so(x text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN of_app.seize(); END $$;
CREATE FUNCTION of_app.one() RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN of_app.seize()::integer; END $$;
SELECT lives_ok($$ SELECT eventsource.append('campaign-evil', 'CampaignDefined', '{"trigger": {"event": "PageViewed", "where": "of_app.is_so(event.type)"},
	"steps": [{"type": "send-email", "config": {"templateId": "t"}}], "messageClass": "marketing"}') $$, 'a writer records a definition');
SELECT throws_ok($$ SELECT eventsource.append('crm_setting-payment_backoff_factor', 'setting_changed', '{"value": "of_app.one()"}') $$, '22P02', NULL, 'but no setting that is none');
RESET ROLE;
SELECT is(crm.install(), 0, 'install() defines nothing of that');
SELECT is_empty($$ SELECT name FROM eventsource.reactions WHERE name LIKE 'campaign%' $$, 'there is no reaction');
SET ROLE crm_attacks_app;
SELECT lives_ok($$ SELECT eventsource.append('visit-s', 'PageViewed', '{"pageUrl": "/x"}') $$, 'nothing is evaluated');
RESET ROLE;
SELECT ok(NOT rolcreaterole, 'and nobody has become more') FROM pg_roles WHERE rolname = 'crm_attacks_app';
SELECT crm.create_campaign('mine', '{"event": "CartAbandoned", "where": "row.item_count > 1"}', '[{"type": "send-email", "config": {"templateId": "t"}}]') AS version \gset
SELECT is(crm.install(), 0, 'what create_campaign() defined stays');

-- ---- what nothing could read ----

SET ROLE crm_attacks_app;
SELECT throws_ok($$ SELECT eventsource.append('crm_setting-temperature_hot', 'setting_changed', '{"value": "hot"}') $$, '22P02', NULL, 'a number is one');
SELECT throws_ok($$ SELECT eventsource.append('crm_setting-temperature_hot', 'setting_changed', '{"value": "-1"}') $$, '23514', NULL, 'from 0 up');
SELECT throws_ok($$ SELECT eventsource.append('crm_setting-quiet_hours', 'setting_changed', '{"value": "at night"}') $$, '23514', NULL, 'quiet hours are hours');
SELECT throws_ok($$ SELECT crm.set_setting('payment_retries', 'NaN') $$, '22023', NULL, 'NaN is no number to count with');
SELECT throws_ok($$ SELECT crm.set_setting('temperature_window', '1000000 years') $$, '22023', NULL, 'nor an age a term');
SELECT throws_ok($$ SELECT eventsource.append('crm_rule-cap:x', 'FrequencyCapChanged', '{"channel": "email", "window": "soon", "max": 1}') $$, '22007', NULL, 'the window of a cap is an interval');
SELECT throws_ok($$ SELECT eventsource.append('crm_rule-cap:x', 'FrequencyCapChanged', '{"channel": "email", "max": 99999999999}') $$, '22003', NULL, 'its number one that can be counted to');
SELECT throws_ok($$ SELECT eventsource.append('segment-x', 'SegmentDefined', '{"rule": "((("}') $$, '42601', NULL, 'a rule of a segment can be read');
SELECT throws_ok($$ SELECT eventsource.append('funnel-x', 'FunnelDefined', '{"steps": [{"name": "a", "events": 5}, {"name": "b", "events": ["PageViewed"]}]}') $$, 'ZE007', NULL, 'a stage has events');
SELECT lives_ok($$ SELECT count(temperature) FROM crm.leads $$, 'everything is read as before');
SELECT lives_ok($$ SELECT allowed FROM crm.can_contact('ada', 'email') $$, 'and decided');
RESET ROLE;

\i test/own_database_end.sql
