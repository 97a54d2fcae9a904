-- What is legal: state machines and categories, and how to ask about them.

-- Defining.

CREATE FUNCTION eventsource.create_state_machine(name text, definition jsonb) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_create_state_machine' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.create_state_machine(text, jsonb) IS
	'Defines a state machine, or a new version of it; returns the version, which is in force for appends from now on. definition: {"initial", "create", "states": {name: {"type": "final", "on": {type: edge}, "after": {interval: type}}}, "on": {type: edge}, "reasons": {code: {"category", "label"}}}; an edge is the name of a state, an object of target, reason (required, optional, forbidden), reasons, guard, fill, kind (forward, backward) and label, or a list of such candidates. What "after" names is appended by run_due() when a stream has been in the state for so long: an event type, an object of type, reason, guard and label, or a list of such candidates. Errors: ZE011, with all problems listed; nothing is changed then.';

CREATE FUNCTION eventsource.create_category(
	name text, state_machine text DEFAULT NULL, context regclass DEFAULT NULL,
	strict boolean DEFAULT false, subject text DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_create_category' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.create_category(text, text, regclass, boolean, text) IS
	'Declares a category of streams, or declares it anew: what is left out then is taken away, with a warning. Returns the version of its definition. state_machine: the machine, always in its latest version, that decides on every append. context: an inline projection keyed by the stream, whose row guards and fill values see as "row". strict: refuse event types that are not registered (register_event_type), also where the machine knows them. subject: expression over event that says whom an event is about, where its type does not say (default: its stream). Errors: ZE011, undefined_object.';

-- Definitions as views. Each is an event in a stream of category $config, read
-- by stream, so that the size of the log does not matter.

CREATE VIEW eventsource.state_machines AS
SELECT e.data ->> 'name' AS name,
	   e.version,
	   e.version = max(e.version) OVER (PARTITION BY s.id) AS is_current,
	   e.data #>> '{definition,initial}' AS initial,
	   e.data -> 'definition' AS definition,
	   e.data ->> 'owner' AS owner,
	   e.actor AS defined_by,
	   e.recorded_at AS defined_at,
	   e.position
  FROM eventsource.stream s
 CROSS JOIN LATERAL eventsource.read_stream(s.name) e
 WHERE s.name >= '$config-state_machine.' AND s.name < '$config-state_machine/';
COMMENT ON VIEW eventsource.state_machines IS
	'State machines, one row per version; is_current marks the one in force.';
COMMENT ON COLUMN eventsource.state_machines.name IS 'Name of the state machine.';
COMMENT ON COLUMN eventsource.state_machines.version IS 'Version: 1, 2, 3 ...';
COMMENT ON COLUMN eventsource.state_machines.is_current IS 'True for the latest version, which decides on appends.';
COMMENT ON COLUMN eventsource.state_machines.initial IS 'State in which a stream starts; NULL if its creating events say.';
COMMENT ON COLUMN eventsource.state_machines.definition IS 'The definition as it was given.';
COMMENT ON COLUMN eventsource.state_machines.owner IS 'Role whose rights the expressions have.';
COMMENT ON COLUMN eventsource.state_machines.defined_by IS 'Actor who defined it.';
COMMENT ON COLUMN eventsource.state_machines.defined_at IS 'When it was defined.';
COMMENT ON COLUMN eventsource.state_machines.position IS 'Place of the definition in the log.';

CREATE FUNCTION eventsource.state_machine_edges(definition jsonb)
	RETURNS TABLE (from_state text, type text, candidate integer, to_state text, is_root boolean,
				   reason text, reasons text[], guard text, fill jsonb, kind text, label text)
	AS 'MODULE_PATHNAME', 'eventsource_state_machine_edges' LANGUAGE C STABLE PARALLEL SAFE ROWS 30;
COMMENT ON FUNCTION eventsource.state_machine_edges(jsonb) IS
	'Private, for views: the edges of a state machine''s definition, those of the root in every state that they hold for.';

CREATE VIEW eventsource.state_machine_transitions AS
SELECT m.name AS state_machine, m.version, m.is_current,
	   t.from_state, t.type, t.candidate, t.to_state, t.is_root,
	   t.reason, t.reasons, t.guard, t.fill, t.kind, t.label
  FROM eventsource.state_machines m
 CROSS JOIN LATERAL eventsource.state_machine_edges(m.definition) t;
COMMENT ON VIEW eventsource.state_machine_transitions IS
	'What the state machines allow: one row per version, state, event type and candidate.';
COMMENT ON COLUMN eventsource.state_machine_transitions.state_machine IS 'Name of the state machine.';
COMMENT ON COLUMN eventsource.state_machine_transitions.version IS 'Its version.';
COMMENT ON COLUMN eventsource.state_machine_transitions.is_current IS 'True for the version in force.';
COMMENT ON COLUMN eventsource.state_machine_transitions.from_state IS 'State before; NULL for the first event of a stream.';
COMMENT ON COLUMN eventsource.state_machine_transitions.type IS 'Event type that triggers it.';
COMMENT ON COLUMN eventsource.state_machine_transitions.candidate IS
	'Candidates of one type are tried in this order; the first whose guards hold is taken.';
COMMENT ON COLUMN eventsource.state_machine_transitions.to_state IS 'State after; the same where the event moves nothing.';
COMMENT ON COLUMN eventsource.state_machine_transitions.is_root IS 'True if it is defined for every state at once.';
COMMENT ON COLUMN eventsource.state_machine_transitions.reason IS 'required, optional or forbidden.';
COMMENT ON COLUMN eventsource.state_machine_transitions.reasons IS 'The codes it takes; NULL: any of the machine.';
COMMENT ON COLUMN eventsource.state_machine_transitions.guard IS 'Condition that must hold; NULL: none.';
COMMENT ON COLUMN eventsource.state_machine_transitions.fill IS 'Fields that the database adds to data, with their expressions.';
COMMENT ON COLUMN eventsource.state_machine_transitions.kind IS 'forward or backward; NULL: not said.';
COMMENT ON COLUMN eventsource.state_machine_transitions.label IS 'Text for people.';

CREATE FUNCTION eventsource.state_machine_after(definition jsonb)
	RETURNS TABLE (state text, after interval, candidate integer, type text, reason text, guard text, label text)
	AS 'MODULE_PATHNAME', 'eventsource_state_machine_after' LANGUAGE C STABLE PARALLEL SAFE ROWS 5;
COMMENT ON FUNCTION eventsource.state_machine_after(jsonb) IS
	'Private, for views: the timeouts of the states of a state machine''s definition.';

CREATE VIEW eventsource.state_machine_timeouts AS
SELECT m.name AS state_machine, m.version, m.is_current,
	   t.state, t.after, t.candidate, t.type, t.reason, t.guard, t.label
  FROM eventsource.state_machines m
 CROSS JOIN LATERAL eventsource.state_machine_after(m.definition) t;
COMMENT ON VIEW eventsource.state_machine_timeouts IS
	'What the state machines append by themselves when a stream has been in a state for long enough: one row per version, state, length and candidate.';
COMMENT ON COLUMN eventsource.state_machine_timeouts.state_machine IS 'Name of the state machine.';
COMMENT ON COLUMN eventsource.state_machine_timeouts.version IS 'Its version.';
COMMENT ON COLUMN eventsource.state_machine_timeouts.is_current IS 'True for the version in force.';
COMMENT ON COLUMN eventsource.state_machine_timeouts.state IS 'The state.';
COMMENT ON COLUMN eventsource.state_machine_timeouts.after IS 'How long after it was entered, in UTC, on occurred_at.';
COMMENT ON COLUMN eventsource.state_machine_timeouts.candidate IS
	'Candidates of one timeout are tried in this order; the first whose guards hold is taken.';
COMMENT ON COLUMN eventsource.state_machine_timeouts.type IS 'Event type that is appended.';
COMMENT ON COLUMN eventsource.state_machine_timeouts.reason IS 'Its reason code; NULL: none.';
COMMENT ON COLUMN eventsource.state_machine_timeouts.guard IS 'Condition that must hold when it is due; NULL: none.';
COMMENT ON COLUMN eventsource.state_machine_timeouts.label IS 'Text for people.';

CREATE VIEW eventsource.reason_codes AS
SELECT m.name AS state_machine, m.version, m.is_current,
	   r.key AS code, r.value ->> 'category' AS category, r.value ->> 'label' AS label
  FROM eventsource.state_machines m
 CROSS JOIN LATERAL pg_catalog.jsonb_each(m.definition -> 'reasons') r;
COMMENT ON VIEW eventsource.reason_codes IS
	'Reason codes that the state machines declare, one row per version and code.';
COMMENT ON COLUMN eventsource.reason_codes.state_machine IS 'Name of the state machine.';
COMMENT ON COLUMN eventsource.reason_codes.version IS 'Its version.';
COMMENT ON COLUMN eventsource.reason_codes.is_current IS 'True for the version in force.';
COMMENT ON COLUMN eventsource.reason_codes.code IS 'The code, as an event''s reason.';
COMMENT ON COLUMN eventsource.reason_codes.category IS 'What it counts as.';
COMMENT ON COLUMN eventsource.reason_codes.label IS 'Text for people.';

CREATE VIEW eventsource.categories AS
SELECT e.data ->> 'name' AS name,
	   e.version,
	   e.data ->> 'state_machine' AS state_machine,
	   e.data ->> 'context' AS context,
	   (e.data ->> 'strict')::boolean AS strict,
	   e.data ->> 'subject' AS subject,
	   e.data ->> 'owner' AS owner,
	   e.recorded_at AS defined_at
  FROM eventsource.stream s
 CROSS JOIN LATERAL eventsource.read_stream(s.name, max_count => 1, backward => true) e
 WHERE s.name >= '$config-category.' AND s.name < '$config-category/';
COMMENT ON VIEW eventsource.categories IS
	'Declared categories of streams, as they are now. Others are allowed too, and have no rules.';
COMMENT ON COLUMN eventsource.categories.name IS 'What stands before the first hyphen of the names of its streams.';
COMMENT ON COLUMN eventsource.categories.version IS 'How often it was declared.';
COMMENT ON COLUMN eventsource.categories.state_machine IS 'State machine that its streams follow.';
COMMENT ON COLUMN eventsource.categories.context IS 'Projection whose row guards and fill values see.';
COMMENT ON COLUMN eventsource.categories.strict IS 'True if event types that are not registered are refused.';
COMMENT ON COLUMN eventsource.categories.subject IS 'Expression that says whom an event is about; NULL: its stream.';
COMMENT ON COLUMN eventsource.categories.owner IS 'Role that declared it.';
COMMENT ON COLUMN eventsource.categories.defined_at IS 'When it was declared last.';

-- Asking about one stream.

CREATE FUNCTION eventsource.current_state(stream text) RETURNS text
	AS 'MODULE_PATHNAME', 'eventsource_current_state' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.current_state(text) IS
	'State of a stream; NULL if it does not exist or follows no state machine.';

CREATE FUNCTION eventsource.state_at(stream text, at timestamptz, basis text DEFAULT 'recorded') RETURNS text
	AS 'MODULE_PATHNAME', 'eventsource_state_at' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.state_at(text, timestamptz, text) IS
	'State of a stream as of a moment, inclusive; NULL if it had none. basis ''recorded'': as it was known at that time; ''occurred'': as it was then, by what is known now, corrections included (an event counts as no earlier than those before it).';

CREATE FUNCTION eventsource.allowed_transitions(stream text)
	RETURNS TABLE (type text, target text, reason text, reasons text[], guard text, label text, is_allowed boolean)
	AS 'MODULE_PATHNAME', 'eventsource_allowed_transitions' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.allowed_transitions(text) IS
	'What can happen next to a stream, existing or not: event types, the state each leads to (target), whether it takes a reason (required, optional, forbidden) and which codes (NULL: it does not say), and whether its guards hold now (is_allowed; NULL where they depend on what the event will say; false in a strict category if the type is not registered). No rows where the category has no state machine: there everything is allowed.';

CREATE FUNCTION eventsource.can_append(
	stream text, type text, data jsonb DEFAULT '{}', reason text DEFAULT NULL, schema_version integer DEFAULT NULL,
	OUT allowed boolean, OUT sqlstate text, OUT message text, OUT detail text, OUT hint text, OUT state text)
	RETURNS record
	AS 'MODULE_PATHNAME', 'eventsource_can_append' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.can_append(text, text, jsonb, text, integer) IS
	'Would append() with these arguments be allowed now? If not: sqlstate, message, detail (of data that its schema refuses: every failure, by path) and hint of the error it would raise; if so: the state that the stream would then be in. Writes and locks nothing.';

CREATE FUNCTION eventsource.state_machine_diagram(name text, format text DEFAULT 'mermaid') RETURNS text
	AS 'MODULE_PATHNAME', 'eventsource_state_machine_diagram' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.state_machine_diagram(text, text) IS
	'The current version of a state machine as a diagram: format ''mermaid'' (stateDiagram-v2) or ''dot'' (graphviz). Errors: undefined_object, invalid_parameter_value.';

-- History.

CREATE FUNCTION eventsource.verify_transitions(stream text DEFAULT NULL)
	RETURNS TABLE (stream_name text, version bigint, event_position bigint, problem text)
	AS 'MODULE_PATHNAME', 'eventsource_verify_transitions' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION eventsource.verify_transitions(text) IS
	'Replays the events of a stream (NULL: of all streams) through the versions of the state machines that allowed them: one row per event that they would not allow, as it was appended or as corrected; none when all is well. Guards that need the context row are not evaluated. A NOTICE tells of a stream that does not exist.';

CREATE FUNCTION eventsource.compare_machine(
	category text, definition jsonb, all_differences boolean DEFAULT false,
	filter text DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	basis text DEFAULT 'recorded')
	RETURNS TABLE (stream text, version bigint, event_position bigint, type text, from_state text, to_state text,
				   proposed_from text, proposed_state text, sqlstate text, problem text)
	AS 'MODULE_PATHNAME', 'eventsource_compare_machine' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION eventsource.compare_machine(text, jsonb, boolean, text, timestamptz, timestamptz, text) IS
	'What another state machine would make of the events of a category, touching nothing: each stream is run from its first event as if the definition had been in force, and the first event of a stream that differs is returned (all_differences: every one). sqlstate, problem: the error that the append would have raised; NULL: it is allowed but leads to another state, proposed_state instead of to_state. An event that would be refused is left out of what follows, in the stream and in the context row that guards see as "row"; the context is folded by its present rules. Events that were appended past the machine (captured changes of no state, backfill, recorded violations) pass this one, too; corrected events count as corrected, voided ones not at all. Where the category had no state machine, only refusals are differences. filter (an expression over event), since (inclusive) and until (exclusive; basis ''recorded'' or ''occurred''): which events are told of; all are run. Expressions have your rights. Errors: ZE011 lists every problem of the definition; 42501 without SELECT on the context''s table or where its row security applies.';

-- One row per event of a stream with a state, and per event by which a stream
-- leaves its machine. effective_at never goes back.
CREATE FUNCTION eventsource.includes_synthetic() RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_includes_synthetic' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.includes_synthetic() IS
	'Private, for views: the setting eventsource.include_synthetic.';

CREATE VIEW eventsource.step AS
SELECT x.position, x.stream, x.category, x.key, x.version, x.type, x.reason, x.actor,
	   x.from_state, x.to_state, x.machine, x.is_synthetic, x.occurred_at, x.recorded_at, x.effective_at
  FROM (SELECT e.position,
			   s.name AS stream,
			   c.word AS category,
			   substr(s.name, length(c.word) + 2) AS key,
			   e.version,
			   t.word AS type,
			   r.word AS reason,
			   a.word AS actor,
			   f.word AS from_state,
			   o.word AS to_state,
			   m.word AS machine,
			   (e.flags & 1) <> 0 AS is_synthetic,
			   eventsource.occurred_at(e.recorded_at, e.extra) AS occurred_at,
			   e.recorded_at,
			   max(eventsource.occurred_at(e.recorded_at, e.extra)) OVER (PARTITION BY s.name, c.word, substr(s.name, length(c.word) + 2)
										ORDER BY e.version) AS effective_at
		  FROM eventsource.event e
		  LEFT JOIN eventsource.stream s ON s.id = e.stream
		  LEFT JOIN eventsource.word c ON c.id = (e.stream >> 40)::integer
		  LEFT JOIN eventsource.word t ON t.id = e.type
		  LEFT JOIN eventsource.word r ON r.id = e.reason
		  LEFT JOIN eventsource.word a ON a.id = e.actor
		  LEFT JOIN eventsource.word f ON f.id = eventsource.corrected_state(e.stream, e.position, e.from_state, true)
		  LEFT JOIN eventsource.word o ON o.id = eventsource.corrected_state(e.stream, e.position, e.to_state, false)
		  LEFT JOIN eventsource.word m ON m.id = e.machine
		 WHERE (e.flags & 48) = 0 AND eventsource.may_read_stream(e.stream)
		   AND NOT EXISTS (SELECT FROM eventsource.correction v
							WHERE v.corrects = e.position AND v.is_void
							  AND NOT EXISTS (SELECT FROM eventsource.correction l
											   WHERE l.corrects = v.corrects AND l.position > v.position))) x
 WHERE x.to_state IS NOT NULL OR x.from_state IS NOT NULL;
COMMENT ON VIEW eventsource.step IS
	'Private, for views: events that a state machine allowed, as corrected, with the machine and a time that never goes back within a stream.';

CREATE VIEW eventsource.transitions AS
SELECT x.position, x.stream, x.category, x.key, x.version,
	   x.from_state, x.to_state, x.type, x.reason,
	   r.category AS reason_category,
	   x.actor,
	   k.kind,
	   x.occurred_at, x.recorded_at,
	   CASE WHEN NOT x.after_synthetic OR eventsource.includes_synthetic() THEN x.duration END AS duration,
	   x.is_synthetic
  FROM (SELECT p.position, p.stream, p.category, p.key, p.version,
			   p.from_state, p.to_state, p.type, p.reason, p.actor, p.machine, p.is_synthetic,
			   p.occurred_at, p.recorded_at,
			   lag(p.is_synthetic) OVER w AS after_synthetic,
			   p.effective_at - lag(p.effective_at) OVER w AS duration
		  FROM eventsource.step p
		 WHERE p.to_state IS DISTINCT FROM p.from_state
		WINDOW w AS (PARTITION BY p.stream, p.category, p.key ORDER BY p.version)) x
  LEFT JOIN (SELECT c.state_machine || '@' || c.version AS machine, c.code, c.category
			   FROM eventsource.reason_codes c) r
	ON r.machine = x.machine AND r.code = x.reason
  LEFT JOIN (SELECT t.state_machine || '@' || t.version AS machine,
					coalesce(t.from_state, '') AS from_state, t.type, t.to_state, min(t.kind) AS kind
			   FROM eventsource.state_machine_transitions t
			  GROUP BY 1, 2, 3, 4) k
	ON k.machine = x.machine AND k.from_state = coalesce(x.from_state, '')
   AND k.type = x.type AND k.to_state = x.to_state
 WHERE NOT x.is_synthetic OR eventsource.includes_synthetic();
COMMENT ON VIEW eventsource.transitions IS
	'One row per change of state, in streams that follow a state machine, as corrected: voided events are left out. So are events that leave the state as it is, and synthetic ones unless eventsource.include_synthetic is on. Order by version (one stream) or position.';
COMMENT ON COLUMN eventsource.transitions.position IS 'Place of the event in the log.';
COMMENT ON COLUMN eventsource.transitions.stream IS 'Stream name.';
COMMENT ON COLUMN eventsource.transitions.category IS 'Category of the stream.';
COMMENT ON COLUMN eventsource.transitions.key IS 'Key of the stream within its category.';
COMMENT ON COLUMN eventsource.transitions.version IS 'Place of the event in the stream.';
COMMENT ON COLUMN eventsource.transitions.from_state IS 'State before; NULL at the start of the stream.';
COMMENT ON COLUMN eventsource.transitions.to_state IS 'State after; NULL where the stream leaves the machine, as that of a deleted row does.';
COMMENT ON COLUMN eventsource.transitions.type IS 'Event type that triggered it.';
COMMENT ON COLUMN eventsource.transitions.reason IS 'Reason code.';
COMMENT ON COLUMN eventsource.transitions.reason_category IS 'Category of the reason, by the version of the machine that was in force.';
COMMENT ON COLUMN eventsource.transitions.actor IS 'Who did it.';
COMMENT ON COLUMN eventsource.transitions.kind IS 'forward or backward, as the machine says.';
COMMENT ON COLUMN eventsource.transitions.occurred_at IS 'When it happened.';
COMMENT ON COLUMN eventsource.transitions.recorded_at IS 'When it was recorded.';
COMMENT ON COLUMN eventsource.transitions.duration IS
	'How long the previous state lasted, by occurred_at, never negative; NULL at the start, and after a synthetic event.';
COMMENT ON COLUMN eventsource.transitions.is_synthetic IS
	'True if made up from older data; such rows are here only while eventsource.include_synthetic is on.';

CREATE VIEW eventsource.state_periods AS
SELECT x.stream, x.category, x.key, x.state, x.visit, x.entered_at, x.exited_at, x.duration,
	   x.arrival_path, x.arrival_type, x.arrival_reason, x.entered_version, x.entered_position, x.is_current,
	   x.begins_synthetic
  FROM (SELECT p.stream, p.category, p.key,
			   p.to_state AS state,
			   row_number() OVER (PARTITION BY p.stream, p.category, p.key, p.to_state ORDER BY p.version) AS visit,
			   CASE WHEN p.is_known THEN p.effective_at END AS entered_at,
			   lead(p.effective_at) OVER w AS exited_at,
			   CASE WHEN p.is_known THEN lead(p.effective_at) OVER w - p.effective_at END AS duration,
			   concat_ws(' > ', CASE WHEN p.is_synthetic AND p.from_state IS NULL THEN 'no history before' END,
						 lag(p.from_state) OVER w, p.from_state, p.to_state) AS arrival_path,
			   p.type AS arrival_type,
			   p.reason AS arrival_reason,
			   p.version AS entered_version,
			   p.position AS entered_position,
			   lead(p.version) OVER w IS NULL AS is_current,
			   p.is_synthetic AS begins_synthetic
		  FROM (SELECT s.*, NOT s.is_synthetic OR eventsource.includes_synthetic() AS is_known
				  FROM eventsource.step s) p
		 WHERE p.to_state IS DISTINCT FROM p.from_state
		WINDOW w AS (PARTITION BY p.stream, p.category, p.key ORDER BY p.version)) x
 WHERE x.state IS NOT NULL;
COMMENT ON VIEW eventsource.state_periods IS
	'One row per visit of a stream to a state, as corrected. A visit that begins with a synthetic event has neither entered_at nor duration, unless eventsource.include_synthetic is on: nobody knows how long the state had lasted. Order by entered_version (one stream) or entered_position.';
COMMENT ON COLUMN eventsource.state_periods.stream IS 'Stream name.';
COMMENT ON COLUMN eventsource.state_periods.category IS 'Category of the stream.';
COMMENT ON COLUMN eventsource.state_periods.key IS 'Key of the stream within its category.';
COMMENT ON COLUMN eventsource.state_periods.state IS 'The state.';
COMMENT ON COLUMN eventsource.state_periods.visit IS 'Which visit of the stream to this state it is: 1, 2, 3 ...';
COMMENT ON COLUMN eventsource.state_periods.entered_at IS
	'When the state was entered: occurred_at, but never before the event that came before; NULL if that is not known.';
COMMENT ON COLUMN eventsource.state_periods.exited_at IS 'When it was left; NULL while it lasts.';
COMMENT ON COLUMN eventsource.state_periods.duration IS 'From entered_at to exited_at; NULL while it lasts.';
COMMENT ON COLUMN eventsource.state_periods.arrival_path IS
	'The way in: up to two states before, then this one, as in ''QUALIFIED > COMMITTED > QUALIFIED''; it begins with ''no history before'' where the stream does with a synthetic event.';
COMMENT ON COLUMN eventsource.state_periods.arrival_type IS 'Event type that led in.';
COMMENT ON COLUMN eventsource.state_periods.arrival_reason IS 'Its reason code.';
COMMENT ON COLUMN eventsource.state_periods.entered_version IS 'Place of that event in the stream.';
COMMENT ON COLUMN eventsource.state_periods.entered_position IS 'Place of that event in the log.';
COMMENT ON COLUMN eventsource.state_periods.is_current IS
	'True for the state in which the stream is now; of a stream that left its machine, none is.';
COMMENT ON COLUMN eventsource.state_periods.begins_synthetic IS 'True if the event that led in was made up from older data.';

-- A state machine over any table.

CREATE TYPE eventsource.machine_run AS (
	state        text,
	steps        bigint,
	illegal_step bigint,
	illegal_type text,
	message      text
);
COMMENT ON TYPE eventsource.machine_run IS
	'What run_machine returns: the last state (NULL if none, or if guards would decide), the number of legal steps, and the first illegal step with its event type and what is wrong with it (NULL if all were legal).';

CREATE FUNCTION eventsource.run_machine_step(run internal, machine text, event_type text) RETURNS internal
	AS 'MODULE_PATHNAME', 'eventsource_run_machine_step' LANGUAGE C STABLE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.run_machine_step(internal, text, text) IS
	'Private, for the aggregate run_machine: one step.';

CREATE FUNCTION eventsource.run_machine_result(run internal) RETURNS eventsource.machine_run
	AS 'MODULE_PATHNAME', 'eventsource_run_machine_result' LANGUAGE C STABLE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.run_machine_result(internal) IS
	'Private, for the aggregate run_machine: its result.';

CREATE AGGREGATE eventsource.run_machine(machine text, event_type text) (
	SFUNC = eventsource.run_machine_step,
	STYPE = internal,
	FINALFUNC = eventsource.run_machine_result
);
COMMENT ON AGGREGATE eventsource.run_machine(text, text) IS
	'Runs a state machine over the event types of any table: run_machine(''lead'', type ORDER BY n). Returns the final state, or the first illegal step. Guards and reasons are not judged. NULL without rows. Errors: undefined_object.';
