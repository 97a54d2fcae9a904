\set ECHO none
\i test/helpers.sql
-- The lifecycle of examples/lead_lifecycle.sql: every edge of it, and what it refuses.
BEGIN;
\o /dev/null
\i examples/lead_lifecycle.sql
\o
SELECT plan(52);

-- Brings a new lead into a state by the shortest way; returns its stream.
CREATE FUNCTION pg_temp.lead_in(wanted text, stream text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
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
	PERFORM eventsource.append(stream, 'contact_form_submission', '{"name": "Ada"}', occurred_at => '2026-01-01 00:00Z');
	PERFORM eventsource.append(stream, 'lead_assigned', '{"agent_id": "joe"}', occurred_at => '2026-01-01 00:00Z');
	FOREACH step IN ARRAY steps LOOP
		PERFORM eventsource.append(stream, step,
			reason => CASE step WHEN 'bogus_contact_detected' THEN 'spam' END,
			occurred_at => CASE WHEN step LIKE 'timeout%' THEN '2026-12-01 00:00Z' ELSE '2026-01-02 00:00Z' END::timestamptz);
	END LOOP;
	ASSERT eventsource.current_state(stream) = wanted;
	RETURN stream;
END
$$;
CREATE SEQUENCE pg_temp.leads;
-- Where an event leads from a state, or how it is refused.
CREATE FUNCTION pg_temp.step(state text, type text, reason text DEFAULT NULL, data jsonb DEFAULT '{}',
	occurred_at timestamptz DEFAULT '2026-02-01 00:00Z') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	name text;
BEGIN
	RETURN (eventsource.append(pg_temp.lead_in(state, 'lead-' || nextval('pg_temp.leads')), type, data, reason, occurred_at => occurred_at)).state;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME;
	RETURN trim(SQLSTATE || ' ' || name);
END
$$;

-- The edges.
SELECT is((SELECT a.state FROM eventsource.append('lead-first', 'contact_form_submission') a), 'NEW', 'contact_form_submission makes a lead');
SELECT is(pg_temp.step('NEW', 'contact_attempted'), 'CONTACTING', 'NEW > CONTACTING');
SELECT is(pg_temp.step('NEW', 'bogus_contact_detected', 'wrong_number'), 'TRASHED', 'NEW > TRASHED');
SELECT is(pg_temp.step('CONTACTING', 'bogus_contact_detected', 'fake_identity'), 'TRASHED', 'CONTACTING > TRASHED');
SELECT is(pg_temp.step('CONTACTING', 'motivation_confirmed'), 'QUALIFIED', 'CONTACTING > QUALIFIED');
SELECT is(pg_temp.step('QUALIFIED', 'buyer_agreement_signed'), 'COMMITTED', 'QUALIFIED > COMMITTED');
SELECT is(pg_temp.step('QUALIFIED', 'timeout_180d_no_progress', occurred_at => '2026-07-02 00:00Z'), 'ARCHIVED', 'QUALIFIED > ARCHIVED');
SELECT is(pg_temp.step('COMMITTED', 'contract_executed'), 'IN_CONTRACT', 'COMMITTED > IN_CONTRACT');
SELECT is(pg_temp.step('COMMITTED', 'deal_collapsed', 'financing'), 'QUALIFIED', 'COMMITTED > QUALIFIED');
SELECT is(pg_temp.step('IN_CONTRACT', 'closing_complete'), 'CLOSED', 'IN_CONTRACT > CLOSED');
SELECT is(pg_temp.step('IN_CONTRACT', 'contract_voided', 'mutual_release'), 'QUALIFIED', 'IN_CONTRACT > QUALIFIED');
SELECT is(pg_temp.step('ARCHIVED', 'lead_re_engaged'), 'CONTACTING', 'ARCHIVED > CONTACTING');
SELECT is(pg_temp.step('TRASHED', 'contact_info_updated'), 'NEW', 'TRASHED > NEW');

-- CONTACTING > ARCHIVED after six attempts and 21 days.
SELECT is(pg_temp.step('CONTACTING', 'timeout_21d_no_response'), 'ZE005 six_attempts', 'one attempt is not enough to give up');
SELECT lives_ok($$ SELECT pg_temp.lead_in('CONTACTING', 'lead-t') $$, 'a lead');
SELECT lives_ok($$ SELECT eventsource.append('lead-t', 'contact_attempted', occurred_at => '2026-01-03 00:00Z') FROM generate_series(1, 4) $$, 'five attempts');
SELECT throws_ok($$ SELECT eventsource.append('lead-t', 'timeout_21d_no_response', occurred_at => '2026-02-01 00:00Z') $$, 'ZE005', NULL, 'are too few');
SELECT lives_ok($$ SELECT eventsource.append('lead-t', 'contact_attempted', occurred_at => '2026-01-03 00:00Z') $$, 'the sixth');
SELECT throws_ok($$ SELECT eventsource.append('lead-t', 'timeout_21d_no_response', occurred_at => '2026-01-22 00:00Z') $$,
	'ZE005', 'event type "timeout_21d_no_response" is rejected by guard "twenty_one_days" in state "CONTACTING"', 'too early');
SELECT is((SELECT a.state FROM eventsource.append('lead-t', 'timeout_21d_no_response', occurred_at => '2026-01-23 00:00Z') a), 'ARCHIVED', 'CONTACTING > ARCHIVED');
SELECT is(pg_temp.step('QUALIFIED', 'timeout_180d_no_progress', occurred_at => '2026-06-30 00:00Z'), 'ZE005 half_a_year', 'half a year is half a year');

-- What an agent could do next, by the lead's row as it is.
SELECT pg_temp.same_rows($$ SELECT type, target, is_allowed FROM eventsource.allowed_transitions(pg_temp.lead_in('CONTACTING', 'lead-n')) ORDER BY type $$,
	$$ VALUES ('bogus_contact_detected', 'TRASHED', true), ('contact_attempted', 'CONTACTING', true), ('contact_info_updated', 'CONTACTING', true),
		('flag_cleared', 'CONTACTING', NULL), ('flag_set', 'CONTACTING', NULL), ('lead_assigned', 'CONTACTING', NULL),
		('motivation_confirmed', 'QUALIFIED', true), ('note_added', 'CONTACTING', true), ('timeout_21d_no_response', 'ARCHIVED', false) $$,
	'allowed_transitions: some things are not up to the row');

-- There are no others.
SELECT is((SELECT count(DISTINCT (from_state, type)) FROM eventsource.state_machine_transitions
	WHERE state_machine = 'lead' AND is_current AND from_state IS DISTINCT FROM to_state), 14::bigint, 'fourteen moves');
SELECT is((SELECT string_agg(t.type || ' ' || t.from_state, ', ' ORDER BY t.type, t.from_state) FROM eventsource.state_machine_transitions t
	WHERE t.state_machine = 'lead' AND t.reason = 'required'),
	'bogus_contact_detected CONTACTING, bogus_contact_detected NEW, contract_voided IN_CONTRACT, deal_collapsed COMMITTED', 'four need a reason');
SELECT is(pg_temp.step('NEW', 'motivation_confirmed'), 'ZE002', 'no short cut');
SELECT is(pg_temp.step('CLOSED', 'lead_re_engaged'), 'ZE002', 'no way out of CLOSED');
SELECT is(pg_temp.step('NEW', 'lost'), 'ZE006', 'there is no bare "lost"');
SELECT throws_ok($$ SELECT eventsource.append('laed-1', 'note_added', '{}') , eventsource.append('lead-none', 'note_added') $$, 'ZE002', NULL, 'nothing but a submission makes a lead');

-- Reasons.
SELECT is(pg_temp.step('COMMITTED', 'deal_collapsed'), 'ZE003', 'no demotion without a reason');
SELECT is(pg_temp.step('IN_CONTRACT', 'contract_voided'), 'ZE003', 'nor a voided contract');
SELECT is(pg_temp.step('NEW', 'bogus_contact_detected'), 'ZE003', 'nor the trash');
SELECT is(pg_temp.step('COMMITTED', 'deal_collapsed', 'spam'), 'ZE004', 'not any reason');
SELECT is(pg_temp.step('COMMITTED', 'deal_collapsed', 'mutual_release'), 'ZE004', 'only those of the edge');
SELECT is(pg_temp.step('NEW', 'note_added', 'spam'), 'ZE004', 'a note has none');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.append(pg_temp.lead_in('COMMITTED', 'lead-r'), 'deal_collapsed') $$),
	'HINT: Reason codes: appraisal, financing, inspection, changed_mind, buyer_disappeared\.', 'the hint lists the codes');

