\set own_database crm_lead_views
\i test/own_database.sql
-- Views of leads: at their boundaries, and over a simulated brokerage each against a computation of its own from the log.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(62);
SET timezone = 'America/New_York';
SET datestyle = 'ISO';

-- ---- first contact: exactly five minutes (the clock of a transaction stands still) ----

BEGIN;
SELECT crm.create_lead('met', occurred_at => now() - interval '1 hour'), crm.log_contact('met', 'phone', occurred_at => now() - interval '55 minutes'),
	crm.create_lead('late', occurred_at => now() - interval '1 hour'), crm.log_contact('late', 'phone', occurred_at => now() - interval '55 minutes' + interval '1 us'),
	crm.create_lead('active', occurred_at => now() - interval '5 minutes'), crm.create_lead('breached', occurred_at => now() - interval '5 minutes 1 us') \g /dev/null
SELECT is((SELECT (status, is_breached)::text FROM crm.sla_first_contacts WHERE lead_id = v.lead), v.wanted, v.lead || ': ' || v.wanted)
  FROM (VALUES ('met', '(met,f)'), ('late', '(breached,t)'), ('active', '(active,f)'), ('breached', '(breached,t)')) v (lead, wanted);
SELECT is((SELECT response_time FROM crm.sla_first_contacts WHERE lead_id = 'late'), interval '5 minutes 1 us', 'how long it took');
SELECT is((SELECT response_time FROM crm.sla_first_contacts WHERE lead_id = 'active'), NULL, 'nothing yet where nobody tried');
SELECT crm.log_contact('breached', 'email') \g /dev/null
SELECT is((SELECT status FROM crm.sla_first_contacts WHERE lead_id = 'breached'), 'breached', 'what is breached stays so when it is contacted');
SELECT crm.set_setting('first_contact_sla', '1 hour') \g /dev/null
SELECT is((SELECT status FROM crm.sla_first_contacts WHERE lead_id = 'late'), 'met', 'the term is a setting');

-- ---- temperature: exactly 30 and 70 points, exactly 30 days ----

CREATE FUNCTION pg_temp.engaged(lead text, signals text[], at timestamptz DEFAULT now()) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM crm.create_lead(lead, occurred_at => now() - interval '100 days');
	PERFORM crm.record_signal(lead, s, occurred_at => at) FROM unnest(signals) s;
	RETURN (SELECT score || ' ' || temperature FROM crm.lead_temperatures t WHERE t.lead_id = lead);
END
$$;
SELECT is(pg_temp.engaged('cold', '{}'), '0 COLD', 'nothing: COLD');
SELECT is(pg_temp.engaged('25', '{favorite_saved,favorite_saved,property_viewed}'), '25 COLD', 'below 30: COLD');
SELECT is(pg_temp.engaged('30', '{replied}'), '30 WARM', 'exactly 30: WARM');
SELECT is(pg_temp.engaged('65', '{tour_requested,search_saved,session_returned,property_viewed}'), '65 WARM', 'below 70: WARM');
SELECT is(pg_temp.engaged('70', '{tour_requested,replied}'), '70 HOT', 'exactly 70: HOT');
SELECT is(pg_temp.engaged('edge', '{replied}', ((now() AT TIME ZONE 'UTC') - interval '30 days') AT TIME ZONE 'UTC'), '30 WARM', 'a signal counts for exactly 30 days');
SELECT is(pg_temp.engaged('over', '{replied}', ((now() AT TIME ZONE 'UTC') - interval '30 days 1 us') AT TIME ZONE 'UTC'), '0 COLD', 'and no longer');
SELECT crm.log_contact('over', 'email', 'inbound') \g /dev/null
SELECT is((SELECT temperature FROM crm.lead_temperatures WHERE lead_id = 'over'), 'WARM', 'an answer is a signal');
SELECT crm.set_setting('signal_replied', '70') \g /dev/null
SELECT is((SELECT temperature FROM crm.leads WHERE lead_id = 'over'), 'HOT', 'points are settings');
SELECT is((SELECT (state, temperature, flags)::text FROM crm.leads WHERE lead_id = 'over'), '(NEW,HOT,)', 'state, temperature and flags are three things');
ROLLBACK;

-- ---- one lead, told from end to end ----

