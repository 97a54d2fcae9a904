-- A stream told in lines that people read.

CREATE FUNCTION eventsource.event_marks(stream text)
	RETURNS TABLE (version bigint, machine text, is_captured boolean, is_violation boolean,
				   corrected_by bigint, is_voided boolean)
	AS 'MODULE_PATHNAME', 'eventsource_event_marks' LANGUAGE C STABLE STRICT PARALLEL UNSAFE ROWS 20;
COMMENT ON FUNCTION eventsource.event_marks(text) IS
	'Private, for timeline: the machine that allowed each event of a stream, whether it was captured, or recorded against the rules, and what became of it.';

CREATE FUNCTION eventsource.words(type text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	RETURN upper(left(replace(type, '_', ' '), 1) COLLATE "C") || substr(replace(type, '_', ' '), 2);
COMMENT ON FUNCTION eventsource.words(text) IS
	'Private, for timeline: an event type as words, deal_collapsed as ''Deal collapsed''.';

CREATE FUNCTION eventsource.short_value(value jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	RETURN CASE WHEN value IS NULL OR value = 'null' THEN '(none)'
				WHEN length(value #>> '{}') > 60 THEN left(value #>> '{}', 57) || '...'
				ELSE value #>> '{}' END;
COMMENT ON FUNCTION eventsource.short_value(jsonb) IS
	'Private, for timeline: a value in at most 60 characters.';

CREATE FUNCTION eventsource.event_detail(data jsonb, is_captured boolean) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	RETURN CASE WHEN is_captured AND jsonb_typeof(data -> 'changed') = 'object' THEN
		(SELECT string_agg(c.key || ': ' ||
					CASE WHEN c.value ? 'old' AND c.value ? 'new'
						 THEN eventsource.short_value(c.value -> 'old') || ' -> ' || eventsource.short_value(c.value -> 'new')
						 ELSE eventsource.short_value(coalesce(c.value -> 'new', c.value -> 'old')) END,
					', ' ORDER BY c.key COLLATE "C")
		   FROM jsonb_each(data -> 'changed') c)
	WHEN jsonb_typeof(data) = 'object' THEN
		(SELECT string_agg(f.key || ': ' || eventsource.short_value(f.value), ', ' ORDER BY f.key COLLATE "C")
		   FROM jsonb_each(data) f
		  WHERE jsonb_typeof(f.value) NOT IN ('object', 'array', 'null'))
	END;
COMMENT ON FUNCTION eventsource.event_detail(jsonb, boolean) IS
	'Private, for timeline: the fields of an event''s data in one line; of a captured one, what changed.';

CREATE FUNCTION eventsource.timeline(stream text)
	RETURNS TABLE (version bigint, event_position bigint, occurred_at timestamptz, recorded_at timestamptz,
				   actor text, actor_type text, type text, label text, from_state text, to_state text,
				   reason text, reason_label text, detail text, sentence text, data jsonb,
				   is_synthetic boolean, is_violation boolean, is_voided boolean, corrected_by bigint)
	LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 20 SET search_path = pg_catalog, pg_temp
	BEGIN ATOMIC
	WITH event AS MATERIALIZED (
		SELECT e.*, m.machine, m.is_captured, m.is_violation, m.corrected_by, m.is_voided,
			   CASE WHEN e.type IN ('event_corrected', 'event_voided') AND e.metadata ->> 'corrects' ~ '^[0-9]{1,18}$'
					THEN (e.metadata ->> 'corrects')::bigint END AS corrects
		  FROM eventsource.read_stream(timeline.stream) e
		  JOIN eventsource.event_marks(timeline.stream) m ON m.version = e.version
	), machine AS (
		SELECT m.machine, d.data -> 'definition' AS definition
		  FROM (SELECT DISTINCT e.machine FROM event e WHERE e.machine IS NOT NULL) m
		 CROSS JOIN LATERAL eventsource.read_stream('$config-state_machine.' || regexp_replace(m.machine, '@[0-9]+$', ''),
				substring(m.machine, '@([0-9]+)$')::bigint, 1) d
	), edge AS MATERIALIZED (
		SELECT m.machine, coalesce(t.from_state, m.definition ->> 'initial') AS from_state, t.type, t.to_state,
			   (array_agg(t.label ORDER BY t.candidate))[1] AS label
		  FROM machine m CROSS JOIN LATERAL eventsource.state_machine_edges(m.definition) t
		 WHERE t.label IS NOT NULL
		 GROUP BY 1, 2, 3, 4
	), code AS MATERIALIZED (
		SELECT m.machine, r.key AS code, r.value ->> 'label' AS label
		  FROM machine m CROSS JOIN LATERAL jsonb_each(m.definition -> 'reasons') r
	), line AS MATERIALIZED (
		SELECT e.*,
			   CASE WHEN strpos(e.actor, ':') > 1 THEN split_part(e.actor, ':', 1) ELSE 'user' END AS actor_type,
			   CASE WHEN strpos(e.actor, ':') > 1 THEN substr(e.actor, strpos(e.actor, ':') + 1) ELSE e.actor END AS actor_name,
			   CASE WHEN x.version IS NOT NULL
					THEN eventsource.words(e.type) || ': ' || eventsource.words(x.type) || ' (version ' || x.version || ')'
					ELSE coalesce(g.label, eventsource.words(e.type)) END AS label,
			   c.label AS reason_label,
			   eventsource.event_detail(e.data, e.is_captured) AS detail
		  FROM event e
		  LEFT JOIN event x ON x.position = e.corrects
		  LEFT JOIN edge g ON g.machine = e.machine AND g.type = e.type AND g.to_state = e.to_state
							  AND g.from_state IS NOT DISTINCT FROM coalesce(e.from_state, g.from_state)
							  AND (e.from_state IS NOT NULL OR g.from_state IS NOT DISTINCT FROM
								   (SELECT m.definition ->> 'initial' FROM machine m WHERE m.machine = e.machine))
		  LEFT JOIN code c ON c.machine = e.machine AND c.code = e.reason
	)
	SELECT l.version, l.position, l.occurred_at, l.recorded_at,
		   l.actor, l.actor_type, l.type, l.label, l.from_state, l.to_state,
		   l.reason, l.reason_label, l.detail,
		   l.actor_type || ' ' || l.actor_name || ': ' || l.label
		   || CASE WHEN l.to_state IS DISTINCT FROM l.from_state
				   THEN ' (' || concat_ws(' ', l.from_state, '->', l.to_state) || ')' ELSE '' END
		   || coalesce(', ' || l.detail, '')
		   || coalesce(', reason: ' || coalesce(l.reason_label, l.reason), '')
		   || CASE WHEN l.is_synthetic THEN ' [made up from older data]' ELSE '' END
		   || CASE WHEN l.is_violation THEN ' [against the rules]' ELSE '' END
		   || CASE WHEN l.is_voided THEN ' [voided]' WHEN l.corrected_by IS NOT NULL THEN ' [corrected]' ELSE '' END,
		   l.data, l.is_synthetic, l.is_violation, l.is_voided, l.corrected_by
	  FROM line l
	 ORDER BY l.version;
	END;
COMMENT ON FUNCTION eventsource.timeline(text) IS
	'One line per event of a stream, in order of version, as the log has it (with corrections as lines of their own): when, who (actor_type is what stands before the colon of actor, ''user'' where nothing does), what (label: the machine''s, else the type in words), from which state to which, why (reason, with the machine''s label for it), detail (the plain fields of data; of a captured change, each column with its old and new value), and all that in one English sentence, which depends on no setting. is_synthetic: made up from older data, so that there is no history before it. is_violation: a captured change that the machine forbids. corrected_by: position of the event that corrects it or, with is_voided, says that it does not count. No rows for a stream that does not exist. Filter and count by the other columns, never by the sentence.';
