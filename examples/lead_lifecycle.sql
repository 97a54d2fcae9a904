-- The lifecycle of a real-estate lead: eight states, the events that move a lead
-- between them, and the reasons that must be given when it falls back.
--
-- Needs the extension (CREATE EXTENSION eventsource) and nothing else:
--
--     psql -f lead_lifecycle.sql
--
-- What it makes: schema "lead" with the tables leads and deal_collapses, the state
-- machine "lead", and the category "lead", so that the streams lead-1, lead-2 ...
-- follow it. demo.sql tells a story with it.

CREATE SCHEMA lead;


-- 1. One row per lead, as it is now.
--
-- An ordinary table. Nobody writes to it: it is computed from the events, in the
-- transaction that appends them. The state machine below may look at a lead's own
-- row before it decides, so the projection is made first.

CREATE TABLE lead.leads (
	lead_id          text PRIMARY KEY,
	name             text,
	state            text NOT NULL,
	state_since      timestamptz NOT NULL,
	agent_id         text,
	contact_attempts integer NOT NULL DEFAULT 0,  -- since the lead was last cold
	demotions        integer NOT NULL DEFAULT 0,  -- deals that fell through
	flags            jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE lead.leads IS 'Leads as they are now: a projection, kept by eventsource.';

-- A rule is what a SET clause would say. "row" is the lead's row before the event,
-- "event" the event with the columns of the view eventsource.events. The rule '*'
-- holds for types without one of their own. What all rules have in common is the
-- state, so it is added to each.

SELECT eventsource.create_projection(
	'lead.leads', '{lead}',
	(SELECT jsonb_object_agg(rule.type, concat_ws(', ', rule.set,
		$$ state = event.to_state $$,
		$$ state_since = CASE WHEN event.to_state = event.from_state
						 THEN row.state_since ELSE event.occurred_at END $$))
	 FROM (VALUES
		('*', NULL),
		('contact_form_submission', $$ name = event.data->>'name' $$),
		('contact_info_updated',    $$ name = coalesce(event.data->>'name', row.name) $$),
		('contact_attempted',       $$ contact_attempts = row.contact_attempts + 1 $$),
		('lead_re_engaged',         $$ contact_attempts = 0 $$),
		('lead_assigned',           $$ agent_id = event.data->>'agent_id' $$),
		('deal_collapsed',          $$ demotions = row.demotions + 1 $$),
		('contract_voided',         $$ demotions = row.demotions + 1 $$),
		('flag_set',                $$ flags = row.flags
									   || jsonb_build_object(event.data->>'flag', event.occurred_at) $$),
		('flag_cleared',            $$ flags = row.flags - (event.data->>'flag') $$)
	 ) AS rule (type, set)),
	mode => 'inline');


-- 2. The state machine.
--
-- A type under a state's "on" moves the lead. Types under the last "on" hold in
-- every state and leave it as it is, unless the state says otherwise. Only the
-- types under "create" can start a lead, so a mistyped stream name makes none.
--
--   guard  conditions that must hold, over the event and the lead's row
--   fill   what the database writes into the event's data, from the lead's row;
--          callers cannot claim it
--   reasons  the codes that an edge takes; one of them is required then

SELECT eventsource.create_state_machine('lead', $$
{
  "description": "From the first contact to the closing",
  "initial": "NEW",
  "create": {"contact_form_submission": "NEW"},
  "states": {
    "NEW": {
      "on": {
        "contact_attempted": {"target": "CONTACTING", "kind": "forward"},
        "bogus_contact_detected": {
          "target": "TRASHED", "kind": "backward",
          "reasons": ["wrong_number", "fake_identity", "spam"]
        }
      }
    },
    "CONTACTING": {
      "on": {
        "motivation_confirmed": {"target": "QUALIFIED", "kind": "forward"},
        "timeout_21d_no_response": {
          "target": "ARCHIVED", "kind": "backward",
          "guard": [
            {"six_attempts": "row.contact_attempts >= 6"},
            {"twenty_one_days": "event.occurred_at - row.state_since >= interval '21 days'"}
          ]
        },
        "bogus_contact_detected": {
          "target": "TRASHED", "kind": "backward",
          "reasons": ["wrong_number", "fake_identity", "spam"]
        }
      }
    },
    "QUALIFIED": {
      "on": {
        "buyer_agreement_signed": {"target": "COMMITTED", "kind": "forward"},
        "timeout_180d_no_progress": {
          "target": "ARCHIVED", "kind": "backward",
          "guard": {"half_a_year": "event.occurred_at - row.state_since >= interval '180 days'"}
        }
      }
    },
    "COMMITTED": {
      "on": {
        "contract_executed": {"target": "IN_CONTRACT", "kind": "forward"},
        "deal_collapsed": {
          "target": "QUALIFIED", "kind": "backward",
          "label": "The deal fell through before a contract",
          "reasons": ["financing", "appraisal", "inspection", "buyer_disappeared", "changed_mind"],
          "fill": {"agent_id": "row.agent_id"}
        }
      }
    },
    "IN_CONTRACT": {
      "on": {
        "closing_complete": {"target": "CLOSED", "kind": "forward"},
        "contract_voided": {
          "target": "QUALIFIED", "kind": "backward",
          "label": "The contract was voided",
          "reasons": ["financing", "appraisal", "inspection", "buyer_disappeared", "mutual_release"],
          "fill": {"agent_id": "row.agent_id"}
        }
      }
    },
    "CLOSED": {"type": "final", "description": "A repeat deal is a new lead"},
    "ARCHIVED": {
      "on": {"lead_re_engaged": {"target": "CONTACTING", "kind": "forward"}}
    },
    "TRASHED": {
      "on": {"contact_info_updated": {"target": "NEW", "kind": "forward"}}
    }
  },
  "on": {
    "contact_attempted": {},
    "contact_info_updated": {},
    "note_added": {"reason": "forbidden"},
    "flag_set": {"guard": {"known_flag":
      "event.data->>'flag' IN ('unsubscribed', 'dnc', 'do_not_email', 'do_not_text', 'do_not_call')"}},
    "flag_cleared": {"guard": {"flag_is_set": "row.flags ? (event.data->>'flag')"}},
    "lead_assigned": {
      "reason": "optional",
      "reasons": ["schedule_conflict", "vacation", "left_company"],
      "guard": {"another_agent": "event.data->>'agent_id' <> coalesce(row.agent_id, '')"},
      "fill": {"from_agent_id": "row.agent_id"}
    }
  },
  "reasons": {
    "financing":         {"category": "financing",  "label": "Financing fell through"},
    "appraisal":         {"category": "financing",  "label": "Appraised below the price"},
    "inspection":        {"category": "inspection", "label": "The inspection killed it"},
    "buyer_disappeared": {"category": "buyer",      "label": "The buyer disappeared"},
    "changed_mind":      {"category": "buyer",      "label": "The buyer changed their mind"},
    "mutual_release":    {"category": "agreement",  "label": "Both sides agreed to part"},
    "wrong_number":      {"category": "bogus",      "label": "Wrong number"},
    "fake_identity":     {"category": "bogus",      "label": "Nobody of that name"},
    "spam":              {"category": "bogus",      "label": "Spam"},
    "schedule_conflict": {"category": "staffing",   "label": "The agent has no time"},
    "vacation":          {"category": "staffing",   "label": "The agent is away"},
    "left_company":      {"category": "staffing",   "label": "The agent left"}
  }
}
$$);


-- 3. The category binds the streams lead-... to the machine, and lets its guards
-- and fill values see the lead's row.

SELECT eventsource.create_category('lead', state_machine => 'lead', context => 'lead.leads');


-- 4. How often deals fall through: one row per agent, quarter and reason.
--
-- Its rows are shared between leads, so it is told to be inline: then it, too, is
-- right as soon as the event is there.

CREATE TABLE lead.deal_collapses (
	agent_id  text,
	quarter   text,
	reason    text,
	collapses integer NOT NULL DEFAULT 0,  -- before a contract
	voided    integer NOT NULL DEFAULT 0,  -- after it
	PRIMARY KEY (agent_id, quarter, reason)
);
COMMENT ON TABLE lead.deal_collapses IS 'Deals that fell through: a projection, kept by eventsource.';

SELECT eventsource.create_projection(
	'lead.deal_collapses', '{lead}',
	jsonb_build_object(
		'deal_collapsed',  $$ collapses = row.collapses + 1 $$,
		'contract_voided', $$ voided = row.voided + 1 $$),
	key => jsonb_build_object(
		'agent_id', $$ coalesce(event.data->>'agent_id', 'nobody') $$,
		'quarter',  $$ to_char(event.occurred_at, 'YYYY "Q"Q') $$,
		'reason',   $$ event.reason $$),
	mode => 'inline');


-- 5. Views for people: the board, a lead's timeline, and the report.

CREATE VIEW lead.board AS
SELECT l.state, count(*) AS leads, string_agg(l.name, ', ' ORDER BY l.name) AS names
  FROM lead.leads l
 GROUP BY l.state
 ORDER BY array_position(ARRAY['NEW', 'CONTACTING', 'QUALIFIED', 'COMMITTED', 'IN_CONTRACT',
							   'CLOSED', 'ARCHIVED', 'TRASHED'], l.state);
COMMENT ON VIEW lead.board IS 'How many leads are in each state, and who.';

CREATE VIEW lead.timeline AS
SELECT e.key AS lead_id, e.version, e.occurred_at, e.actor, e.type, e.reason,
	   CASE WHEN e.to_state IS DISTINCT FROM e.from_state
			THEN concat_ws(' > ', e.from_state, e.to_state) END AS moved,
	   CASE e.type
			WHEN 'lead_assigned' THEN concat_ws(' > ', e.data->>'from_agent_id', e.data->>'agent_id')
			WHEN 'note_added' THEN e.data->>'text'
			WHEN 'flag_set' THEN e.data->>'flag'
			WHEN 'flag_cleared' THEN e.data->>'flag'
	   END AS detail
  FROM eventsource.events e
 WHERE e.category = 'lead';
COMMENT ON VIEW lead.timeline IS 'Everything that happened to a lead; order by version.';

CREATE VIEW lead.collapse_report AS
SELECT c.agent_id, c.quarter, r.category, c.reason, r.label, c.collapses, c.voided
  FROM lead.deal_collapses c
  LEFT JOIN eventsource.reason_codes r
	ON r.state_machine = 'lead' AND r.is_current AND r.code = c.reason;
COMMENT ON VIEW lead.collapse_report IS 'Deals that fell through, with what their reasons mean.';