CREATE FUNCTION pg_temp.go(lead text, type text, day int, reason text DEFAULT NULL, data jsonb DEFAULT '{}', actor text DEFAULT 'agent:joe') RETURNS void LANGUAGE sql AS $$
	SELECT crm.transition_lead(lead, type, reason, data, actor, '2026-01-01 12:00Z'::timestamptz + day * interval '24 hours')
$$;
SELECT crm.create_lead('story', name => 'Ada', source => 'open house', agent_id => 'joe', actor => 'system:forms', occurred_at => '2026-01-01 12:00Z') \g /dev/null
-- The last step is of today: a lead that has not moved for long would be archived below.
SELECT greatest(281, floor(extract(epoch FROM now() - '2026-01-01 12:00Z') / 86400)::int) AS last_day \gset
SELECT pg_temp.go('story', 'contact_attempted', 1, data => '{"channel": "phone", "outcome": "voicemail"}'), pg_temp.go('story', 'motivation_confirmed', 2),
	pg_temp.go('story', 'buyer_agreement_signed', 10), pg_temp.go('story', 'deal_collapsed', 15, 'financing'), pg_temp.go('story', 'buyer_agreement_signed', 20),
	pg_temp.go('story', 'contract_executed', 50), pg_temp.go('story', 'contract_voided', 95, 'inspection'), pg_temp.go('story', 'timeout_180d_no_progress', 275, actor => 'system:scribe'),
	pg_temp.go('story', 'lead_re_engaged', 280), pg_temp.go('story', 'motivation_confirmed', :last_day) \g /dev/null
CREATE TEMP TABLE want (n int, state text, visit int, kind text, path text, reason text, hours int, is_demotion boolean, is_reengaged boolean);
INSERT INTO want VALUES
	(1, 'NEW', 1, 'new', 'NEW', NULL, 24, false, false),
	(2, 'CONTACTING', 1, 'forward', 'NEW > CONTACTING', NULL, 24, false, false),
	(3, 'QUALIFIED', 1, 'forward', 'NEW > CONTACTING > QUALIFIED', NULL, 192, false, false),
	(4, 'COMMITTED', 1, 'forward', 'CONTACTING > QUALIFIED > COMMITTED', NULL, 120, false, false),
	(5, 'QUALIFIED', 2, 'demoted', 'QUALIFIED > COMMITTED > QUALIFIED', 'financing', 120, true, false),
	(6, 'COMMITTED', 2, 'forward', 'COMMITTED > QUALIFIED > COMMITTED', NULL, 720, false, false),
	(7, 'IN_CONTRACT', 1, 'forward', 'QUALIFIED > COMMITTED > IN_CONTRACT', NULL, 1080, false, false),
	(8, 'QUALIFIED', 3, 'demoted', 'COMMITTED > IN_CONTRACT > QUALIFIED', 'inspection', 4320, true, false),
	(9, 'ARCHIVED', 1, 'set_aside', 'IN_CONTRACT > QUALIFIED > ARCHIVED', NULL, 120, false, false),
	(10, 'CONTACTING', 2, 'reengaged', 'QUALIFIED > ARCHIVED > CONTACTING', NULL, (:last_day - 280) * 24, false, true),
	(11, 'QUALIFIED', 4, 'reengaged', 'ARCHIVED > CONTACTING > QUALIFIED', NULL, NULL, false, true);
SELECT pg_temp.same_rows($$ SELECT state, visit_number, arrival_kind, arrival_path, reason, CASE WHEN NOT is_current THEN extract(epoch FROM duration)::int / 3600 END, is_demotion, is_reengaged
	FROM crm.lead_state_visits WHERE lead_id = 'story' ORDER BY version $$, 'SELECT state, visit, kind, path, reason, hours, is_demotion, is_reengaged FROM want ORDER BY n',
	'visits: four ways into QUALIFIED, and how long each of them lasted');
SELECT is((SELECT (visit_count, bounce_count, extract(epoch FROM total_duration)::int / 3600, last_path, is_there_now)::text FROM crm.lead_bounces WHERE lead_id = 'story' AND state = 'COMMITTED'),
	'(2,1,840,"COMMITTED > QUALIFIED > COMMITTED",f)', 'COMMITTED > QUALIFIED > COMMITTED: it bounced');