-- What the database fills in.
SELECT lives_ok($$ SELECT pg_temp.lead_in('COMMITTED', 'lead-a') $$, 'a lead of Joe''s');
SELECT throws_ok($$ SELECT eventsource.append('lead-a', 'lead_assigned', '{"agent_id": "joe"}') $$, 'ZE005', NULL, 'is his already');
SELECT throws_ok($$ SELECT eventsource.append('lead-a', 'lead_assigned') $$, 'ZE005', NULL, 'an agent must be named');
SELECT throws_ok($$ SELECT eventsource.append('lead-a', 'lead_assigned', '{"agent_id": "ryan", "from_agent_id": "eve"}') $$, 'ZE007', NULL, 'from whom, nobody can claim');
SELECT lives_ok($$ SELECT eventsource.append('lead-a', 'lead_assigned', '{"agent_id": "ryan"}', 'schedule_conflict') $$, 'goes to Ryan');
SELECT is(data, '{"agent_id": "ryan", "from_agent_id": "joe"}', 'the log knows from whom') FROM eventsource.events WHERE stream = 'lead-a' ORDER BY version DESC LIMIT 1;
SELECT throws_ok($$ SELECT eventsource.append('lead-a', 'deal_collapsed', '{"agent_id": "joe"}', 'inspection') $$, 'ZE007', NULL, 'nor whose deal collapsed');
SELECT lives_ok($$ SELECT eventsource.append('lead-a', 'deal_collapsed', reason => 'inspection', occurred_at => '2026-05-01 00:00Z') $$, 'it was Ryan''s');
SELECT pg_temp.same_rows($$ SELECT agent_id, quarter, category, reason, collapses, voided FROM lead.collapse_report WHERE agent_id = 'ryan' $$,
	$$ VALUES ('ryan', '2026 Q2', 'inspection', 'inspection', 1, 0) $$, 'and counts as his');
