\set own_database crm_leads
\i test/own_database.sql
-- Leads: every edge of the lifecycle and what it refuses, by commands and by raw appends; flags, the SLA, timeouts, backfill.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(98);
SET timezone = 'America/New_York';
SET datestyle = 'ISO';
CREATE SEQUENCE lead_number;

-- Brings a new lead into a state by the shortest way; returns it.
CREATE FUNCTION pg_temp.lead_in(wanted text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	id text := 'l' || nextval('lead_number');
	step text;
	steps text[] := CASE wanted
		WHEN 'NEW' THEN '{}'
		WHEN 'CONTACTING' THEN '{contact_attempted}'
		WHEN 'QUALIFIED' THEN '{contact_attempted,motivation_confirmed}'
		WHEN 'COMMITTED' THEN '{contact_attempted,motivation_confirmed,buyer_agreement_signed}'
		WHEN 'IN_CONTRACT' THEN '{contact_attempted,motivation_confirmed,buyer_agreement_signed,contract_executed}'
		WHEN 'CLOSED' THEN '{contact_attempted,motivation_confirmed,buyer_agreement_signed,contract_executed,closing_complete}'
		WHEN 'TRASHED' THEN '{bogus_contact_detected}'
		WHEN 'ARCHIVED' THEN '{contact_attempted,motivation_confirmed,timeout_180d_no_progress}'
	END;
BEGIN
	PERFORM crm.create_lead(id, name => 'Ada', agent_id => 'joe', occurred_at => '2026-01-01 00:00Z');
	FOREACH step IN ARRAY steps LOOP
		PERFORM crm.transition_lead(id, step, data => CASE step WHEN 'contact_attempted' THEN '{"channel": "phone"}' ELSE '{}' END::jsonb,
			reason => CASE step WHEN 'bogus_contact_detected' THEN 'spam' END,
			occurred_at => CASE WHEN step LIKE 'timeout%' THEN '2026-12-01 00:00Z' ELSE '2026-01-02 00:00Z' END::timestamptz);
	END LOOP;
	ASSERT (SELECT state = wanted FROM crm.leads WHERE lead_id = id), wanted;
	RETURN id;
END
$$;
-- Where an event leads from a state, or how it is refused.
CREATE FUNCTION pg_temp.step(state text, type text, reason text DEFAULT NULL, data jsonb DEFAULT '{}', occurred_at timestamptz DEFAULT '2026-12-02 00:00Z')
	RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	name text;
BEGIN
	RETURN (crm.transition_lead(pg_temp.lead_in(state), type, reason, data, occurred_at => occurred_at)).state;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME;
	RETURN trim(SQLSTATE || ' ' || name);
END
$$;

-- ---- the fourteen edges ----

SELECT is(crm.create_lead('first', name => 'Ada'), 'first', 'a lead is made');
SELECT is((SELECT state FROM crm.leads WHERE lead_id = 'first'), 'NEW', 'it is NEW');
SELECT is(pg_temp.step('NEW', 'contact_attempted', data => '{"channel": "text"}'), 'CONTACTING', 'NEW > CONTACTING');
SELECT is(pg_temp.step('NEW', 'bogus_contact_detected', 'wrong_number'), 'TRASHED', 'NEW > TRASHED');
SELECT is(pg_temp.step('CONTACTING', 'bogus_contact_detected', 'fake_identity'), 'TRASHED', 'CONTACTING > TRASHED');
SELECT is(pg_temp.step('CONTACTING', 'motivation_confirmed'), 'QUALIFIED', 'CONTACTING > QUALIFIED');
SELECT is(pg_temp.step('QUALIFIED', 'buyer_agreement_signed'), 'COMMITTED', 'QUALIFIED > COMMITTED');
SELECT is(pg_temp.step('QUALIFIED', 'timeout_180d_no_progress'), 'ARCHIVED', 'QUALIFIED > ARCHIVED');
SELECT is(pg_temp.step('COMMITTED', 'contract_executed'), 'IN_CONTRACT', 'COMMITTED > IN_CONTRACT');
SELECT is(pg_temp.step('COMMITTED', 'deal_collapsed', 'financing'), 'QUALIFIED', 'COMMITTED > QUALIFIED');
SELECT is(pg_temp.step('IN_CONTRACT', 'closing_complete'), 'CLOSED', 'IN_CONTRACT > CLOSED');
SELECT is(pg_temp.step('IN_CONTRACT', 'contract_voided', 'mutual_release'), 'QUALIFIED', 'IN_CONTRACT > QUALIFIED');
SELECT is(pg_temp.step('ARCHIVED', 'lead_re_engaged'), 'CONTACTING', 'ARCHIVED > CONTACTING');
SELECT is(pg_temp.step('TRASHED', 'contact_info_updated', data => '{"phone": "556"}'), 'NEW', 'TRASHED > NEW');

-- ---- and no others ----

SELECT is((SELECT count(*) FROM eventsource.state_machine_transitions
	WHERE state_machine = 'crm_lead' AND is_current AND NOT is_root AND from_state IS NOT NULL), 13::bigint, 'thirteen between states');
SELECT is(pg_temp.step(state, 'no_such_event'), 'ZE006', state || ': an unknown event is refused') FROM crm.lead_states() ORDER BY display_order;
SELECT is(pg_temp.step(state, 'closing_complete'), CASE state WHEN 'IN_CONTRACT' THEN 'CLOSED' ELSE 'ZE002' END, state || ': closing') FROM crm.lead_states() ORDER BY display_order;
SELECT is(pg_temp.step('CLOSED', 'contract_voided', 'financing'), 'ZE002', 'a closed deal does not come back');
SELECT pg_temp.refused($$ SELECT crm.add_lead_note('nobody', 'x') $$, '42704 there is no lead "nobody"', 'a mistyped lead is not made by the way');
SELECT pg_temp.refused($$ SELECT crm.transition_lead('nobody', 'deal_collapsed') $$, '42704 there is no lead "nobody"', 'by no command');
SELECT pg_temp.refused($$ SELECT eventsource.append('lead-nobody', 'note_added', '{"text": "x"}') $$, 'ZE002 event type "note_added" cannot start a stream', 'nor by a raw append');
SELECT pg_temp.refused($$ SELECT crm.create_lead('first') $$, 'ZE002 lead "first" is there already', 'nor made twice');

-- ---- reasons ----

SELECT is(pg_temp.step(s, t), 'ZE003', t || ' in ' || s || ' needs a reason')
  FROM (VALUES ('COMMITTED', 'deal_collapsed'), ('IN_CONTRACT', 'contract_voided'), ('NEW', 'bogus_contact_detected'), ('CONTACTING', 'bogus_contact_detected')) v (s, t);
SELECT is(pg_temp.step('COMMITTED', 'deal_collapsed', 'bad_weather'), 'ZE004', 'and one that is known');
SELECT is(pg_temp.step('COMMITTED', 'deal_collapsed', 'mutual_release'), 'ZE004', 'of those that this event takes');
SELECT pg_temp.lead_in('COMMITTED') AS committed \gset
SELECT pg_temp.refused(format($$ INSERT INTO eventsource.events (stream, type) VALUES ('lead-%s', 'deal_collapsed') $$, :'committed'), 'ZE003 event type "deal_collapsed" requires a reason in state "COMMITTED"', 'a raw INSERT gets no further');
SELECT pg_temp.refused(format($$ SELECT eventsource.append('lead-%s', 'deal_collapsed') $$, :'committed'), 'ZE003 event type "deal_collapsed" requires a reason in state "COMMITTED"', 'nor a raw append');
SELECT pg_temp.refused($$ UPDATE crm.lead SET state = 'CLOSED' $$, 'ZE010 projection "lead" is written by events alone', 'nor an UPDATE of the state');
SELECT is((SELECT array_agg(reason_category ORDER BY reason) FROM crm.lead_reasons WHERE reason IN ('financing', 'appraisal')), '{financing,financing}', 'codes have categories');

-- ---- whose it is ----

SELECT pg_temp.lead_in('QUALIFIED') AS lead \gset
SELECT crm.assign_lead(:'lead', 'ryan', 'schedule_conflict', actor => 'agent:joe', occurred_at => '2026-04-14 10:00Z') \g /dev/null
SELECT is((SELECT data->>'from_agent_id' FROM eventsource.events WHERE stream = 'lead-' || :'lead' ORDER BY version DESC LIMIT 1), 'joe', 'the database says whose it was');
SELECT pg_temp.refused(format($$ SELECT crm.transition_lead('%s', 'lead_assigned', data => '{"agent_id": "eve", "from_agent_id": "eve"}') $$, :'lead'), 'ZE007 field "from_agent_id" of event type "lead_assigned" is filled in by the database', 'a caller cannot');
SELECT pg_temp.refused(format($$ SELECT crm.assign_lead('%s', 'ryan') $$, :'lead'), 'ZE005 another_agent', 'who has it does not get it again');
SELECT crm.assign_lead(:'lead', 'josh', 'pto', actor => 'agent:ryan', occurred_at => '2026-05-02 10:00Z') \g /dev/null
SELECT pg_temp.same_rows(format($$ SELECT from_agent_id, agent_id, assigned_at AT TIME ZONE 'UTC', assigned_until AT TIME ZONE 'UTC', reason, is_current FROM crm.lead_assignments WHERE lead_id = '%s' ORDER BY version $$, :'lead'),
	$$ VALUES (NULL, 'joe', timestamp '2026-01-01 00:00', timestamp '2026-04-14 10:00', NULL, false), ('joe', 'ryan', '2026-04-14 10:00', '2026-05-02 10:00', 'schedule_conflict', false),
		('ryan', 'josh', '2026-05-02 10:00', NULL, 'pto', true) $$, 'intervals of owners');
SELECT is(crm.lead_owner_at(:'lead', at), owner, coalesce(owner, 'nobody') || ' at ' || (at AT TIME ZONE 'UTC'))
  FROM (VALUES ('2025-12-31 23:59:59Z'::timestamptz, NULL), ('2026-01-01 00:00Z', 'joe'), ('2026-04-14 09:59:59Z', 'joe'), ('2026-04-14 10:00Z', 'ryan'), ('2026-06-01 00:00Z', 'josh')) v (at, owner);
SELECT is((SELECT sentence FROM crm.lead_timeline WHERE lead_id = :'lead' AND event_type = 'lead_assigned' ORDER BY version OFFSET 1 LIMIT 1),
	'Joe handed off to Ryan on April 14th because of the schedule conflict', 'the sentence of the document');
SELECT is(crm.lead_state_at(:'lead', '2026-01-01 12:00Z'), 'NEW', 'the state last Tuesday');
SELECT is(crm.lead_state_at(:'lead', '2026-01-01 12:00Z', 'recorded'), NULL, 'was not known then');

-- ---- flags ----

SELECT pg_temp.lead_in('QUALIFIED') AS lead \gset
SELECT crm.set_lead_flag(:'lead', 'unsubscribed', 'client_asked', 'Replied STOP', 'agent:joe', '2026-03-01 00:00Z'), crm.clear_lead_flag(:'lead', 'unsubscribed', 'client_asked', NULL, 'agent:joe', '2026-04-01 00:00Z'),
	crm.set_lead_flag(:'lead', 'unsubscribed', NULL, NULL, 'system:mailer', '2026-05-01 00:00Z') \g /dev/null
SELECT pg_temp.same_rows(format($$ SELECT flag, set_at AT TIME ZONE 'UTC', cleared_at AT TIME ZONE 'UTC', set_by, set_reason, is_current FROM crm.lead_flags WHERE lead_id = '%s' ORDER BY version $$, :'lead'),
	$$ VALUES ('unsubscribed', timestamp '2026-03-01 00:00', timestamp '2026-04-01 00:00', 'agent:joe', 'client_asked', false), ('unsubscribed', '2026-05-01 00:00', NULL, 'system:mailer', NULL, true) $$,
	'unsubscribed in March, again in April, and not any more in May: intervals, and who said so');
SELECT pg_temp.refused(format($$ SELECT crm.set_lead_flag('%s', 'unsubscribed') $$, :'lead'), 'ZE005 flag_is_not_set', 'what is set is not set again');
SELECT pg_temp.refused(format($$ SELECT crm.clear_lead_flag('%s', 'dnc') $$, :'lead'), 'ZE005 flag_is_set', 'what is not set is not cleared');
SELECT pg_temp.refused(format($$ SELECT crm.set_lead_flag('%s', 'do_not_visit') $$, :'lead'), 'ZE007 data does not match version 1 of event type "flag_set"', 'there are five flags');
SELECT is((SELECT (allowed, needs_reason, reasons)::text FROM crm.may_contact_lead(:'lead', channel)), wanted, 'unsubscribed: ' || channel)
  FROM (VALUES ('email', '(f,t,unsubscribed)'), ('text', '(f,t,unsubscribed)'), ('phone', '(t,f,)')) v (channel, wanted);
SELECT crm.set_lead_flag(:'lead', 'do_not_call') \g /dev/null
SELECT is((SELECT (allowed, needs_reason, reasons)::text FROM crm.may_contact_lead(:'lead', 'phone')), '(f,t,do_not_call)', 'flags add up');
SELECT crm.set_lead_flag(:'lead', 'dnc') \g /dev/null
SELECT is((SELECT reasons FROM crm.may_contact_lead(:'lead', 'email')), 'dnc > unsubscribed', 'dnc holds everywhere');
SELECT is((SELECT reasons FROM crm.may_contact_lead(:'lead', 'in_person')), 'dnc', 'everywhere');
SELECT is((SELECT count(*) FROM crm.may_contact_lead('nobody', 'email')), 0::bigint, 'of nobody nothing is said');
SELECT pg_temp.refused(format($$ SELECT crm.log_contact('%s', 'phone') $$, :'lead'), 'ZE005 restricted_needs_reason', 'who does not want to be called is not called without a reason');
SELECT pg_temp.refused(format($$ SELECT crm.log_contact('%s', 'phone', reason => 'client_asked', actor => 'system:drip') $$, :'lead'), 'ZE005 not_by_a_program', 'by a program not at all');
SELECT is((crm.log_contact(:'lead', 'phone', reason => 'active_transaction', actor => 'agent:joe')).state, 'QUALIFIED', 'with a reason that is logged, yes');
SELECT is((SELECT reason FROM crm.lead_contacts WHERE lead_id = :'lead' ORDER BY version DESC LIMIT 1), 'active_transaction', 'it is in the contact log');

-- ---- timeouts: 21 days and six attempts ----

CREATE FUNCTION pg_temp.tried(id text, attempts int, last_at timestamptz DEFAULT '2026-01-03 00:00Z') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM crm.create_lead(id, occurred_at => '2026-01-01 00:00Z');
	FOR i IN 1 .. attempts LOOP
		PERFORM crm.log_contact(id, 'phone', occurred_at => CASE WHEN i = attempts AND i > 1 THEN last_at ELSE '2026-01-02 00:00Z' END);
	END LOOP;
	RETURN id;
END
$$;
SELECT pg_temp.tried('five', 5), pg_temp.tried('six', 6), pg_temp.tried('late sixth', 6, '2026-01-30 00:00Z') \g /dev/null
SELECT is(crm.tick_leads('2026-01-22 23:59:59.999999Z'), 0, 'a moment before 21 days nothing is due');
SELECT is(crm.tick_leads('2026-01-23 00:00Z'), 1, 'after exactly 21 days it is');
SELECT is((SELECT state FROM crm.leads WHERE lead_id = 'six'), 'ARCHIVED', 'with six attempts');
SELECT is((SELECT state FROM crm.leads WHERE lead_id = 'five'), 'CONTACTING', 'not with five');
SELECT is((SELECT (actor, occurred_at AT TIME ZONE 'UTC')::text FROM eventsource.events WHERE stream = 'lead-six' ORDER BY version DESC LIMIT 1), '(system:scribe,"2026-01-23 00:00:00")', 'by the system, when it was due');
SELECT is(crm.tick_leads('2026-02-15 00:00Z'), 1, 'a sixth attempt that comes later makes it due');
SELECT is((SELECT state_since AT TIME ZONE 'UTC' FROM crm.leads WHERE lead_id = 'late sixth'), '2026-01-30 00:00', 'from then on, however late the tick');
SELECT is(crm.tick_leads('2026-02-15 00:00Z'), 0, 'a second tick finds nothing');
SELECT pg_temp.tried('gone', 6) \g /dev/null
SELECT count(*) AS ok FROM eventsource.erase_subject('lead-gone', 'anonymize', 'asked') \gset
SELECT is((SELECT count(*) FROM crm.lead_timeouts WHERE lead_id = 'gone'), 0::bigint, 'of who was erased nothing is due');
SELECT pg_temp.refused($$ SELECT crm.transition_lead('five', 'timeout_21d_no_response', occurred_at => '2026-03-01 00:00Z') $$, 'ZE005 enough_attempts', 'nobody archives early by hand');
SELECT pg_temp.lead_in('QUALIFIED') AS lead \gset
SELECT crm.tick_leads('2026-06-30 23:59:59.999999Z') \g /dev/null
SELECT is((SELECT state FROM crm.leads WHERE lead_id = :'lead'), 'QUALIFIED', '180 days less a moment: still QUALIFIED');
SELECT crm.tick_leads('2026-07-01 00:00Z') \g /dev/null
SELECT is((SELECT (state, state_since AT TIME ZONE 'UTC')::text FROM crm.leads WHERE lead_id = :'lead'), '(ARCHIVED,"2026-07-01 00:00:00")', 'exactly 180 days: archived, though the clocks were changed meanwhile');
SELECT pg_temp.tried('erased', 6), pg_temp.tried('not erased', 6) \g /dev/null
SELECT eventsource.grant_eraser(current_user::regrole, '{anonymize}') \g /dev/null
SELECT eventsource.erase_subject('lead-erased', 'anonymize', 'gdpr-request', 'dpo:eve') \g /dev/null
SELECT is(crm.tick_leads('2026-01-23 00:00Z'), 1, 'one who was erased does not keep the others from being archived');
SELECT crm.transition_lead('six', 'lead_re_engaged', occurred_at => '2026-02-20 00:00Z') \g /dev/null
SELECT is((SELECT contact_attempts FROM crm.leads WHERE lead_id = 'six'), 0, 'who comes back is counted from the beginning');

-- ---- settings are events ----

SELECT crm.set_setting('first_contact_sla', '10 minutes') \g /dev/null
SELECT is((SELECT (value, default_value, is_default)::text FROM crm.settings WHERE setting_name = 'first_contact_sla'), '("10 minutes","5 minutes",f)', 'a setting is changed');
SELECT crm.set_setting('first_contact_sla', NULL) \g /dev/null
SELECT is((SELECT (value, is_default)::text FROM crm.settings WHERE setting_name = 'first_contact_sla'), '("5 minutes",t)', 'and back');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'crm_setting-first_contact_sla'), 2::bigint, 'the log has both');
SELECT pg_temp.refuses($$ SELECT crm.set_setting('first_contact_sla', 'soon') $$, '22023', 'invalid value for setting "first_contact_sla"', 'what is no interval is refused');
SELECT pg_temp.refuses($$ SELECT crm.set_setting('sla', '1 hour') $$, '42704', 'there is no setting "sla"', 'an unknown setting, too');

