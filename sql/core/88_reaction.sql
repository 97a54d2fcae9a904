-- Reactions: what is done because of an event. src/rules/reaction.h, src/append/react.h.

CREATE FUNCTION eventsource.create_reaction(
	name text, category text, type text, condition text DEFAULT NULL, action jsonb DEFAULT NULL,
	run_at text DEFAULT NULL, key text DEFAULT NULL, settings jsonb DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_create_reaction' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.create_reaction(text, text, text, text, jsonb, text, text, jsonb) IS
	'Has something done because of each event of a type (* : all) in a category, in the transaction that appends it. condition, run_at (a timestamptz) and key (text) are expressions over event, state (after it) and row (of the category''s context, before it), with your rights; so are those in action, which has one of: {"enqueue": queue, "payload": expr (default event.data), "order_key": expr, "priority": n, "max_attempts": n}; {"append": type, "stream": expr, "data": expr, "reason": expr, "occurred_at": expr (a timestamptz; default now)}; {"cancel": reaction or [reactions]}: what they have scheduled for the same key (each must have one); {"call": "schema.function"}, f(eventsource.events, jsonb) returning jsonb, called by run_due; {"steps": [...]} of these, each with "wait": interval and "compensate": {...}. Without run_at, call and steps it is done at once; else by run_due when due, not before the transaction has committed; a later event with the same key replaces what is scheduled. If run_at is null for an event, nothing is done. settings: past ("run"; "skip"; "cap", with max_past: an interval), on_conflict ("replace" or "keep" what is scheduled for the key), imports (also for synthetic and imported events), allow_cycle. What it appends is recorded by you, with the actor reaction:<name>, causation_id and correlation_id. Again for the same name: a new version; what was scheduled goes on under its own. Returns the version. Errors: ZE011 lists every problem, also a way from it to itself; 42501 if you may not read the category, or not do what it does, or have not the rights of who defined the reaction before, or one that it cancels for; 42883 if there is no such function. Of appends: the expressions'' own errors, and 54001 if reactions caused each other more than 16 times.';

CREATE FUNCTION eventsource.drop_reaction(name text, cancel_jobs boolean DEFAULT false) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_drop_reaction' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.drop_reaction(text, boolean) IS
	'Ends a reaction: events that come later do not lead to anything by it. What it has scheduled is still done, unless cancel_jobs says that its jobs which nobody has claimed are cancelled. What makes up for steps that are done is still done in any case. Errors: 42704 if there is none of this name, 42501 without the rights of who defined it.';

CREATE FUNCTION eventsource.reaction_definitions()
	RETURNS TABLE (name text, version bigint, event_position bigint, definition jsonb)
	AS 'MODULE_PATHNAME', 'eventsource_reaction_definitions' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.reaction_definitions() IS
	'Private, for views: the current definition of each reaction.';

CREATE VIEW eventsource.reactions AS
SELECT d.name,
	   d.definition ->> 'category' AS category,
	   d.definition ->> 'type' AS type,
	   d.definition ->> 'condition' AS condition,
	   d.definition -> 'action' AS action,
	   d.definition ->> 'run_at' AS run_at,
	   d.definition ->> 'key' AS key,
	   d.definition -> 'settings' AS settings,
	   d.version,
	   d.definition ->> 'owner' AS owner,
	   (SELECT e.recorded_at FROM eventsource.event e WHERE e.position = d.event_position) AS defined_at
  FROM eventsource.reaction_definitions() d;

COMMENT ON VIEW eventsource.reactions IS
	'The reactions, one row each, as they are defined now. What they have scheduled is in eventsource.jobs.';
COMMENT ON COLUMN eventsource.reactions.name IS 'Name of the reaction.';
COMMENT ON COLUMN eventsource.reactions.category IS 'Category whose events lead to it.';
COMMENT ON COLUMN eventsource.reactions.type IS 'Type of these events; *: all.';
COMMENT ON COLUMN eventsource.reactions.condition IS 'Expression that must be true; NULL: none.';
COMMENT ON COLUMN eventsource.reactions.action IS 'What is done.';
COMMENT ON COLUMN eventsource.reactions.run_at IS 'Expression for when; NULL: at once.';
COMMENT ON COLUMN eventsource.reactions.key IS 'Expression for the key under which it is scheduled, and can be replaced or cancelled; NULL: none.';
COMMENT ON COLUMN eventsource.reactions.settings IS 'past, max_past, on_conflict, imports, allow_cycle; NULL: the defaults.';
COMMENT ON COLUMN eventsource.reactions.version IS 'Version of the definition; a dropped one counts too.';
COMMENT ON COLUMN eventsource.reactions.owner IS 'Role that defined it, whose rights it has.';
COMMENT ON COLUMN eventsource.reactions.defined_at IS 'When this version was defined.';
