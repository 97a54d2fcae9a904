-- Logs of process mining in: COPY a CSV file into a temporary table, and import that.

CREATE FUNCTION crm.try_timestamptz(value text) RETURNS timestamptz
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	-- Not: infinity, tomorrow 10:00.
	RETURN CASE WHEN value ~ '[0-9]' AND value !~* '\m(now|today|tomorrow|yesterday|epoch)\M' THEN value::timestamptz END;
EXCEPTION WHEN data_exception THEN
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.try_timestamptz(text) IS 'Private, for imports: a time; NULL: it is none, or not the same one every day.';

CREATE FUNCTION crm.append_import(stream text, type text, data jsonb, occurred_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM eventsource.append(stream, type, data, occurred_at => occurred_at, idempotency_key => idempotency_key,
				metadata => '{"import": true}', actor => 'system:import')
$$;
COMMENT ON FUNCTION crm.append_import(text, text, jsonb, timestamptz, text) IS
	'Private, for imports: appends what others tell, marked, so that no campaign begins of it.';

-- Of many events that come together, one that is refused leaves the others alone; a lost race does not count as that.
CREATE FUNCTION crm.is_refusal(code text) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT code ~ '^(22|23|ZE00[2-9]$|42704$|42602$|42622$)'
$$;
COMMENT ON FUNCTION crm.is_refusal(text) IS
	'Private, for imports: is this SQLSTATE about the event? Bad data, constraints, rules (ZE002 to ZE009), and names that are unknown, too long or none.';

CREATE FUNCTION crm.import_rows(rows jsonb) RETURNS TABLE (row_number bigint, is_new boolean, error_code text, reason text)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	half CONSTANT integer := jsonb_array_length(rows) / 2;
BEGIN
	RETURN QUERY
	SELECT (r.value->>'row')::bigint, NOT a.is_duplicate, NULL::text, NULL::text
	  FROM eventsource.append_events((SELECT jsonb_agg(x.value - 'row' || '{"metadata": {"import": true}}' ORDER BY x.n)
										FROM jsonb_array_elements(rows) WITH ORDINALITY x (value, n))) WITH ORDINALITY a
	  JOIN jsonb_array_elements(rows) WITH ORDINALITY r (value, n) ON r.n = a.ordinality;
EXCEPTION WHEN OTHERS THEN
	IF NOT crm.is_refusal(SQLSTATE) THEN
		RAISE;
	ELSIF half = 0 THEN
		RETURN QUERY SELECT (rows->0->>'row')::bigint, NULL::boolean, SQLSTATE, SQLERRM;
	ELSE
		-- One of them is refused, and takes the others along: look which.
		RETURN QUERY
		SELECT i.* FROM (SELECT jsonb_agg(x.value ORDER BY x.n) AS part FROM jsonb_array_elements(rows) WITH ORDINALITY x (value, n)
						  GROUP BY x.n > half ORDER BY x.n > half) h
		 CROSS JOIN LATERAL crm.import_rows(h.part) i;
	END IF;
END
$$;
COMMENT ON FUNCTION crm.import_rows(jsonb) IS 'Private, for import_log(): appends events, all that can be; the others it says, and why.';

CREATE FUNCTION crm.import_batch(batch jsonb[], OUT taken bigint, OUT duplicates bigint, OUT refused jsonb[]) RETURNS record
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT count(*) FILTER (WHERE x.is_new), count(*) FILTER (WHERE NOT x.is_new),
		   coalesce(array_agg(jsonb_build_object('row', x.row_number, 'case', substr(e->>'stream', position('-' IN e->>'stream') + 1),
			'activity', e->>'type', 'code', x.error_code, 'reason', x.reason))
					FILTER (WHERE x.error_code IS NOT NULL), '{}')
	  FROM (SELECT i.* FROM (SELECT to_jsonb(batch) AS rows) b CROSS JOIN LATERAL crm.import_rows(b.rows) i WHERE cardinality(batch) > 0) x
	  JOIN unnest(batch) e ON (e->>'row')::bigint = x.row_number
$$;
COMMENT ON FUNCTION crm.import_batch(jsonb[]) IS
	'Private, for import_log(): appends events, and says how many were new, how many there, and which were refused and why.';

CREATE FUNCTION crm.expect_log_columns(source regclass, columns text[]) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	missing text;
BEGIN
	SELECT string_agg(format('"%s"', c), ', ') INTO missing FROM unnest(columns) c
	 WHERE c IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = source AND a.attname = c AND a.attnum > 0
											AND NOT a.attisdropped);
	IF missing IS NOT NULL OR columns[1:3] IS DISTINCT FROM array_remove(columns[1:3], NULL) THEN
		RAISE undefined_column USING
			MESSAGE = CASE WHEN missing IS NULL THEN 'a log has a case, an activity and a time'
				ELSE format('%s has no column %s', source, missing) END,
			DETAIL = 'Nothing was taken.',
			HINT = 'Name its columns: case_column, activity_column, time_column, attribute_columns, and resource_column, or NULL if it has none.';
	END IF;
END
$$;
COMMENT ON FUNCTION crm.expect_log_columns(regclass, text[]) IS
	'Private, for import_log(): case, activity, time and others are columns of a table. Errors: 42703.';

