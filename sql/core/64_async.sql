-- Projections that follow the log at their own pace, and handlers.

-- How far each of them has come. Written with every batch, hence narrow.
CREATE TABLE eventsource.projection_cursor (
	name       text COLLATE "C" NOT NULL CONSTRAINT projection_cursor_pkey PRIMARY KEY,
	position   bigint      NOT NULL,
	applied_at timestamptz NOT NULL
) USING heap WITH (fillfactor = 50);

-- Those that stand still, and why.
CREATE TABLE eventsource.projection_failure (
	name      text COLLATE "C" NOT NULL CONSTRAINT projection_failure_pkey PRIMARY KEY,
	position  bigint      NOT NULL,
	failed_at timestamptz NOT NULL,
	sqlstate  text        NOT NULL,
	message   text        NOT NULL,
	detail    text
) USING heap;

COMMENT ON TABLE eventsource.projection_cursor IS 'Private: up to which position async projections and handlers have come. Read the views eventsource.projections and eventsource.handlers.';
COMMENT ON TABLE eventsource.projection_failure IS 'Private: async projections and handlers that failed. Read the views eventsource.projections and eventsource.handlers.';

SELECT pg_catalog.pg_extension_config_dump('eventsource.projection_cursor', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.projection_failure', '');

DO $$
DECLARE
	t text;
BEGIN
	FOREACH t IN ARRAY ARRAY['projection_cursor', 'projection_failure'] LOOP
		EXECUTE format('CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON eventsource.%I FOR EACH ROW EXECUTE FUNCTION eventsource.guard()', t);
		EXECUTE format('CREATE TRIGGER guard_statement BEFORE UPDATE OR DELETE OR TRUNCATE ON eventsource.%I FOR EACH STATEMENT EXECUTE FUNCTION eventsource.guard()', t);
		EXECUTE format('ALTER TABLE eventsource.%I ENABLE ALWAYS TRIGGER guard_row', t);
		EXECUTE format('ALTER TABLE eventsource.%I ENABLE ALWAYS TRIGGER guard_statement', t);
	END LOOP;
END
$$;

CREATE FUNCTION eventsource.run_projections(target regclass DEFAULT NULL, max_events bigint DEFAULT NULL)
	RETURNS TABLE (projection regclass, handler text, events bigint, event_position bigint, status text, error text)
	AS 'MODULE_PATHNAME', 'eventsource_run_projections' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.run_projections(regclass, bigint) IS
	'Brings the projections in mode async, or that of one table, up to the watermark, or max_events events further each. Cursor and rows move in this transaction; what it has appended itself is not final yet and comes later. One row each: events dealt with; event_position: up to where; status: current (nothing is left below the watermark), behind (it stopped at max_events), parked (it failed at an event and stands still, see resume_projection; the others go on), retry (a lost race, a lock or memory not had: the next run tries again), busy (another session is at it). Errors: 42809 if the table is no projection in mode async, 22023 for max_events below 1.';

CREATE FUNCTION eventsource.resume_projection(target regclass) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_resume_projection' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.resume_projection(regclass) IS
	'Lets a parked projection go on: the next run tries the event again that it failed at. False if it was not parked. Errors: 42809 if the table is no projection in mode async.';