SELECT is((SELECT count(*) FROM crm.lead_bounces WHERE lead_id = 'story' AND state = 'IN_CONTRACT'), 0::bigint, 'one visit is no bounce');
SELECT is((SELECT (temperature, sla_status, arrival_kind, agent_id)::text FROM crm.board WHERE lead_id = 'story'), '(COLD,breached,reengaged,joe)', 'the card on the board');
SELECT is((SELECT count(*) FROM crm.lead_timeline WHERE lead_id = 'story' AND (actor IS NULL OR occurred_at IS NULL OR event_type IS NULL)), 0::bigint, 'what, when and who are always there');
SELECT is((SELECT array_agg(actor_type ORDER BY version) FROM crm.lead_timeline WHERE lead_id = 'story' AND event_type IN ('contact_form_submission', 'contact_attempted', 'timeout_180d_no_progress')),
	'{system,human,system}', 'people and programs');
SELECT is((SELECT sentence FROM crm.lead_timeline WHERE lead_id = 'story' AND event_type = 'contract_voided'),
	'Joe recorded contract voided (IN_CONTRACT to QUALIFIED) on April 6th because of the inspection', 'a move in words');
SELECT is((SELECT (agent_id, quarter, stage, event_type, reason, reason_category, extract(epoch FROM deal_duration)::int / 3600)::text FROM crm.deal_collapse_events WHERE lead_id = 'story' AND reason = 'inspection'),
	'(joe,"2026 Q2",after_contract,contract_voided,inspection,inspection,1080)', 'trigger and cause are two columns');

-- A mistake is taken back.
SELECT crm.set_lead_flag('story', 'dnc', actor => 'agent:joe') \g /dev/null
SELECT eventsource.void_event(position, 'it was another lead', 'agent:joe') FROM eventsource.events WHERE stream = 'lead-story' AND type = 'flag_set' \g /dev/null
SELECT is((SELECT flags FROM crm.leads WHERE lead_id = 'story'), NULL, 'what is voided counts no more');
SELECT is((SELECT count(*) FROM crm.lead_flags WHERE lead_id = 'story'), 0::bigint, 'nor has it an interval');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'lead-story' AND type = 'flag_set'), 1::bigint, 'but it stays in the log');

-- ---- where leads are, and how long: buckets at exactly 7, 30 and 90 days ----

BEGIN;
SELECT crm.create_lead('age ' || n, agent_id => 'zoe', occurred_at => (now() AT TIME ZONE 'UTC' - age) AT TIME ZONE 'UTC') FROM (VALUES
	(1, '7 days'::interval), (2, '7 days 1 us'), (3, '30 days'), (4, '30 days 1 us'), (5, '90 days'), (6, '90 days 1 us')) v (n, age) \g /dev/null
SELECT pg_temp.same_rows($$ SELECT age_bucket, sum(lead_count) FROM crm.pipeline_health WHERE agent_id = 'zoe' AND state = 'NEW' AND arrival_kind = 'new' GROUP BY age_order, age_bucket ORDER BY age_order $$,
	$$ VALUES ('0-7 days', 1), ('8-30 days', 2), ('31-90 days', 2), ('over 90 days', 1) $$, 'buckets of age');
ROLLBACK;

-- ---- leads from before ----

CREATE TABLE old_leads (id int, status text, agent text, name text, created timestamptz, touched timestamptz, unsubscribed boolean);
INSERT INTO old_leads VALUES (1, 'Hot', 'joe', 'Bob', '2025-01-01Z', '2025-11-01Z', true), (2, 'Under Contract', 'ryan', 'Cy', '2024-05-01Z', '2024-06-01Z', false),
	(3, 'Lost', NULL, 'Di', '2023-05-01Z', NULL, false), (4, 'Hot', 'joe', 'Ed', '2025-01-01Z', '2020-01-01Z', NULL);
CREATE VIEW pg_temp.old AS
SELECT crm.backfill_lead('old' || id, CASE status WHEN 'Hot' THEN 'QUALIFIED' WHEN 'Under Contract' THEN 'IN_CONTRACT' ELSE 'ARCHIVED' END, created, touched, agent,
	name, flags => CASE WHEN unsubscribed THEN ARRAY['unsubscribed'] ELSE '{}' END, legacy_status => status) AS is_new FROM old_leads;
