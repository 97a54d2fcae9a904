-- Projections that follow the log at their own pace, and handlers.

-- How far each of them has come. Written with every batch, hence narrow.
CREATE TABLE eventsource.projection_cursor (
	name       text COLLATE "C" NOT NULL CONSTRAINT projection_cursor_pkey PRIMARY KEY,
	position   bigint      NOT NULL,
	applied_at timestamptz NOT NULL
) USING heap WITH (fillfactor = 50, vacuum_truncate = false);

-- Those that stand still, and why.
CREATE TABLE eventsource.projection_failure (
	name      text COLLATE "C" NOT NULL CONSTRAINT projection_failure_pkey PRIMARY KEY,
	position  bigint      NOT NULL,
	failed_at timestamptz NOT NULL,
	sqlstate  text        NOT NULL,
	message   text        NOT NULL,
	detail    text
) USING heap;

COMMENT ON TABLE eventsource.projection_cursor IS
	'Private: up to which position async projections and handlers have come. Read the views eventsource.projections and eventsource.handlers.';
COMMENT ON TABLE eventsource.projection_failure IS
	'Private: async projections and handlers that failed. Read the views eventsource.projections and eventsource.handlers.';

SELECT pg_catalog.pg_extension_config_dump('eventsource.projection_cursor', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.projection_failure', '');

CREATE FUNCTION eventsource.run_projections(target regclass DEFAULT NULL, max_events bigint DEFAULT NULL)
	RETURNS TABLE (projection regclass, handler text, events bigint, event_position bigint, status text, error text)
	AS 'MODULE_PATHNAME', 'eventsource_run_projections' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.run_projections(regclass, bigint) IS
	'Brings the projections in mode async and the handlers, or the projection of one table, up to the watermark, or max_events events further each. Cursor and rows move in this transaction; what it has appended itself is not final yet and comes later. One row each: events dealt with; event_position: up to where; status: current (nothing is left below the watermark), behind (it stopped at max_events), parked (it failed at an event and stands still, see resume_projection; the others go on), retry (a lost race, a lock or memory not had, or for handlers deferred triggers of your transaction that wait for its end: the next run tries again), busy (another session is at it). Errors: 42809 if the table is no projection in mode async, 22023 for max_events below 1.';

CREATE FUNCTION eventsource.resume_projection(target regclass) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_resume_projection' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.resume_projection(regclass) IS
	'Lets a parked projection go on: the next run tries the event again that it failed at. False if it was not parked. Errors: 42809 if the table is no projection in mode async.';

CREATE FUNCTION eventsource.follower_states()
	RETURNS TABLE (name text, "position" bigint, applied_at timestamptz, lag bigint, lag_seconds double precision,
				   max_lag_seconds double precision, status text, failed_position bigint, failed_at timestamptz,
				   sqlstate text, error text, detail text)
	AS 'MODULE_PATHNAME', 'eventsource_follower_states' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.follower_states() IS
	'Private, for views: how far async projections, handlers and publications have come. Errors are shown to who may read the table, or has the rights of the owner.';

CREATE VIEW eventsource.projections AS
SELECT d.target,
	   d.name,
	   ARRAY(SELECT jsonb_array_elements_text(d.definition -> 'category')) AS category,
	   d.definition ->> 'mode' AS mode,
	   d.definition ->> 'keyed_by' AS keyed_by,
	   d.version,
	   d.definition ->> 'owner' AS owner,
	   (SELECT e.recorded_at FROM eventsource.event e WHERE e.position = d.event_position) AS defined_at,
	   d.definition -> 'rules' AS rules,
	   d.definition -> 'key' AS key,
	   d.definition ->> 'each' AS each,
	   d.definition -> 'settings' AS settings,
	   f.position,
	   f.lag,
	   f.lag_seconds,
	   f.max_lag_seconds,
	   f.status,
	   f.failed_position,
	   f.failed_at,
	   f.sqlstate,
	   f.error,
	   f.detail
  FROM eventsource.projection_definitions() d
  LEFT JOIN eventsource.follower_states() f ON f.name = 'projection.' || d.name;

COMMENT ON VIEW eventsource.projections IS
	'The projections, one row each, as they are defined now. One whose table was dropped does nothing any more; what was defined stays to be seen, with target NULL, until a table of the same name becomes a projection.';
COMMENT ON COLUMN eventsource.projections.target IS 'The table; NULL if it was dropped: the projection does nothing then.';
COMMENT ON COLUMN eventsource.projections.name IS 'Name of the definition: the table''s, when it was first defined.';
COMMENT ON COLUMN eventsource.projections.category IS 'Categories whose events it folds.';
COMMENT ON COLUMN eventsource.projections.mode IS 'inline: in the transaction that appends. async: by run_projections or the worker.';
COMMENT ON COLUMN eventsource.projections.keyed_by IS 'What a row belongs to: stream, event, or data (rows that several streams may share).';
COMMENT ON COLUMN eventsource.projections.version IS 'Version of the definition; a dropped one counts too.';
COMMENT ON COLUMN eventsource.projections.owner IS 'Role that defined it, whose rights its expressions have.';
COMMENT ON COLUMN eventsource.projections.defined_at IS 'When this version was defined.';
COMMENT ON COLUMN eventsource.projections.rules IS 'Event type -> what it does to a row.';
COMMENT ON COLUMN eventsource.projections.key IS 'Primary key column -> expression; NULL: event.key.';
COMMENT ON COLUMN eventsource.projections.each IS 'Set-returning expression whose elements are "item"; NULL: none.';
COMMENT ON COLUMN eventsource.projections.settings IS 'At which pace an async one follows: interval, max_batch, max_lag; NULL: the defaults.';
COMMENT ON COLUMN eventsource.projections.position IS
	'Up to which position an async one holds the fold of the events; NULL for an inline one, which holds all.';
COMMENT ON COLUMN eventsource.projections.lag IS 'Positions from there to the watermark.';
COMMENT ON COLUMN eventsource.projections.lag_seconds IS 'For how long the first event after that position has been there; 0 if there is none.';
COMMENT ON COLUMN eventsource.projections.max_lag_seconds IS 'The setting max_lag, in seconds.';
COMMENT ON COLUMN eventsource.projections.status IS
	'Of an async one: current; behind (lag_seconds is above max_lag_seconds); parked (it failed and stands still until resume_projection).';
COMMENT ON COLUMN eventsource.projections.failed_position IS 'Of a parked one: the event that it failed at; NULL: it could not even begin.';
COMMENT ON COLUMN eventsource.projections.failed_at IS 'Of a parked one: when it failed.';
COMMENT ON COLUMN eventsource.projections.sqlstate IS 'Of a parked one: SQLSTATE of the error.';
COMMENT ON COLUMN eventsource.projections.error IS 'Of a parked one: the error, for who may read the table.';
COMMENT ON COLUMN eventsource.projections.detail IS 'Of a parked one: DETAIL of the error, for who may read the table.';

-- Handlers: functions that are called with each event.

CREATE FUNCTION eventsource.create_handler(
	name text, category text[], handler regprocedure, filter text DEFAULT NULL, settings jsonb DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_create_handler' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.create_handler(text, text[], regprocedure, text, jsonb) IS
	'Has a function called with each event of some categories (NULL: all), as recorded, corrections as the events that they are; in order, each once, by run_projections or the worker, in the transaction that notes it. The function takes one eventsource.events and has your rights, under SECURITY_RESTRICTED_OPERATION and with search_path pg_catalog; what it returns is ignored; it may append, recorded by you and without the settings of whoever runs it. filter: an expression over event. settings: interval, max_batch, max_lag as for create_projection, and from_position (default 0: the first event; null: what comes from now on), which counts for a new handler. Again for the same name: a new version that goes on where the old one stood. Returns the version of the definition. Errors: ZE011 lists every problem; 42883 if there is no such function; 42501 if you may not execute it.';

CREATE FUNCTION eventsource.drop_handler(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_drop_handler' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.drop_handler(text) IS
	'Ends a handler; it is called no more, and where it stood is forgotten. Errors: 42704 if there is none of this name.';

CREATE FUNCTION eventsource.resume_handler(name text, skip boolean DEFAULT false) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_resume_handler' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.resume_handler(text, boolean) IS
	'Lets a parked handler go on: with the event that it failed at or, if skip, with the next one. False if it was not parked. Errors: 42704 if there is none of this name.';

CREATE FUNCTION eventsource.handler_definitions()
	RETURNS TABLE (name text, version bigint, event_position bigint, definition jsonb)
	AS 'MODULE_PATHNAME', 'eventsource_handler_definitions' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.handler_definitions() IS
	'Private, for views: the current definition of each handler.';

CREATE VIEW eventsource.handlers AS
SELECT d.name,
	   CASE WHEN d.definition ? 'category' THEN ARRAY(SELECT jsonb_array_elements_text(d.definition -> 'category')) END AS category,
	   d.definition ->> 'handler' AS handler,
	   d.definition ->> 'filter' AS filter,
	   d.definition -> 'settings' AS settings,
	   d.version,
	   d.definition ->> 'owner' AS owner,
	   (SELECT e.recorded_at FROM eventsource.event e WHERE e.position = d.event_position) AS defined_at,
	   false AS is_verifiable,
	   f.position,
	   f.lag,
	   f.lag_seconds,
	   f.max_lag_seconds,
	   f.status,
	   f.failed_position,
	   f.failed_at,
	   f.sqlstate,
	   f.error,
	   f.detail
  FROM eventsource.handler_definitions() d
  LEFT JOIN eventsource.follower_states() f ON f.name = 'handler.' || d.name;

COMMENT ON VIEW eventsource.handlers IS
	'The handlers, one row each, as they are defined now, and how far they have come.';
COMMENT ON COLUMN eventsource.handlers.name IS 'Name of the handler.';
COMMENT ON COLUMN eventsource.handlers.category IS 'Categories whose events it is called with; NULL: all.';
COMMENT ON COLUMN eventsource.handlers.handler IS 'The function.';
COMMENT ON COLUMN eventsource.handlers.filter IS 'Expression over event; NULL: every event.';
COMMENT ON COLUMN eventsource.handlers.settings IS 'interval, max_batch, max_lag, from_position; NULL: the defaults.';
COMMENT ON COLUMN eventsource.handlers.version IS 'Version of the definition; a dropped one counts too.';
COMMENT ON COLUMN eventsource.handlers.owner IS 'Role that defined it, whose rights it has.';
COMMENT ON COLUMN eventsource.handlers.defined_at IS 'When this version was defined.';
COMMENT ON COLUMN eventsource.handlers.is_verifiable IS
	'False: what a function does cannot be computed again to be compared, as a projection is by verify_projection.';
COMMENT ON COLUMN eventsource.handlers.position IS 'All events up to here are dealt with.';
COMMENT ON COLUMN eventsource.handlers.lag IS 'Positions from there to the watermark.';
COMMENT ON COLUMN eventsource.handlers.lag_seconds IS 'For how long the first event after that position has been there; 0 if there is none.';
COMMENT ON COLUMN eventsource.handlers.max_lag_seconds IS 'The setting max_lag, in seconds.';
COMMENT ON COLUMN eventsource.handlers.status IS
	'current; behind (lag_seconds is above max_lag_seconds); parked (it failed and stands still until resume_handler).';
COMMENT ON COLUMN eventsource.handlers.failed_position IS 'Of a parked one: the event that it failed at; NULL: it could not even begin.';
COMMENT ON COLUMN eventsource.handlers.failed_at IS 'Of a parked one: when it failed.';
COMMENT ON COLUMN eventsource.handlers.sqlstate IS 'Of a parked one: SQLSTATE of the error.';
COMMENT ON COLUMN eventsource.handlers.error IS 'Of a parked one: the error, for who has the rights of its owner.';
COMMENT ON COLUMN eventsource.handlers.detail IS 'Of a parked one: DETAIL of the error, likewise.';
