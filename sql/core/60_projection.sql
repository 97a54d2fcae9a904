-- Projections: tables that are folds of events.

CREATE FUNCTION eventsource.create_projection(
	target regclass, category text[], rules jsonb, key jsonb DEFAULT NULL,
	mode text DEFAULT NULL, each text DEFAULT NULL, settings jsonb DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_create_projection' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.create_projection(regclass, text[], jsonb, jsonb, text, text, jsonb) IS
	'Makes a table of yours, with a primary key, a fold of the events of some categories, and fills it from those there are. rules: event type (or *) -> SET list over event and row, "DELETE", or an object with set, key, where, each, missing (create, skip, error). key: expression per primary key column, default event.key. each: set-returning expression, one row per item. mode: inline (in the transaction that appends; default where rows belong to one stream) or async (by run_projections or the worker; default where streams share rows). settings, for async alone: interval (length of time after which few events are enough to run, default "5 s"), max_batch (so many are enough at any time, default 100), max_lag (when it counts as behind, default "60 s"). Again for the same table: a new version. History is folded without a lock; then appends wait while the rows that differ are written (those of a new table are by then). Returns the version of the definition. Errors: ZE011 lists every problem; 42501 unless you own the table; 2BP01 if it is a category''s context and would no longer be inline with a row for each of its streams.';

CREATE FUNCTION eventsource.drop_projection(target regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_drop_projection' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.drop_projection(regclass) IS
	'Ends a projection: the table stays, with its rows, as an ordinary one. Errors: 42809 if it is no projection, 42501 unless you own the table, 2BP01 while a category has it as its context.';

CREATE FUNCTION eventsource.verify_projection(target regclass)
	RETURNS TABLE (key jsonb, expected jsonb, found jsonb, event_position bigint)
	AS 'MODULE_PATHNAME', 'eventsource_verify_projection' LANGUAGE C STABLE STRICT PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION eventsource.verify_projection(regclass) IS
	'Replays history (in work_mem * hash_mem_multiplier and temporary files) and compares it with the table: one row per key that differs, none when all is well. expected: the row as the events make it, found: the row in the table (NULL: there is none). event_position: the first event after which the replayed row was never again what the table has; if it was that at no time, the last event that folded into it (NULL: none ever did). Segments of the log stay as they are to the end of the transaction (retention comes back later). Errors: 40001 in REPEATABLE READ and above if it was defined anew, or events were taken out of the log, since the transaction began; 42501 without SELECT on the table or where its row security applies.';

CREATE FUNCTION eventsource.rebuild_projection(target regclass, key jsonb DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_rebuild_projection' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.rebuild_projection(regclass, jsonb) IS
	'Replays history and writes the rows of the table that differ, all of them or that of one key ({"column": value}). History is folded without a lock, in work_mem * hash_mem_multiplier and temporary files; only while rows that differ are written do appends that fold into the table wait (for one key: appends to its stream, or to its key where streams share rows). Readers are not disturbed. One in mode async goes on to the watermark; one key stays at its cursor. The view progress shows how far it is. Returns the number of rows written. Errors: 42501 unless you own the table; 40001 if the definition was replaced meanwhile; violated constraints under their own names.';

CREATE FUNCTION eventsource.compare_projection(
	target regclass, rules jsonb, key jsonb DEFAULT NULL,
	filter text DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	basis text DEFAULT 'recorded', each text DEFAULT NULL)
	RETURNS TABLE (row_key jsonb, current jsonb, proposed jsonb, event_position bigint)
	AS 'MODULE_PATHNAME', 'eventsource_compare_projection' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION eventsource.compare_projection(regclass, jsonb, jsonb, text, timestamptz, timestamptz, text, text) IS
	'What other rules would make of the same events, touching nothing: one row per key of the projection that would differ. rules, key, each: as create_projection takes them (key and each: NULL leaves them as they are defined now); their expressions have your rights. filter (an expression over event), since (inclusive) and until (exclusive; basis ''recorded'' or ''occurred''): only these events are folded, on both sides. current: the row that the present rules make of the events, which is what the table holds if there is no filter and verify_projection finds nothing; proposed: the row that the proposed rules make of them (NULL: none). event_position: the first event after which the two were never again the same. Constraints of the table are not checked. Memory stays within work_mem where rows belong to one stream, else history is read as often as that takes. Errors: ZE011 lists every problem; 42501 without SELECT on the table or where its row security applies; what an expression raises.';

CREATE FUNCTION eventsource.projection_guard() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eventsource_projection_guard' LANGUAGE C;
COMMENT ON FUNCTION eventsource.projection_guard() IS
	'Trigger on the target of a projection: refuses direct writes (ZE010).';

CREATE FUNCTION eventsource.projection_definitions()
	RETURNS TABLE (name text, target regclass, version bigint, event_position bigint, definition jsonb)
	AS 'MODULE_PATHNAME', 'eventsource_projection_definitions' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.projection_definitions() IS
	'Private, for views: the current definition of each projection.';

-- An expression has no sub-queries; what a list of lines costs it can say with this.
CREATE FUNCTION eventsource.sum_products(items jsonb, VARIADIC members text[]) RETURNS numeric
	LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	item jsonb;
	member text;
	product numeric;
	total numeric := 0;
BEGIN
	FOR item IN SELECT i FROM jsonb_array_elements(items) i LOOP
		product := 1;
		FOREACH member IN ARRAY members LOOP
			product := product * (item->>member)::numeric;
		END LOOP;
		total := total + product;
	END LOOP;
	RETURN total;
END
$$;
COMMENT ON FUNCTION eventsource.sum_products(jsonb, text[]) IS
	'For expressions: the sum, over the objects of an array, of the product of these members of each: sum_products(items, ''quantity'', ''price''). Numbers are exact. NULL if an object lacks one; 0 for an empty array. Errors: 22023 if items is no array, 22P02 if a member is no number.';