SELECT is((SELECT count(*) FILTER (WHERE is_new) FROM pg_temp.old), 4::bigint, 'leads are brought in');
SELECT is((SELECT count(*) FILTER (WHERE is_new) FROM pg_temp.old), 0::bigint, 'once');
SELECT is((SELECT (state, agent_id, name, flags, intake_at AT TIME ZONE 'UTC', state_since AT TIME ZONE 'UTC', is_backfilled, legacy_status)::text FROM crm.leads WHERE lead_id = 'old1'),
	'(QUALIFIED,joe,Bob,unsubscribed,"2025-01-01 00:00:00","2025-11-01 00:00:00",t,Hot)', 'where they stood');
SELECT is((SELECT (occurred_at AT TIME ZONE 'UTC', recorded_at > now() - interval '1 hour', is_synthetic)::text FROM crm.lead_timeline WHERE lead_id = 'old2'), '("2024-06-01 00:00:00",t,t)', 'occurred then, recorded now, and marked');
SELECT is((SELECT state_since AT TIME ZONE 'UTC' FROM crm.leads WHERE lead_id = 'old4'), '2025-01-01 00:00', 'what changed before it was there is as old as itself');
SELECT is((SELECT (history_began_at > now() - interval '1 hour') FROM crm.leads WHERE lead_id = 'old2'), true, 'before that nothing is known');
SELECT is(crm.tick_leads(), 0, 'which is no inactivity: nobody is archived for it');
SELECT is((SELECT count(*) FROM crm.sla_first_contacts WHERE lead_id LIKE 'old%'), 0::bigint, 'nor are they late');
SELECT is((SELECT count(*) FROM crm.collapse_stage_rates WHERE quarter = '2024 Q2'), 0::bigint, 'nor in reports');
SELECT is((SELECT (flag, is_current)::text FROM crm.lead_flags WHERE lead_id = 'old1'), '(unsubscribed,t)', 'flags come along');
SELECT crm.transition_lead('old2', 'contract_voided', 'title_defect') \g /dev/null
SELECT is((SELECT (agent_id, reason)::text FROM crm.deal_collapse_events WHERE lead_id = 'old2'), '(ryan,title_defect)', 'what happens from now on counts');
SELECT pg_temp.refused($$ SELECT crm.backfill_lead('old9', 'LOST', now()) $$, 'ZE007 data does not match version 1 of event type "lead_imported"', 'a state that there is not is refused');

-- ---- a brokerage: 400 leads, seeded; each view against the log ----

CREATE FUNCTION pg_temp.simulate(leads int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	id text;
	at timestamptz;
	choice record;
BEGIN
	PERFORM setseed(0.42);
	FOR i IN 1 .. leads LOOP
		id := 'sim' || i;
		at := '2025-01-01 00:00Z'::timestamptz + random() * interval '200 days';
		PERFORM crm.create_lead(id, source => 'web', agent_id => CASE WHEN random() < 0.9 THEN (ARRAY['ann', 'bob', 'cy'])[1 + floor(random() * 3)::int] END, actor => 'system:forms', occurred_at => at);
		FOR step IN 1 .. 3 + floor(random() * 14)::int LOOP
			at := at + random() * interval '9 days';
			IF random() < 0.15 THEN
				at := date_trunc('day', at);	-- clocks are coarse
			END IF;
			SELECT t.type, t.reasons, t.reason INTO choice FROM eventsource.allowed_transitions('lead-' || id) t
			 WHERE t.type NOT IN ('flag_set', 'flag_cleared', 'contact_info_updated', 'note_added') AND t.type NOT LIKE 'timeout%' AND t.is_allowed IS DISTINCT FROM false
			 ORDER BY random() * CASE WHEN t.type IN ('contact_attempted', 'contact_received', 'lead_engaged', 'lead_assigned') THEN 1 WHEN t.type = 'bogus_contact_detected' THEN 0.3 ELSE 2 END DESC LIMIT 1;
			PERFORM crm.transition_lead(id, choice.type, CASE choice.reason WHEN 'required' THEN choice.reasons[1 + floor(random() * cardinality(choice.reasons))::int] END,
				CASE choice.type WHEN 'contact_attempted' THEN '{"channel": "phone"}' WHEN 'contact_received' THEN '{"channel": "email"}' WHEN 'lead_engaged' THEN '{"signal": "search_saved"}'
					WHEN 'lead_assigned' THEN jsonb_build_object('agent_id', 'agent ' || step) ELSE '{}' END::jsonb, 'agent:sim', at);
			IF random() < 0.1 THEN
				PERFORM CASE WHEN l.is_restricted THEN crm.clear_lead_flag(id, split_part(l.flags, ' > ', 1), occurred_at => at)
							 ELSE crm.set_lead_flag(id, 'unsubscribed', occurred_at => at) END FROM crm.leads l WHERE l.lead_id = id;
			END IF;
		END LOOP;
	END LOOP;
END
$$;
SELECT pg_temp.simulate(400) \g /dev/null
SELECT cmp_ok((SELECT count(*) FROM eventsource.events WHERE stream LIKE 'lead-sim%'), '>', 3000::bigint, 'thousands of events');
SELECT cmp_ok((SELECT count(*) FROM crm.deal_collapse_events), '>', 100::bigint, 'with deals that fall through');
SELECT is_empty('SELECT p.target, v.key FROM eventsource.projections p, eventsource.verify_projection(p.target) v', 'every projection is what its events make');
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions('lead') $$, 'the state machine takes every event again');