SELECT pg_temp.same_rows($$ SELECT quarter, reason, collapses, voided FROM lead.deal_collapses WHERE agent_id = 'joe' ORDER BY reason $$,
	$$ VALUES ('2026 Q1', 'financing', 1, 0), ('2026 Q1', 'mutual_release', 0, 1) $$, 'not as Joe''s');

-- Flags.
SELECT is(pg_temp.step('NEW', 'flag_set', data => '{"flag": "dnc"}'), 'NEW', 'a flag moves nothing');
SELECT is(pg_temp.step('NEW', 'flag_set', data => '{"flag": "dcn"}'), 'ZE005 known_flag', 'but must be known');
SELECT is(pg_temp.step('NEW', 'flag_cleared', data => '{"flag": "dnc"}'), 'ZE005 flag_is_set', 'and set before it is cleared');

-- The row and the timeline.
SELECT pg_temp.same_rows($$ SELECT name, state, agent_id, contact_attempts, demotions FROM lead.leads WHERE lead_id = 'a' $$,
	$$ VALUES ('Ada', 'QUALIFIED', 'ryan', 1, 1) $$, 'the lead as it is now');
SELECT pg_temp.same_rows($$ SELECT type, reason, moved, detail FROM lead.timeline WHERE lead_id = 'a' ORDER BY version DESC LIMIT 2 $$,
	$$ VALUES ('deal_collapsed', 'inspection', 'COMMITTED > QUALIFIED', NULL), ('lead_assigned', 'schedule_conflict', NULL, 'joe > ryan') $$, 'and how it came to that');

-- Everything replays.
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions() $$, 'every transition is legal');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('lead.leads') UNION ALL SELECT * FROM eventsource.verify_projection('lead.deal_collapses') $$,
	'and every row is what the events make of it');

SELECT * FROM finish();
ROLLBACK;
