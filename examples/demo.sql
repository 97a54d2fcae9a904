-- The story that "make demo" plays, after lead_lifecycle.sql. Errors belong to it:
-- each is followed by what makes it go away.
\set ON_ERROR_STOP off
\set VERBOSITY default
\pset null ''
\pset footer off
\pset border 1
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';

\echo
\echo '--- Three leads come in, and agents work on them'
\echo
SET eventsource.actor = 'system:scribe';
SELECT stream, version, state FROM eventsource.append_events('[
	{"stream": "lead-1001", "type": "contact_form_submission", "data": {"name": "Ada"},   "occurred_at": "2026-01-12 09:00Z"},
	{"stream": "lead-1002", "type": "contact_form_submission", "data": {"name": "Boris"}, "occurred_at": "2026-01-20 10:00Z"},
	{"stream": "lead-1003", "type": "contact_form_submission", "data": {"name": "Chloe"}, "occurred_at": "2026-02-02 11:30Z"},
	{"stream": "lead-1001", "type": "lead_assigned", "data": {"agent_id": "joe"},  "occurred_at": "2026-01-12 09:05Z"},
	{"stream": "lead-1002", "type": "lead_assigned", "data": {"agent_id": "joe"},  "occurred_at": "2026-01-20 10:05Z"},
	{"stream": "lead-1003", "type": "lead_assigned", "data": {"agent_id": "ryan"}, "occurred_at": "2026-02-02 11:35Z"}
]') ORDER BY position;

SET eventsource.actor = 'agent:joe';
SELECT stream, version, state FROM eventsource.append_events('[
	{"stream": "lead-1001", "type": "contact_attempted",      "occurred_at": "2026-01-12 09:20Z"},
	{"stream": "lead-1001", "type": "motivation_confirmed",   "occurred_at": "2026-01-14 16:00Z"},
	{"stream": "lead-1001", "type": "buyer_agreement_signed", "occurred_at": "2026-02-03 12:00Z"},
	{"stream": "lead-1002", "type": "contact_attempted",      "occurred_at": "2026-01-20 10:30Z"},
	{"stream": "lead-1002", "type": "motivation_confirmed",   "occurred_at": "2026-01-22 15:00Z"},
	{"stream": "lead-1002", "type": "buyer_agreement_signed", "occurred_at": "2026-02-01 09:00Z"},
	{"stream": "lead-1002", "type": "contract_executed",      "occurred_at": "2026-02-20 14:00Z"},
	{"stream": "lead-1003", "type": "contact_attempted",      "occurred_at": "2026-02-02 11:50Z"}
]') ORDER BY position;

\echo '--- What cannot happen is refused, and the error says what can'
\echo
SELECT * FROM eventsource.append('lead-1003', 'contract_executed');

\echo
\echo '--- A demotion needs a reason'
\echo
SELECT * FROM eventsource.append('lead-1001', 'deal_collapsed', occurred_at => '2026-03-03 10:00Z');
\echo
\echo '--- With one it passes'
\echo
SELECT stream, version, state FROM eventsource.append('lead-1001', 'deal_collapsed',
	reason => 'financing', occurred_at => '2026-03-03 10:00Z');
SELECT stream, version, state FROM eventsource.append('lead-1002', 'contract_voided',
	reason => 'inspection', occurred_at => '2026-03-09 10:00Z');

\echo '--- Guards look at the lead''s own row: six attempts before giving up, and 21 days'
\echo
SELECT * FROM eventsource.append('lead-1003', 'timeout_21d_no_response', occurred_at => '2026-03-01 00:00Z');

\echo
\echo '--- Joe hands Ada to Ryan; the database fills in from whom'
\echo
SELECT stream, version, state FROM eventsource.append('lead-1001', 'lead_assigned', '{"agent_id": "ryan"}',
	reason => 'schedule_conflict', occurred_at => '2026-04-14 08:00Z');
SELECT stream, version, state FROM eventsource.append('lead-1001', 'buyer_agreement_signed',
	actor => 'agent:ryan', occurred_at => '2026-05-02 11:00Z');

\echo '--- The timeline of Ada: what, when, who, why'
\echo
SELECT version AS v, to_char(occurred_at, 'YYYY-MM-DD HH24:MI') AS occurred_at, actor, type, moved, reason, detail
  FROM lead.timeline WHERE lead_id = '1001' ORDER BY version;

\echo '--- The board, an ordinary table kept in the same transactions'
\echo
SELECT * FROM lead.board;

\echo '--- Deals that fell through, by agent, quarter and reason'
\echo
SELECT * FROM lead.collapse_report ORDER BY agent_id, quarter, reason;

\echo '--- How Ada came to where she is, and how long it took'
\echo
SELECT state, visit, entered_at::date, duration, arrival_path
  FROM eventsource.state_periods WHERE stream = 'lead-1001' ORDER BY entered_version;

\echo '--- In which state was she on the first of February, at the end of March, and now?'
\echo
SELECT eventsource.state_at('lead-1001', '2026-02-01', 'occurred') AS february,
	   eventsource.state_at('lead-1001', '2026-03-31', 'occurred') AS march,
	   eventsource.current_state('lead-1001') AS now;

\echo '--- What happened stays: nobody edits the log'
\echo
UPDATE eventsource.events SET reason = 'changed_mind' WHERE stream = 'lead-1001';
DELETE FROM eventsource.event;
UPDATE lead.leads SET state = 'CLOSED' WHERE lead_id = '1001';

\echo
\echo '--- Proof: the chain of hashes, every transition, every row of the projections'
\echo
SELECT (SELECT count(*) FROM eventsource.verify_chain())                          AS broken_links,
	   (SELECT count(*) FROM eventsource.verify_transitions())                    AS illegal_transitions,
	   (SELECT count(*) FROM eventsource.verify_projection('lead.leads'))         AS wrong_leads,
	   (SELECT count(*) FROM eventsource.verify_projection('lead.deal_collapses')) AS wrong_collapses;

\echo '--- The state machine, to paste into anything that draws mermaid'
\echo
\pset tuples_only on
\pset format unaligned
SELECT eventsource.state_machine_diagram('lead');
