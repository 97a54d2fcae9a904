-- Logs of process mining in: COPY a CSV file into a temporary table, and import that.

CREATE FUNCTION crm.try_timestamptz(value text) RETURNS timestamptz
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	-- Not: tomorrow, infinity.
	RETURN CASE WHEN value ~ '[0-9]' THEN value::timestamptz END;
EXCEPTION WHEN data_exception THEN
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.try_timestamptz(text) IS 'Private, for import_log(): a time; NULL: it is none.';

CREATE FUNCTION crm.import_rows(rows jsonb) RETURNS TABLE (row_number bigint, is_new boolean, error_code text, reason text)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	half CONSTANT integer := jsonb_array_length(rows) / 2;
BEGIN
	RETURN QUERY
	SELECT (r.value->>'row')::bigint, NOT a.is_duplicate, NULL::text, NULL::text
	  FROM eventsource.append_events((SELECT jsonb_agg(x.value - 'row' ORDER BY x.n) FROM jsonb_array_elements(rows) WITH ORDINALITY x (value, n))) WITH ORDINALITY a
	  JOIN jsonb_array_elements(rows) WITH ORDINALITY r (value, n) ON r.n = a.ordinality;
EXCEPTION WHEN data_exception OR integrity_constraint_violation OR SQLSTATE 'ZE002' OR SQLSTATE 'ZE003' OR SQLSTATE 'ZE004' OR SQLSTATE 'ZE005' OR SQLSTATE 'ZE006' OR SQLSTATE 'ZE007' OR SQLSTATE 'ZE008' OR SQLSTATE 'ZE009' THEN
	IF half = 0 THEN
		RETURN QUERY SELECT (rows->0->>'row')::bigint, NULL::boolean, SQLSTATE, SQLERRM;
	ELSE
		-- One of them is refused, and takes the others along: look which.
		RETURN QUERY SELECT * FROM crm.import_rows((SELECT jsonb_agg(x.value ORDER BY x.n) FROM jsonb_array_elements(rows) WITH ORDINALITY x (value, n) WHERE x.n <= half));
		RETURN QUERY SELECT * FROM crm.import_rows((SELECT jsonb_agg(x.value ORDER BY x.n) FROM jsonb_array_elements(rows) WITH ORDINALITY x (value, n) WHERE x.n > half));
	END IF;
END
$$;
COMMENT ON FUNCTION crm.import_rows(jsonb) IS 'Private, for import_log(): appends events, all that can be; the others it says, and why.';

CREATE FUNCTION crm.import_log(source regclass, category text, case_column text DEFAULT 'case:concept:name', activity_column text DEFAULT 'concept:name', time_column text DEFAULT 'time:timestamp',
		resource_column text DEFAULT 'org:resource', attribute_columns text[] DEFAULT '{}', batch_size integer DEFAULT 1000)
	RETURNS TABLE (outcome text, row_count bigint, row_number bigint, case_id text, activity text, error_code text, reason text)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	missing text;
	events jsonb[];
	refused jsonb := '[]';
	result record;
	taken bigint := 0;
	duplicates bigint := 0;