-- ---- the timeouts of the state machine, without a tick ----

CREATE FUNCTION pg_temp.run_all() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 20 LOOP
		IF (SELECT coalesce(sum(count), 0) = 0 FROM eventsource.run_due()) THEN
			RETURN;
		END IF;
	END LOOP;
	RAISE 'something is due after 20 rounds';
END
$$;
SELECT pg_temp.tried('timer six', 6), pg_temp.tried('timer five', 5) \g /dev/null
SELECT pg_temp.lead_in('QUALIFIED') AS lead \gset
SELECT crm.backfill_lead('timer old', 'QUALIFIED', '2020-01-01Z') \g /dev/null
SELECT crm.create_lead('timer new'), crm.log_contact('timer new', 'phone') \g /dev/null
SELECT pg_temp.run_all() \g /dev/null
SELECT is((SELECT (state, state_since AT TIME ZONE 'UTC')::text FROM crm.leads WHERE lead_id = v.lead), v.wanted, v.lead || ': ' || v.wanted)
  FROM (VALUES ('timer six', '(ARCHIVED,"2026-01-23 00:00:00")'), ('timer five', '(CONTACTING,"2026-01-02 00:00:00")'), ('timer old', '(QUALIFIED,"2020-01-01 00:00:00")')) v (lead, wanted);
SELECT is((SELECT state FROM crm.leads WHERE lead_id = :'lead'), 'ARCHIVED', 'after 180 days in QUALIFIED');
SELECT is((SELECT state FROM crm.leads WHERE lead_id = 'timer new'), 'CONTACTING', 'what is not due waits');
SELECT is((SELECT actor_type || ': ' || sentence FROM crm.lead_timeline WHERE lead_id = 'timer six' AND is_transition ORDER BY version DESC LIMIT 1),
	'system: Archived: no answer in time (CONTACTING to ARCHIVED) on January 22nd', 'in words, in New York');
\i test/own_database_end.sql