-- The log in plain SQL: one row per change of state, with the owner as assignments tell it.
CREATE TEMP TABLE move AS
SELECT e.key AS lead_id, e.version, e.occurred_at AS at, e.type, e.reason, e.from_state, e.to_state,
	   (SELECT o.data->>'agent_id' FROM eventsource.events o WHERE o.stream = e.stream AND o.type IN ('lead_assigned', 'lead_imported') AND o.version < e.version ORDER BY o.version DESC LIMIT 1) AS owner,
	   e.type = 'lead_imported' AS is_import
  FROM eventsource.events e WHERE e.category = 'lead' AND e.from_state IS DISTINCT FROM e.to_state;
SELECT is_empty($$
	SELECT lead_id, state, state_since FROM crm.leads EXCEPT (SELECT DISTINCT ON (lead_id) lead_id, to_state, at FROM move ORDER BY lead_id, version DESC)
$$, 'leads are where their last move took them');
CREATE TEMP TABLE collapse AS
SELECT owner AS agent_id, extract(year FROM at AT TIME ZONE 'UTC') || ' Q' || extract(quarter FROM at AT TIME ZONE 'UTC') AS quarter, reason, count(*) AS n,
	   count(*) FILTER (WHERE type = 'deal_collapsed') AS before, count(*) FILTER (WHERE type = 'contract_voided') AS after
  FROM move WHERE type IN ('deal_collapsed', 'contract_voided') GROUP BY 1, 2, 3;
SELECT set_eq('SELECT agent_id COLLATE "C", quarter COLLATE "C", reason COLLATE "C", collapse_count, before_contract_count, after_contract_count FROM crm.deal_collapses',
	'SELECT agent_id COLLATE "C", quarter COLLATE "C", reason COLLATE "C", n, before, after FROM collapse', 'collapses by agent, quarter and reason');
CREATE TEMP TABLE stay AS
SELECT m.*, n.type AS next_type FROM move m
  LEFT JOIN move n ON n.lead_id = m.lead_id AND n.version = (SELECT min(version) FROM move x WHERE x.lead_id = m.lead_id AND x.version > m.version);
SELECT set_eq('SELECT state COLLATE "C", quarter COLLATE "C", entered_count, collapsed_count, advanced_count, open_count, collapse_rate FROM crm.collapse_stage_rates', $$
	SELECT to_state COLLATE "C", (extract(year FROM at AT TIME ZONE 'UTC') || ' Q' || extract(quarter FROM at AT TIME ZONE 'UTC')) COLLATE "C" AS q, count(*) AS n,
		   count(CASE WHEN next_type IN ('deal_collapsed', 'contract_voided') THEN 1 END) AS c, count(CASE WHEN next_type IN ('contract_executed', 'closing_complete') THEN 1 END) AS a,
		   count(CASE WHEN next_type IS NULL THEN 1 END) AS o, round(avg((coalesce(next_type, '') IN ('deal_collapsed', 'contract_voided'))::int), 4)
	  FROM stay WHERE to_state IN ('COMMITTED', 'IN_CONTRACT') AND NOT is_import GROUP BY 1, 2 $$, 'rates of either stage');
SELECT set_eq('SELECT lead_id COLLATE "C", state COLLATE "C", visit_count, bounce_count FROM crm.lead_bounces',
	'SELECT lead_id COLLATE "C", to_state COLLATE "C", count(*) AS n, count(*) - 1 AS b FROM move GROUP BY 1, 2 HAVING count(*) > 1', 'bounces');