-- A row at a time, in order of time; the server sorts them, on disk if they are many.  Rows that are the same in
-- all that is taken are told apart by their number among each other.
CREATE FUNCTION crm.log_lines(source regclass, case_column text, activity_column text, time_column text, resource_column text,
		attribute_columns text[],
		line_column text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $fn$
	SELECT format($query$
		WITH line AS (
			SELECT t.n, t.r->>%2$L AS c, t.r->>%3$L AS a, crm.try_timestamptz(t.r->>%4$L) AS at, nullif(t.r->>%5$L, '') AS who,
				   (SELECT coalesce(jsonb_object_agg(k, t.r->k), '{}') FROM unnest(%6$L::text[]) k) AS data
			  FROM (SELECT to_jsonb(s) AS r, row_number() OVER (%7$s) AS n FROM %1$s s) t
		)
		SELECT l.*, CASE WHEN coalesce(l.c, '') = '' THEN 'no case' WHEN coalesce(l.a, '') = '' THEN 'no activity'
			   WHEN l.at IS NULL THEN 'no time' END AS problem,
			   md5(concat_ws('|', l.c, l.a, crm.json_time(l.at), l.who, l.data,
							 row_number() OVER (PARTITION BY l.c, l.a, l.at, l.who, l.data ORDER BY l.n))) AS key
		  FROM line l
		 ORDER BY l.at, l.n $query$, source, case_column, activity_column, time_column, resource_column, attribute_columns,
		CASE WHEN line_column IS NULL THEN '' ELSE format('ORDER BY s.%I', line_column) END)
$fn$;
COMMENT ON FUNCTION crm.log_lines(regclass, text, text, text, text, text[], text) IS 'Private, for import_log(): the query that reads a log.';

CREATE FUNCTION crm.import_log(source regclass, category text, case_column text DEFAULT 'case:concept:name',
		activity_column text DEFAULT 'concept:name', time_column text DEFAULT 'time:timestamp',
		resource_column text DEFAULT 'org:resource', attribute_columns text[] DEFAULT '{}', batch_size integer DEFAULT 1000,
		line_column text DEFAULT NULL)
	RETURNS TABLE (outcome text, row_count bigint, row_number bigint, case_id text, activity text, error_code text, reason text)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
	-- Without a column that says it, rows are numbered as they lie in the table, also when somebody else reads it.
	SET synchronize_seqscans = off AS $$
#variable_conflict use_column
DECLARE
	line record;
	batch jsonb[] := '{}';
	problems jsonb[] := '{}';
	counts bigint[] := '{0,0}';
BEGIN
	PERFORM crm.expect_log_columns(source, ARRAY[case_column, activity_column, time_column, resource_column, line_column] || attribute_columns);
	IF batch_size IS NULL OR batch_size < 1 THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'there are no batches of less than one row',
			DETAIL = 'Rows are appended batch_size at a time.',
			HINT = 'Give batch_size of 1 or more, or leave it out.';
	END IF;
	FOR line IN EXECUTE crm.log_lines(source, case_column, activity_column, time_column, resource_column, attribute_columns, line_column) LOOP
		IF line.problem IS NOT NULL THEN
			problems := problems || jsonb_build_object('row', line.n, 'case', line.c, 'activity', line.a, 'code', '22004', 'reason', line.problem);
			CONTINUE;
		END IF;
		batch := batch || jsonb_build_object('row', line.n, 'stream', category || '-' || line.c, 'type', line.a,
						'actor', coalesce(line.who, 'system:import'),
						'occurred_at', line.at, 'idempotency_key', 'log:' || line.key, 'data', line.data);
		IF cardinality(batch) >= batch_size THEN
			SELECT ARRAY[counts[1] + b.taken, counts[2] + b.duplicates], problems || b.refused INTO counts, problems FROM crm.import_batch(batch) b;
			batch := '{}';
		END IF;
	END LOOP;
	SELECT ARRAY[counts[1] + b.taken, counts[2] + b.duplicates], problems || b.refused INTO counts, problems FROM crm.import_batch(batch) b;
	RETURN QUERY SELECT k.outcome, k.n, NULL::bigint, NULL::text, NULL::text, NULL::text, NULL::text
				   FROM (VALUES ('taken', counts[1]), ('duplicate', counts[2]), ('refused', cardinality(problems)::bigint)) k (outcome, n);
	RETURN QUERY SELECT 'refused', 1::bigint, (r->>'row')::bigint, r->>'case', r->>'activity', r->>'code', r->>'reason' FROM unnest(problems) r
				  ORDER BY (r->>'row')::bigint;
END
$$;
COMMENT ON FUNCTION crm.import_log(regclass, text, text, text, text, text, text[], integer, text) IS
	'Takes a table whose rows are a log of process mining, a CSV file that was copied, into a category: each row an event of stream <category>-<case>, by time, then by line_column (a serial column, for instance, that COPY fills in the order of the file; NULL: as rows lie in the table, which is not always the order of the file); marked as an import. resource_column: who did it; NULL: nobody says. attribute_columns: what becomes data; nothing else does, so that nothing personal lands by accident. Called again, it takes what is new. Rows are appended batch_size at a time, and no more of them are held in memory, but for what is said of those that are refused; all of it is one transaction. One that is refused leaves the others alone. Returns three rows of counts (taken, duplicate, refused), then one per row that was refused: its number by line_column, or as rows lie in the table, SQLSTATE and reason. A time without a time zone is of the session''s. Errors: 42703 no such column, 22023, 42501.';