BEGIN
	SELECT string_agg(c, ', ') INTO missing FROM unnest(ARRAY[case_column, activity_column, time_column] || attribute_columns) c
	 WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = source AND a.attname = c AND a.attnum > 0 AND NOT a.attisdropped);
	IF missing IS NOT NULL OR batch_size IS NULL OR batch_size < 1 THEN
		RAISE undefined_column USING
			MESSAGE = coalesce(format('%s has no column %s', source, missing), 'there are no batches of less than one row'),
			DETAIL = 'A log has a case, an activity and a time.',
			HINT = 'Name its columns: case_column, activity_column, time_column, resource_column, attribute_columns.';
	END IF;
	-- Rows that are the same in all that is taken are told apart by their number among each other.
	EXECUTE format($query$
		WITH line AS (
			SELECT t.n, t.r->>$2 AS c, t.r->>$3 AS a, crm.try_timestamptz(t.r->>$4) AS at, nullif(t.r->>$5, '') AS who, (SELECT coalesce(jsonb_object_agg(k, t.r->k), '{}') FROM unnest($6) k) AS data
			  FROM (SELECT to_jsonb(s) AS r, row_number() OVER () AS n FROM %s s) t
		), told AS (
			SELECT l.*, CASE WHEN coalesce(l.c, '') = '' THEN 'no case' WHEN coalesce(l.a, '') = '' THEN 'no activity' WHEN l.at IS NULL THEN 'no time' END AS problem,
				   md5(concat_ws('|', l.c, l.a, l.at AT TIME ZONE 'UTC', l.who, l.data, row_number() OVER (PARTITION BY l.c, l.a, l.at, l.who, l.data ORDER BY l.n))) AS key FROM line l
		)
		SELECT (SELECT array_agg(b.x ORDER BY b.i) FROM (
					SELECT (o.i - 1) / $7 AS i, jsonb_agg(jsonb_strip_nulls(jsonb_build_object('row', o.n, 'stream', $1 || '-' || o.c, 'type', o.a, 'actor', coalesce(o.who, 'system:import'), 'occurred_at', o.at,
							'idempotency_key', 'log:' || o.key, 'metadata', '{"import": true}'::jsonb)) || jsonb_build_object('data', o.data) ORDER BY o.i) AS x
					  FROM (SELECT l.*, row_number() OVER (ORDER BY l.at, l.n) AS i FROM told l WHERE l.problem IS NULL) o GROUP BY 1) b),
			   (SELECT coalesce(jsonb_agg(jsonb_build_object('row', l.n, 'case', l.c, 'activity', l.a, 'code', '22004', 'reason', l.problem) ORDER BY l.n), '[]') FROM told l WHERE l.problem IS NOT NULL)
		$query$, source) INTO events, refused USING category, case_column, activity_column, time_column, resource_column, attribute_columns, batch_size;
	FOR i IN 1 .. coalesce(cardinality(events), 0) LOOP
		FOR result IN SELECT x.*, e.value->>'stream' AS stream, e.value->>'type' AS type
						FROM crm.import_rows(events[i]) x JOIN jsonb_array_elements(events[i]) e ON (e.value->>'row')::bigint = x.row_number LOOP
			IF result.error_code IS NOT NULL THEN
				refused := refused || jsonb_build_object('row', result.row_number, 'case', substr(result.stream, length(category) + 2), 'activity', result.type, 'code', result.error_code, 'reason', result.reason);
			ELSE
				taken := taken + result.is_new::integer;
				duplicates := duplicates + (NOT result.is_new)::integer;
			END IF;
		END LOOP;
	END LOOP;
	RETURN QUERY SELECT k.outcome, k.n, NULL::bigint, NULL::text, NULL::text, NULL::text, NULL::text FROM (VALUES ('taken', taken), ('duplicate', duplicates), ('refused', jsonb_array_length(refused)::bigint)) k (outcome, n);
	RETURN QUERY SELECT 'refused', 1::bigint, (r->>'row')::bigint, r->>'case', r->>'activity', r->>'code', r->>'reason' FROM jsonb_array_elements(refused) r ORDER BY (r->>'row')::bigint;
END
$$;
COMMENT ON FUNCTION crm.import_log(regclass, text, text, text, text, text, text[], integer) IS
	'Takes a table whose rows are a log of process mining, a CSV file that was copied, into a category: each row an event of stream <category>-<case>, by time, then as the rows stand; marked as an import. attribute_columns: what becomes data; nothing else does, so that nothing personal lands by accident. Called again, it takes what is new. Rows are appended batch_size at a time; one that is refused leaves the others alone. Returns three rows of counts (taken, duplicate, refused), then one per row that was refused: its number, SQLSTATE and reason. A time without a time zone is of the session''s. Errors: 42703 no such column, 42501.';