SELECT is((SELECT sum(lead_count) FROM crm.pipeline_health), (SELECT count(DISTINCT key)::numeric FROM eventsource.events WHERE category = 'lead'), 'the pipeline has every lead once');
SELECT is((SELECT string_agg(state || ' ' || lead_count, ', ' ORDER BY display_order) FROM crm.board_columns),
	(SELECT string_agg(s.state || ' ' || (SELECT count(*) FROM stay y WHERE y.next_type IS NULL AND y.to_state = s.state), ', ' ORDER BY s.display_order) FROM crm.lead_states() s), 'columns of the board');
SELECT is((SELECT (sum(unassigned_count), sum(hot_count), sum(restricted_count), sum(sla_breached_count), sum(demoted_count), sum(reengaged_count), min(oldest_entered_at))::text FROM crm.board_columns),
	(SELECT (sum((l.agent_id IS NULL)::int), sum((l.temperature = 'HOT')::int), sum(l.is_restricted::int), (SELECT count(*) FROM crm.sla_first_contacts WHERE is_breached),
		(SELECT sum(lead_count) FROM crm.pipeline_health WHERE arrival_kind = 'demoted'), (SELECT sum(lead_count) FROM crm.pipeline_health WHERE arrival_kind = 'reengaged'), min(l.state_since))::text FROM crm.leads l), 'and what stands in them');
SELECT is((SELECT count(*) FROM crm.board_columns WHERE lead_count = 0 AND oldest_entered_at IS NULL), (SELECT count(*) FROM crm.lead_states() s WHERE s.state NOT IN (SELECT state FROM crm.leads)), 'empty ones are there, too');
SELECT set_eq('SELECT state COLLATE "C", agent_id COLLATE "C", sum(lead_count) FROM crm.pipeline_health WHERE arrival_kind = ''demoted'' GROUP BY 1, 2', $$
	SELECT s.to_state COLLATE "C", (SELECT o.data->>'agent_id' FROM eventsource.events o WHERE o.stream = 'lead-' || s.lead_id AND o.type IN ('lead_assigned', 'lead_imported') ORDER BY o.version DESC LIMIT 1) COLLATE "C", count(*)::numeric
	  FROM stay s WHERE s.next_type IS NULL AND s.type IN ('deal_collapsed', 'contract_voided') GROUP BY 1, 2 $$, 'those that were demoted, by agent');
SELECT is((SELECT count(*) FILTER (WHERE status = 'met') FROM crm.sla_first_contacts),
	(SELECT count(*) FROM eventsource.events i WHERE i.type = 'contact_form_submission' AND
		(SELECT min(o.occurred_at) FROM eventsource.events o WHERE o.stream = i.stream AND o.type = 'contact_attempted') <= i.occurred_at + interval '5 minutes'), 'first contacts in time');
SELECT set_eq('SELECT lead_id COLLATE "C", agent_id COLLATE "C", assigned_at FROM crm.lead_assignments WHERE is_current', $$
	SELECT DISTINCT ON (key) key COLLATE "C", (data->>'agent_id') COLLATE "C", occurred_at FROM eventsource.events
	 WHERE category = 'lead' AND data->>'agent_id' IS NOT NULL AND type IN ('lead_assigned', 'lead_imported') ORDER BY key, version DESC $$, 'who has which lead');
SELECT is((SELECT count(*) FROM crm.lead_flags), (SELECT count(*) FROM eventsource.events WHERE category = 'lead' AND type = 'flag_set' AND stream <> 'lead-story')
	+ (SELECT count(*) FROM eventsource.events, jsonb_object_keys(data->'flags') WHERE type = 'lead_imported'), 'an interval for each flag that was set');
SELECT is_empty('SELECT * FROM crm.lead_flags WHERE cleared_at < set_at', 'none ends before it begins');
SELECT is_empty('SELECT * FROM crm.lead_state_visits WHERE duration < interval ''0'' OR exited_at < entered_at', 'no visit lasts less than nothing');
SELECT is((SELECT sum(value) FROM crm.lead_metrics WHERE metric = 'deals_collapsed'), (SELECT count(*)::numeric FROM move WHERE type IN ('deal_collapsed', 'contract_voided')), 'the time series add up');
SELECT is((SELECT sum(value) FROM crm.lead_metrics WHERE metric = 'leads_created'), (SELECT count(*)::numeric FROM eventsource.events WHERE type = 'contact_form_submission'), 'all of them');
\i test/own_database_end.sql
