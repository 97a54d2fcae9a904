\set own_database crm_lead_reasons
\i test/own_database.sql
-- What a brokerage makes its own: reason codes, the terms of leads, points of signals; and flags against channels, all pairs.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
CREATE ROLE crm_reasons_admin;
CREATE ROLE crm_reasons_app;
SELECT crm.grant_admin('crm_reasons_admin'), crm.grant_writer('crm_reasons_app') \g /dev/null
SELECT plan(75);
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
CREATE SEQUENCE lead_number;

-- A lead in a state, by the shortest way.
CREATE FUNCTION pg_temp.lead_in(wanted text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	id CONSTANT text := 'l' || nextval('lead_number');
	step text;
BEGIN
	PERFORM crm.create_lead(id, agent_id => 'joe', occurred_at => '2026-01-01 00:00Z');
	FOREACH step IN ARRAY CASE wanted WHEN 'NEW' THEN '{}' WHEN 'CONTACTING' THEN '{contact_attempted}' WHEN 'QUALIFIED' THEN '{contact_attempted,motivation_confirmed}'
			WHEN 'COMMITTED' THEN '{contact_attempted,motivation_confirmed,buyer_agreement_signed}'
			WHEN 'IN_CONTRACT' THEN '{contact_attempted,motivation_confirmed,buyer_agreement_signed,contract_executed}' END::text[] LOOP
		PERFORM crm.transition_lead(id, step, data => CASE step WHEN 'contact_attempted' THEN '{"channel": "phone"}' ELSE '{}' END::jsonb, occurred_at => '2026-01-02 00:00Z');
	END LOOP;
	RETURN id;
END
$$;
-- Where an event leads, or how it is refused.
CREATE FUNCTION pg_temp.step(lead_id text, type text, reason text DEFAULT NULL, data jsonb DEFAULT '{}', occurred_at timestamptz DEFAULT '2026-02-02 00:00Z', actor text DEFAULT NULL)
	RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	name text;
BEGIN
	RETURN (crm.transition_lead(lead_id, type, reason, data, occurred_at => occurred_at, actor => actor)).state;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME;
	RETURN trim(SQLSTATE || ' ' || name);
END
$$;
CREATE FUNCTION pg_temp.hint_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE query;
	RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN hint;
END
$$;

-- ---- the codes there are ----

SELECT is((SELECT count(*) FROM crm.lead_reasons WHERE is_default AND NOT is_retired), (SELECT count(*) FROM crm.lead_reasons), 'the codes there are, and none is changed');
SELECT set_eq($$ SELECT t.type, r.code FROM eventsource.state_machine_transitions t, unnest(t.reasons) r (code) WHERE t.state_machine = 'crm_lead' AND t.is_current $$,
	'SELECT event_type, reason FROM crm.lead_event_reasons WHERE NOT is_retired', 'the machine takes what the view says');
SELECT set_eq($$ SELECT DISTINCT event_type FROM crm.lead_event_reasons WHERE is_required $$, ARRAY['deal_collapsed', 'contract_voided', 'bogus_contact_detected'], 'three events need one');
SELECT is_empty($$ SELECT DISTINCT type FROM eventsource.state_machine_transitions WHERE state_machine = 'crm_lead' AND is_current AND kind = 'backward' AND type NOT LIKE 'timeout%'
	EXCEPT SELECT event_type FROM crm.lead_event_reasons WHERE is_required $$, 'and no move back is without');

-- ---- one of one's own ----

SELECT pg_temp.lead_in('IN_CONTRACT') AS lead \gset
SELECT is(pg_temp.step(:'lead', 'contract_voided', 'hoa_refused'), 'ZE004', 'an unknown code is refused');
SELECT pg_temp.refuses($$ SELECT crm.define_lead_reason('hoa_refused', 'The HOA refused') $$, '22023', 'reason "hoa_refused" is new, and not told of in full', 'a new one is told of in full');
SELECT is(pg_temp.hint_of($$ SELECT crm.define_lead_reason('hoa_refused', 'The HOA refused') $$),
	'Events that take such codes: deal_collapsed, contract_voided, bogus_contact_detected, lead_assigned, contact_attempted, flag_set, flag_cleared.', 'the hint says what for');
SELECT pg_temp.refused($$ SELECT crm.define_lead_reason('hoa_refused', 'The HOA refused', 'property', '{contract_avoided}') $$, 'ZE007 data does not match version 1 of event type "LeadReasonDefined"', 'an event that takes none is refused');
SELECT pg_temp.refused($$ SELECT crm.define_lead_reason('hoa refused', 'The HOA refused', 'property', '{contract_voided}') $$, 'ZE007 data does not match version 1 of event type "LeadReasonDefined"', 'and a code that is none');
SELECT is(pg_temp.step(:'lead', 'contract_voided', 'hoa_refused'), 'ZE004', 'nothing has come of that');
SELECT lives_ok($$ SELECT crm.define_lead_reason('hoa_refused', 'The HOA refused', 'property', '{contract_voided}', phrase => 'the HOA refused', actor => 'agent:eve') $$, 'a code is defined');
SELECT is(pg_temp.step(:'lead', 'contract_voided', 'hoa_refused'), 'QUALIFIED', 'and holds at once');
SELECT is(pg_temp.step(pg_temp.lead_in('COMMITTED'), 'deal_collapsed', 'hoa_refused'), 'ZE004', 'for the event that it was defined for');
SELECT is(pg_temp.step(pg_temp.lead_in('COMMITTED'), 'deal_collapsed', 'financing'), 'QUALIFIED', 'the others hold as before');
SELECT is((SELECT sentence FROM crm.lead_timeline WHERE lead_id = :'lead' ORDER BY version DESC LIMIT 1),
	initcap(current_user) || ' recorded contract voided (IN_CONTRACT to QUALIFIED) on February 2nd because the HOA refused', 'in words');
SELECT is((SELECT (reason, reason_category, reason_label)::text FROM crm.deal_collapse_events WHERE lead_id = :'lead'), '(hoa_refused,property,"The HOA refused")', 'in reports');
SELECT is((SELECT (reason_label, is_default, is_retired, changed_by)::text FROM crm.lead_reasons WHERE reason = 'hoa_refused'), '("The HOA refused",f,f,agent:eve)', 'and who said so is kept');
SELECT is((SELECT string_agg(type, ' ') FROM eventsource.events WHERE stream = 'crm_rule-lead_reason:hoa_refused'), 'LeadReasonDefined', 'as an event');
SELECT ok(pg_temp.hint_of(format($$ SELECT crm.transition_lead('%s', 'contract_voided') $$, pg_temp.lead_in('IN_CONTRACT'))) ~ '^Reason codes: .*hoa_refused', 'who gives none is told of it');
SELECT is((SELECT count(*) FROM crm.frequency_caps) + (SELECT count(*) FROM crm.channel_rules WHERE NOT is_default), (SELECT count(*) FROM crm.frequency_cap_defaults()), 'it is no cap and no rule of a channel');

-- ---- other words ----

SELECT crm.define_lead_reason('financing', 'The bank refused', actor => 'agent:eve') \g /dev/null
SELECT is((SELECT (reason_label, reason_category, phrase, is_default)::text FROM crm.lead_reasons WHERE reason = 'financing'), '("The bank refused",financing,"financing fell through",f)', 'one of ours has another name; the rest stays');
SELECT set_eq($$ SELECT DISTINCT reason_label FROM crm.deal_collapses WHERE reason = 'financing' $$, ARRAY['The bank refused'], 'for what was recorded before, too');
SELECT is((SELECT string_agg(event_type, ' ' ORDER BY event_type) FROM crm.lead_event_reasons WHERE reason = 'financing'), 'contract_voided deal_collapsed', 'and the same events take it');
SELECT crm.define_lead_reason('mutual_release', event_types => '{contract_voided,deal_collapsed}') \g /dev/null
SELECT is(pg_temp.step(pg_temp.lead_in('COMMITTED'), 'deal_collapsed', 'mutual_release'), 'QUALIFIED', 'another event takes one');

-- ---- not any more ----

SELECT pg_temp.lead_in('CONTACTING') AS calm \gset
SELECT crm.assign_lead(:'calm', 'ryan', 'pto', actor => 'agent:joe', occurred_at => '2026-01-03 00:00Z') \g /dev/null
SELECT crm.retire_lead_reason('pto', actor => 'agent:eve'), crm.retire_lead_reason('hoa_refused') \g /dev/null
SELECT is(pg_temp.step(:'calm', 'lead_assigned', 'pto', '{"agent_id": "josh"}'), 'ZE004', 'what is retired is refused');
SELECT is(pg_temp.step(pg_temp.lead_in('IN_CONTRACT'), 'contract_voided', 'hoa_refused'), 'ZE004', 'one of one''s own, too');
SELECT is(pg_temp.step(:'calm', 'motivation_confirmed', 'pto'), 'ZE004', 'also where any code is taken');
SELECT is((SELECT is_retired FROM crm.lead_reasons WHERE reason = 'pto'), true, 'the view has it still');
SELECT is((SELECT (reason, reason_label)::text FROM crm.lead_assignments WHERE lead_id = :'calm' AND is_current), '(pto,"The agent is away")', 'and what was recorded with it has its words');
SELECT is((SELECT (reason, reason_label)::text FROM crm.deal_collapse_events WHERE lead_id = :'lead'), '(hoa_refused,"The HOA refused")', 'in reports');
SELECT position, data FROM eventsource.events WHERE stream = 'lead-' || :'calm' AND reason = 'pto' \gset
SELECT lives_ok(format($$ SELECT eventsource.correct_event(%s, %L, 'typing_error', 'agent:eve') $$, :position, :'data'::jsonb || '{"agent_id": "rita"}'), 'it can be corrected');
SELECT is((SELECT (agent_id, reason)::text FROM crm.lead_assignments WHERE lead_id = :'calm' AND is_current), '(rita,pto)', 'and has its reason still');
SELECT is((SELECT count(*) FROM eventsource.projections p, eventsource.verify_projection(p.name)), 0::bigint, 'every projection is what the log says');
SELECT pg_temp.refuses($$ SELECT crm.retire_lead_reason('pto') $$, '42704', 'there is no reason "pto" that holds', 'what is retired is not retired again');
SELECT pg_temp.refuses($$ SELECT crm.retire_lead_reason('no_such') $$, '42704', 'there is no reason "no_such" that holds', 'nor what there never was');
SELECT crm.define_lead_reason('pto') \g /dev/null
SELECT is(pg_temp.step(:'calm', 'lead_assigned', 'pto', '{"agent_id": "josh"}'), 'CONTACTING', 'what is defined again holds again, as it was');
SELECT is((SELECT (reason_label, phrase, is_retired)::text FROM crm.lead_reasons WHERE reason = 'pto'), '("The agent is away","of PTO",f)', 'in the same words');

SELECT crm.retire_lead_reason(r) FROM unnest('{wrong_number,fake_identity,duplicate}'::text[]) r \g /dev/null
SELECT pg_temp.refuses($$ SELECT crm.retire_lead_reason('spam') $$, '55000', 'reason "spam" is the last that bogus_contact_detected takes', 'an event that needs a reason is not left without');
SELECT pg_temp.refuses($$ SELECT crm.define_lead_reason('spam', event_types => '{flag_set}') $$, '55000', 'reason "spam" is the last that bogus_contact_detected takes', 'by no door');
SELECT is(pg_temp.step(pg_temp.lead_in('NEW'), 'bogus_contact_detected', 'spam'), 'TRASHED', 'it holds');
SELECT crm.retire_lead_reason(r) FROM unnest('{legal_duty,data_error}'::text[]) r \g /dev/null
SELECT crm.define_lead_reason('client_asked', event_types => '{lead_assigned}') \g /dev/null
SELECT is(pg_temp.step(pg_temp.lead_in('NEW'), 'flag_set', 'client_asked', '{"flag": "dnc"}'), 'ZE004', 'where none is left, none is taken');
SELECT is(pg_temp.step(pg_temp.lead_in('NEW'), 'flag_set', NULL, '{"flag": "dnc"}'), 'NEW', 'and none is needed');
SELECT crm.define_lead_reason('client_asked', event_types => '{lead_assigned,contact_attempted,flag_set,flag_cleared}'), crm.define_lead_reason('legal_duty') \g /dev/null

-- ---- install() ----

SELECT is(crm.install(), 0, 'install() finds all as it should be');
SELECT is(pg_temp.step(pg_temp.lead_in('COMMITTED'), 'deal_collapsed', 'mutual_release'), 'QUALIFIED', 'and keeps what was defined');
SELECT eventsource.append('crm_rule-lead_reason:flood', 'LeadReasonDefined', '{"code": "flood", "label": "Flood", "category": "property", "phrase": "of a flood", "eventTypes": ["deal_collapsed"]}') \g /dev/null
SELECT is(pg_temp.step(pg_temp.lead_in('COMMITTED'), 'deal_collapsed', 'flood'), 'ZE004', 'what is appended by hand');
SELECT is(crm.install(), 1, 'is put into effect by install()');
SELECT is(pg_temp.step(pg_temp.lead_in('COMMITTED'), 'deal_collapsed', 'flood'), 'QUALIFIED', 'alone');

-- ---- who may ----

SET ROLE crm_reasons_app;
SELECT pg_temp.refused($$ SELECT crm.define_lead_reason('mine', 'Mine', 'mine', '{deal_collapsed}') $$, '42501 permission denied for function define_lead_reason', 'a writer defines no reasons');
SELECT pg_temp.refused($$ SELECT crm.retire_lead_reason('flood') $$, '42501 permission denied for function retire_lead_reason', 'nor retires one');
SELECT pg_temp.refused($$ SELECT crm.put_own_lead_machine() $$, '42501 permission denied for function put_own_lead_machine', 'nor makes machines');
SELECT is((SELECT count(*) FROM crm.lead_event_reasons WHERE reason = 'flood'), 1::bigint, 'but reads what there is');
SET ROLE crm_reasons_admin;
SELECT lives_ok($$ SELECT crm.define_lead_reason('mold', 'Mold', 'property', '{deal_collapsed,contract_voided}') $$, 'an admin does');
SELECT is(pg_temp.step('nobody', 'deal_collapsed', 'mold'), '42704', 'and has no more rights by it');
RESET ROLE;
SELECT is(pg_temp.step(pg_temp.lead_in('COMMITTED'), 'deal_collapsed', 'mold'), 'QUALIFIED', 'with effect');

-- ---- flags against channels: the guard and may_contact_lead(), all pairs ----

CREATE TEMP TABLE pair AS
SELECT f.flag, c.channel, pg_temp.lead_in('CONTACTING') AS lead_id FROM unnest('{unsubscribed,dnc,do_not_email,do_not_text,do_not_call}'::text[]) f (flag), crm.lead_channels() c;
SELECT crm.set_lead_flag(lead_id, flag, occurred_at => '2026-01-03 00:00Z') FROM pair \g /dev/null
CREATE TEMP TABLE answer AS
SELECT p.*, m.allowed, m.needs_reason, m.reasons, pg_temp.step(p.lead_id, 'contact_attempted', NULL, jsonb_build_object('channel', p.channel)) AS plain,
	   pg_temp.step(p.lead_id, 'contact_attempted', 'legal_duty', jsonb_build_object('channel', p.channel), actor => 'system:drip') AS program,
	   pg_temp.step(p.lead_id, 'contact_attempted', 'legal_duty', jsonb_build_object('channel', p.channel), actor => 'agent:joe') AS person
  FROM pair p, crm.may_contact_lead(p.lead_id, p.channel) m;
SELECT is((SELECT count(*) FROM answer), 25::bigint, 'five flags, five channels');
SELECT set_eq('SELECT flag, channel FROM answer WHERE NOT allowed', $$ VALUES ('unsubscribed', 'email'), ('unsubscribed', 'text'), ('do_not_email', 'email'), ('do_not_text', 'text'), ('do_not_call', 'phone'),
	('dnc', 'phone'), ('dnc', 'email'), ('dnc', 'text'), ('dnc', 'in_person'), ('dnc', 'other') $$, 'what each forbids');
SELECT is_empty($$ SELECT * FROM answer WHERE allowed = needs_reason OR allowed <> (reasons IS NULL) OR reasons <> flag $$, 'the answers agree with themselves');
SELECT is_empty($$ SELECT * FROM answer WHERE plain <> CASE WHEN allowed THEN 'CONTACTING' ELSE 'ZE005 restricted_needs_reason' END $$, 'and with what the machine does without a reason');
SELECT is_empty($$ SELECT * FROM answer WHERE program <> CASE WHEN allowed THEN 'CONTACTING' ELSE 'ZE005 not_by_a_program' END $$, 'with a program');
SELECT is_empty($$ SELECT * FROM answer WHERE person <> 'CONTACTING' $$, 'and with a person who gives a reason');
SELECT pg_temp.refuses(format($$ SELECT * FROM crm.may_contact_lead('%s', 'e-mail') $$, :'lead'), '22023', 'channel "e-mail" is unknown', 'a mistyped channel is not allowed for that');

-- ---- terms are settings ----

SELECT crm.set_setting('lead_no_response_after', '10 days'), crm.set_setting('lead_attempts', '3'), crm.set_setting('lead_no_progress_after', '1 month') \g /dev/null
SELECT pg_temp.lead_in('CONTACTING') AS quiet, pg_temp.lead_in('QUALIFIED') AS slow \gset
SELECT crm.log_contact(:'quiet', 'phone', occurred_at => '2026-01-03 00:00Z') FROM generate_series(1, 2) \g /dev/null
SELECT is((SELECT due_at FROM crm.lead_timeouts WHERE lead_id = :'slow'), '2026-07-01 00:00Z', 'a setting waits for install()');
SELECT cmp_ok(crm.install(), '>', 0, 'which puts it into effect');
SELECT pg_temp.same_rows(format($$ SELECT lead_id, due_at FROM crm.lead_timeouts WHERE lead_id IN ('%s', '%s') ORDER BY 2 $$, :'quiet', :'slow'),
	format($$ VALUES ('%s', timestamptz '2026-01-12 00:00Z'), ('%s', '2026-02-02 00:00Z') $$, :'quiet', :'slow'), 'ten days with three attempts; a month is one of the calendar');
SELECT is(pg_temp.step(:'quiet', 'timeout_21d_no_response', occurred_at => '2026-01-11 23:59:59.999999Z'), 'ZE005 long_enough', 'a moment before');
SELECT crm.tick_leads('2026-01-12 00:00Z') \g /dev/null
SELECT is((SELECT (state, state_since)::text FROM crm.leads WHERE lead_id = :'quiet'), '(ARCHIVED,"2026-01-12 00:00:00+00")', 'and at the very time');
SELECT is(pg_temp.step(:'slow', 'timeout_180d_no_progress', occurred_at => '2026-02-01 23:59:59.999999Z'), 'ZE005 long_enough', 'in QUALIFIED, too');
SELECT is((SELECT string_agg(after || ' ' || type, ', ' ORDER BY type) FROM eventsource.state_machine_timeouts WHERE state_machine = 'crm_lead' AND is_current),
	'1 mon timeout_180d_no_progress, 10 days timeout_21d_no_response', 'the machine has them');
SELECT crm.set_setting('lead_no_response_after', NULL), crm.set_setting('lead_attempts', '0'), crm.set_setting('lead_no_progress_after', NULL) \g /dev/null
SELECT cmp_ok(crm.install(), '>', 0, 'no attempts');
SELECT is((SELECT string_agg(event_type || ' ' || due_at, ', ') FROM crm.lead_timeouts WHERE lead_id = :'calm'), 'timeout_21d_no_response 2026-01-23 00:00:00+00', 'time alone counts then');
SELECT pg_temp.refuses($$ SELECT crm.set_setting('lead_no_progress_after', '90') $$, '22023', 'invalid value for setting "lead_no_progress_after"', 'no length without a unit');
SELECT pg_temp.refuses($$ SELECT crm.set_setting('lead_no_progress_after', '0 days') $$, '22023', 'invalid value for setting "lead_no_progress_after"', 'and none of nothing: install() could make no machine of it');
SELECT pg_temp.refused($$ SELECT eventsource.append('crm_setting-lead_no_progress_after', 'setting_changed', '{"value": "90"}') $$, '23514 setting_is_readable', 'by no door');
SELECT set_eq($$ SELECT setting_name, value FROM crm.settings WHERE setting_name LIKE 'signal\_%' $$,
	$$ SELECT 'signal_' || e.signal, e.points FROM (VALUES ('tour_requested', '40'), ('pre_approval_uploaded', '40'), ('favorite_saved', '10'), ('replied', '30'),
		('session_returned', '10'), ('search_saved', '10'), ('property_viewed', '5')) e (signal, points) $$, 'each signal has its points');
SELECT is((SELECT array_agg('signal_' || s ORDER BY s) FROM crm.event_types t, jsonb_array_elements_text(t.schema #> '{properties,signal,enum}') s WHERE t.event_type = 'lead_engaged'),
	(SELECT array_agg(setting_name ORDER BY setting_name) FROM crm.settings WHERE setting_name LIKE 'signal\_%'), 'and each that has points can be recorded');
\i test/own_database_end.sql
