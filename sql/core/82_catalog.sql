-- The event catalogue: what is declared, as Markdown for people to read. All of it is
-- read through views, with the rights of whoever asks, and comes in a fixed order.

CREATE FUNCTION eventsource.markdown(value text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	RETURN regexp_replace(regexp_replace(regexp_replace(btrim(regexp_replace(value, '\s+', ' ', 'g')),
				'([][\\`*_<>|~&#$])', '\\\1', 'g'), '^([-+=:])', '\\\1'), '^(\d+)([.)])', '\1\\\2');
COMMENT ON FUNCTION eventsource.markdown(text) IS
	'Private, for event_catalog: a text as one line of Markdown that says the same.';

-- GitHub's tables end a cell at every bar that is not escaped, in code as well; and in
-- HTML's code, Markdown goes on.
CREATE FUNCTION eventsource.markdown_code(value text, in_table boolean DEFAULT false) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	RETURN (SELECT CASE WHEN in_table AND line ~ '\|' OR line !~ '\S' THEN '<code>' || coalesce((
							SELECT string_agg(CASE c WHEN '&' THEN '&amp;' WHEN '<' THEN '&lt;'
								ELSE CASE WHEN c ~ '[][\\`*_~|!:@]' THEN '&#' || ascii(c) || ';' ELSE c END END, '' ORDER BY n)
							  FROM string_to_table(line, NULL) WITH ORDINALITY t (c, n)), '') || '</code>'
						WHEN line ~ '`' THEN fence || ' ' || line || ' ' || fence
						ELSE '`' || line || '`' END
			  FROM (SELECT btrim(regexp_replace(value, '\s+', ' ', 'g')) AS line,
						   (SELECT repeat('`', coalesce(max(length(r[1])), 0) + 1) FROM regexp_matches(value, '(`+)', 'g') r) AS fence) x);
COMMENT ON FUNCTION eventsource.markdown_code(text, boolean) IS
	'Private, for event_catalog: a text as code in a line of Markdown, or in a cell of a table.';

CREATE FUNCTION eventsource.markdown_block(language text, body text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	RETURN (SELECT fence || language || E'\n' || rtrim(body, E'\n') || E'\n' || fence || E'\n\n'
			  FROM (SELECT repeat('`', greatest(3, coalesce(max(length(r[1])), 0) + 1)) AS fence
					  FROM regexp_matches(body, '(`+)', 'g') r) x);
COMMENT ON FUNCTION eventsource.markdown_block(text, text) IS
	'Private, for event_catalog: a block of code.';

CREATE FUNCTION eventsource.schema_resolve(schema jsonb, root jsonb) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	result jsonb := schema;
	target jsonb;
BEGIN
	FOR hop IN 1 .. 10 LOOP
		EXIT WHEN jsonb_typeof(result) <> 'object' OR jsonb_typeof(result -> '$ref') IS DISTINCT FROM 'string'
			OR result ->> '$ref' !~ '^#(/|$)';
		target := root #> ARRAY(SELECT replace(replace(p, '~1', '/'), '~0', '~')
								  FROM unnest((string_to_array(result ->> '$ref', '/'))[2:]) WITH ORDINALITY u (p, n) ORDER BY n);
		EXIT WHEN jsonb_typeof(target) IS DISTINCT FROM 'object';
		result := target || (result - '$ref');
	END LOOP;
	RETURN result;
END
$$;
COMMENT ON FUNCTION eventsource.schema_resolve(jsonb, jsonb) IS
	'Private, for event_catalog: a schema with what its $ref names in the same document beside its own keywords.';

CREATE FUNCTION eventsource.schema_type(schema jsonb, root jsonb, depth integer DEFAULT 0) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s jsonb := eventsource.schema_resolve(schema, root);
	result text;
BEGIN
	IF jsonb_typeof(s) <> 'object' THEN
		RETURN CASE s WHEN 'false' THEN 'none' ELSE 'any' END;
	ELSIF s ? 'const' THEN
		RETURN 'always ' || eventsource.markdown_code(s ->> 'const', true);
	ELSIF jsonb_typeof(s -> 'enum') = 'array' THEN
		RETURN 'one of ' || coalesce((SELECT string_agg(eventsource.markdown_code(coalesce(v #>> '{}', 'null'), true), ', ' ORDER BY n)
										FROM jsonb_array_elements(s -> 'enum') WITH ORDINALITY e (v, n)), 'none');
	ELSIF jsonb_typeof(s -> 'type') = 'array' THEN
		result := (SELECT string_agg(t, ' or ' ORDER BY n) FROM jsonb_array_elements_text(s -> 'type') WITH ORDINALITY e (t, n));
	ELSIF jsonb_typeof(s -> 'type') = 'string' THEN
		result := s ->> 'type';
	ELSIF depth < 3 AND jsonb_typeof(coalesce(s -> 'anyOf', s -> 'oneOf')) = 'array' THEN
		RETURN (SELECT string_agg(DISTINCT eventsource.schema_type(v, root, depth + 1) COLLATE "C", ' or ')
				  FROM jsonb_array_elements(coalesce(s -> 'anyOf', s -> 'oneOf')) v);
	END IF;
	IF result = 'array' AND s ? 'items' AND depth < 3 THEN
		RETURN 'array of ' || eventsource.schema_type(s -> 'items', root, depth + 1);
	END IF;
	RETURN coalesce(eventsource.markdown(result), 'any') || coalesce(' (' || eventsource.markdown(s ->> 'format') || ')', '');
END
$$;
COMMENT ON FUNCTION eventsource.schema_type(jsonb, jsonb, integer) IS
	'Private, for event_catalog: what values a schema is for, in a few words of Markdown.';

-- A schema may refer to itself: three levels tell what there is to tell, and seen are
-- the references that lead here, none of which is followed once more.
CREATE FUNCTION eventsource.schema_fields(schema jsonb, root jsonb, prefix text DEFAULT '', depth integer DEFAULT 0, seen text[] DEFAULT '{#}')
	RETURNS TABLE (name text, type text, is_required boolean, description text)
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s jsonb := eventsource.schema_resolve(schema, root);
	part jsonb;
	field text;
	below jsonb;
	path text[];
BEGIN
	IF jsonb_typeof(s) <> 'object' OR depth > 2 THEN
		RETURN;
	END IF;
	IF jsonb_typeof(s -> 'properties') = 'object' THEN
		FOR field, part IN SELECT key, value FROM jsonb_each(s -> 'properties') ORDER BY key COLLATE "C" LOOP
			below := eventsource.schema_resolve(part, root);
			RETURN QUERY SELECT prefix || field, eventsource.schema_type(part, root),
				coalesce(jsonb_typeof(s -> 'required') = 'array' AND (s -> 'required') ? field, false), below ->> 'description';
			CONTINUE WHEN part ->> '$ref' = ANY (seen);
			path := seen || (part ->> '$ref');
			RETURN QUERY SELECT * FROM eventsource.schema_fields(part, root, prefix || field || '.', depth + 1, path);
			CONTINUE WHEN below #>> '{items,$ref}' = ANY (path);
			RETURN QUERY SELECT *
						   FROM eventsource.schema_fields(below -> 'items', root, prefix || field || '[].', depth + 1,
							path || (below #>> '{items,$ref}'));
		END LOOP;
	END IF;
	IF jsonb_typeof(s -> 'required') = 'array' THEN
		RETURN QUERY SELECT prefix || r, 'any', true, NULL::text
		  FROM jsonb_array_elements_text(s -> 'required') r
		 WHERE (jsonb_typeof(s -> 'properties') = 'object' AND (s -> 'properties') ? r) IS NOT TRUE
		 ORDER BY r COLLATE "C";
	END IF;
	IF jsonb_typeof(s -> 'allOf') = 'array' THEN
		FOR part IN SELECT v FROM jsonb_array_elements(s -> 'allOf') WITH ORDINALITY a (v, n) ORDER BY n LOOP
			CONTINUE WHEN part ->> '$ref' = ANY (seen);
			RETURN QUERY SELECT * FROM eventsource.schema_fields(part, root, prefix, depth + 1, seen || (part ->> '$ref'));
		END LOOP;
	END IF;
END
$$;
COMMENT ON FUNCTION eventsource.schema_fields(jsonb, jsonb, text, integer, text[]) IS
	'Private, for event_catalog: the fields that a schema names, nested ones by their path; one that it names in several places is there more than once.';

CREATE FUNCTION eventsource.schema_sample(schema jsonb, root jsonb, depth integer DEFAULT 0, seen text[] DEFAULT '{#}') RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s jsonb := eventsource.schema_resolve(schema, root);
	t text;
	path text[] := seen || (schema ->> '$ref');
BEGIN
	IF jsonb_typeof(s) <> 'object' OR depth > 3 OR schema ->> '$ref' = ANY (seen) THEN
		RETURN 'null';
	ELSIF jsonb_typeof(s -> 'examples') = 'array' AND s -> 'examples' <> '[]' THEN
		RETURN s #> '{examples,0}';
	ELSIF s ? 'const' OR s ? 'default' THEN
		RETURN coalesce(s -> 'const', s -> 'default');
	ELSIF jsonb_typeof(s -> 'enum') = 'array' THEN
		RETURN s #> '{enum,0}';
	ELSIF jsonb_typeof(coalesce(s -> 'anyOf', s -> 'oneOf')) = 'array' THEN
		RETURN eventsource.schema_sample(coalesce(s -> 'anyOf', s -> 'oneOf') -> 0, root, depth + 1, path);
	END IF;
	t := CASE jsonb_typeof(s -> 'type') WHEN 'array' THEN s #>> '{type,0}' ELSE s ->> 'type' END;
	CASE coalesce(t, CASE WHEN s ? 'properties' OR s ? 'allOf' THEN 'object' END)
		WHEN 'object' THEN
			RETURN coalesce((SELECT jsonb_object_agg(f.key, eventsource.schema_sample(f.value, root, depth + 1, path))
							   FROM jsonb_each(CASE jsonb_typeof(s -> 'properties') WHEN 'object' THEN s -> 'properties' END) f
							  WHERE (f.value ->> '$ref' = ANY (path)) IS NOT TRUE), '{}')
				|| coalesce((SELECT jsonb_object_agg(f.key, f.value)
							   FROM jsonb_array_elements(CASE jsonb_typeof(s -> 'allOf') WHEN 'array' THEN s -> 'allOf' END) a
							  CROSS JOIN LATERAL jsonb_each(CASE
								WHEN depth < 3 THEN nullif(eventsource.schema_sample(a || '{"type": "object"}', root, depth + 1, path),
									'null') END) f), '{}');
		WHEN 'array' THEN
			RETURN CASE WHEN s ? 'items' THEN jsonb_build_array(eventsource.schema_sample(s -> 'items', root, depth + 1, path)) ELSE '[]' END;
		WHEN 'integer', 'number' THEN
			RETURN coalesce(s -> 'minimum', s -> 'maximum', '1');
		WHEN 'boolean' THEN
			RETURN 'true';
		WHEN 'string' THEN
			RETURN to_jsonb(CASE s ->> 'format'
				WHEN 'date-time' THEN '2026-01-31T12:00:00Z' WHEN 'date' THEN '2026-01-31' WHEN 'time' THEN '12:00:00Z'
				WHEN 'email' THEN 'jane@example.com' WHEN 'hostname' THEN 'example.com' WHEN 'uri' THEN 'https://example.com/'
				WHEN 'uuid' THEN '00000000-0000-4000-8000-000000000000' WHEN 'ipv4' THEN '192.0.2.1' WHEN 'ipv6' THEN '2001:db8::1'
				ELSE 'text' END);
		ELSE
			RETURN 'null';
	END CASE;
END
$$;
COMMENT ON FUNCTION eventsource.schema_sample(jsonb, jsonb, integer, text[]) IS
	'Private, for event_catalog: a value made from examples, const, default, enum and types of a schema; it need not match.';

CREATE FUNCTION eventsource.catalog_example(schema jsonb, latest jsonb) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	made jsonb := eventsource.schema_sample(schema, schema);
BEGIN
	IF jsonb_typeof(schema -> 'examples') = 'array' AND schema -> 'examples' <> '[]' THEN
		RETURN 'Example:' || E'\n\n' || eventsource.markdown_block('json', jsonb_pretty(made));
	ELSIF latest IS NOT NULL AND (schema IS NULL OR eventsource.jsonb_matches_schema(schema, latest)) THEN
		RETURN 'Example, of the latest event:' || E'\n\n' || eventsource.markdown_block('json', jsonb_pretty(latest));
	ELSIF made <> 'null' AND eventsource.jsonb_matches_schema(schema, made) THEN
		RETURN 'Example, made from the schema:' || E'\n\n' || eventsource.markdown_block('json', jsonb_pretty(made));
	END IF;
	RETURN '';
END
$$;
COMMENT ON FUNCTION eventsource.catalog_example(jsonb, jsonb) IS
	'Private, for event_catalog: data of an event, by the schema''s own example, or an event, or made up.';

-- What the machine says of every state is one line, whatever states there are.
CREATE FUNCTION eventsource.catalog_edges(edges jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	RETURN (SELECT E'| From | To | Reason | Condition | Label |\n|---|---|---|---|---|\n'
			  || string_agg(l.line, '' ORDER BY l.is_root, l.from_state COLLATE "C" NULLS FIRST, l.candidate) || E'\n'
			  FROM (SELECT DISTINCT t.is_root, CASE WHEN NOT t.is_root THEN t.from_state END AS from_state, t.candidate,
						   concat('| ',
											 CASE WHEN t.is_root THEN '*(every'
											 || CASE WHEN bool_and(t.is_root) OVER () THEN ' state)*' ELSE ' other state)*' END
											 ELSE coalesce(eventsource.markdown_code(t.from_state, true), '*(first event)*') END,
								  ' | ', CASE WHEN t.to_state = t.from_state THEN '*(stays)*' ELSE eventsource.markdown_code(t.to_state, true) END,
								  ' | ', eventsource.markdown(t.reason),
								  (SELECT ': ' || string_agg(eventsource.markdown_code(c, true), ', ' ORDER BY n)
									 FROM unnest(t.reasons) WITH ORDINALITY u (c, n)),
								  ' | ', eventsource.markdown_code(t.guard, true), ' | ', eventsource.markdown(t.label), E' |\n') AS line
					  FROM jsonb_to_recordset(edges) t (from_state text, to_state text, is_root boolean, reason text, reasons text[], guard text,
						label text, candidate integer)) l
			HAVING count(*) > 0);
COMMENT ON FUNCTION eventsource.catalog_edges(jsonb) IS
	'Private, for event_catalog: the transitions of an event type, as a table.';

-- versions: those of its registration, in order; steps: its upcasters; NULL where it has none.
CREATE FUNCTION eventsource.catalog_type(heading text, type text, versions jsonb, steps jsonb, edges jsonb, latest jsonb) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	now jsonb := versions -> -1;
	schema jsonb := nullif(now -> 'schema', 'null');
	fields text := (SELECT string_agg(format(E'| %s | %s | %s | %s |\n', eventsource.markdown_code(f.name, true), f.type,
								CASE WHEN f.is_required THEN 'yes' ELSE '' END, coalesce(eventsource.markdown(f.description), '')), '' ORDER BY n)
					  FROM (SELECT x.name, coalesce(string_agg(DISTINCT x.type, ' and ') FILTER (WHERE x.type <> 'any'), 'any') AS type,
								   bool_or(x.is_required) AS is_required,
								   (array_agg(x.description ORDER BY x.n) FILTER (WHERE x.description IS NOT NULL))[1] AS description,
								   min(x.n) AS n
							  FROM (SELECT y.*, row_number() OVER () AS n FROM eventsource.schema_fields(schema, schema) y) x
							 GROUP BY x.name) f);
BEGIN
	RETURN concat(heading, ' ', eventsource.markdown_code(type), E'\n\n',
		eventsource.markdown(coalesce(now ->> 'description', schema ->> 'description')) || E'\n\n',
		'Phase: ' || eventsource.markdown(now ->> 'phase') || E'\n\n',
		(SELECT format(E'Version %s (%s; compatibility: %s).\n\n', now ->> 'version',
					CASE count(*) WHEN 1 THEN 'the only one'
						ELSE 'of ' || string_agg(v.value ->> 'version', ', ' ORDER BY (v.value ->> 'version')::int) END,
					now ->> 'compatibility')
		   FROM jsonb_array_elements(versions) v HAVING count(*) > 0),
		CASE WHEN (now ->> 'is_withdrawn')::boolean THEN E'Withdrawn: new events have no registration.\n\n' END,
		'Subject: ' || eventsource.markdown_code(now ->> 'subject') || E'\n\n',
		(SELECT E'Older events are read with other data:\n\n'
				|| string_agg(format(E'- of version %s as of %s: %s\n', u.from_version, u.to_version, eventsource.markdown_code(u.expression)),
					'' ORDER BY u.from_version) || E'\n'
		   FROM jsonb_to_recordset(steps) u (from_version integer, to_version integer, expression text) HAVING count(*) > 0),
		eventsource.catalog_edges(edges),
		E'| Field | Type | Required | Description |\n|---|---|---|---|\n' || fields || E'\n',
		eventsource.catalog_example(schema, latest));
END
$$;
COMMENT ON FUNCTION eventsource.catalog_type(text, text, jsonb, jsonb, jsonb, jsonb) IS
	'Private, for event_catalog: one event type.';

CREATE FUNCTION eventsource.catalog_users(category text) RETURNS text
	LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	RETURN (SELECT E'### Used by\n\n' || string_agg(u.line, E'\n' ORDER BY u.kind, u.name COLLATE "C") || E'\n\n'
			  FROM (SELECT 1 AS kind, t.target::text AS name, '- table ' || eventsource.markdown_code(t.target::text)
					  || ', whose changes are its events' AS line
					  FROM eventsource.tracked_tables t WHERE t.category = catalog_users.category
					UNION ALL
					SELECT 2, p.name, format('- projection %s (%s): %s', eventsource.markdown_code(p.name), p.mode,
									(SELECT string_agg(eventsource.markdown_code(r), ', ' ORDER BY r COLLATE "C") FROM jsonb_object_keys(p.rules) r))
					  FROM eventsource.projections p WHERE p.category @> ARRAY[catalog_users.category] AND p.target IS NOT NULL
					UNION ALL
					SELECT 3, h.name, format('- handler %s: %s', eventsource.markdown_code(h.name), eventsource.markdown_code(h.handler))
					  FROM eventsource.handlers h WHERE h.category IS NULL OR h.category @> ARRAY[catalog_users.category]
					UNION ALL
					SELECT 4, s.name,
						   format('- subscription %s%s', eventsource.markdown_code(s.name), ' of events where '
							|| eventsource.markdown_code(s.filter))
					  FROM eventsource.subscriptions s WHERE s.category IS NULL OR s.category @> ARRAY[catalog_users.category]
					UNION ALL
					SELECT 5, c.to_category, format('- copy to category %s', eventsource.markdown_code(c.to_category))
					  FROM eventsource.category_copies c WHERE c.from_category = catalog_users.category
					UNION ALL
					SELECT 6, p.prefix,
						   format('- publication %s%s', eventsource.markdown_code(p.prefix), ' of events where '
							|| eventsource.markdown_code(p.filter))
					  FROM eventsource.publications p WHERE p.category IS NULL OR p.category @> ARRAY[catalog_users.category]) u
			HAVING count(*) > 0);
COMMENT ON FUNCTION eventsource.catalog_users(text) IS
	'Private, for event_catalog: what is made of the events of a category.';

-- types: rows of event_type_versions; steps: of upcasters; latest: data of the last event by category-type.
CREATE FUNCTION eventsource.catalog_category(category text, types jsonb, steps jsonb, latest jsonb) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	declared record;
	machine record;
	edges jsonb;
	result text := concat('## Category ', eventsource.markdown_code(category), E'\n\n');
	each record;
BEGIN
	SELECT c.strict AS is_strict, c.subject, c.context, c.state_machine INTO declared FROM eventsource.categories c WHERE c.name = category;
	SELECT * INTO machine FROM eventsource.state_machines m WHERE m.name = declared.state_machine AND m.is_current;
	SELECT jsonb_object_agg(t.type, t.edges) INTO edges
	  FROM (SELECT e.type, jsonb_agg(e) AS edges FROM eventsource.state_machine_edges(machine.definition) e GROUP BY e.type) t
	 WHERE machine.definition IS NOT NULL;
	result := concat(result,
		CASE WHEN declared.is_strict THEN E'Strict: event types that are not registered are refused.\n\n' END,
		'An event is about ' || eventsource.markdown_code(declared.subject) || E'.\n\n',
		format(E'State machine %s, version %s', eventsource.markdown_code(machine.name), machine.version)
			|| coalesce('; conditions see rows of ' || eventsource.markdown_code(declared.context), '') || E'.\n\n'
			|| eventsource.markdown_block('mermaid', eventsource.state_machine_diagram(machine.name)),
		(SELECT E'### Reasons\n\n| Code | Category | Label |\n|---|---|---|\n'
			|| string_agg(format(E'| %s | %s | %s |\n', eventsource.markdown_code(r.code, true),
					coalesce(eventsource.markdown(r.category), ''), coalesce(eventsource.markdown(r.label), '')), '' ORDER BY r.code COLLATE "C")
						|| E'\n'
		   FROM eventsource.reason_codes r WHERE r.state_machine = declared.state_machine AND r.is_current HAVING count(*) > 0));
	FOR each IN
		SELECT x.type, v.own, v.general, row_number() OVER (ORDER BY x.type COLLATE "C") AS n
		  FROM (SELECT t.value ->> 'type' AS type FROM jsonb_array_elements(types) t WHERE t.value ->> 'category' = catalog_category.category
				UNION SELECT k FROM jsonb_object_keys(edges) k
				UNION SELECT substr(k, length(category) + 2) FROM jsonb_object_keys(latest) k WHERE starts_with(k, category || '-')) x
		 CROSS JOIN LATERAL (
				SELECT jsonb_agg(t.value ORDER BY (t.value ->> 'version')::int) FILTER (WHERE t.value ->> 'category' IS NOT NULL) AS own,
					   jsonb_agg(t.value ORDER BY (t.value ->> 'version')::int) FILTER (WHERE t.value ->> 'category' IS NULL) AS general
				  FROM jsonb_array_elements(types) t
				 WHERE t.value ->> 'type' = x.type AND coalesce(t.value ->> 'category', catalog_category.category) = catalog_category.category) v
		 ORDER BY x.type COLLATE "C"
	LOOP
		result := concat(result, CASE each.n WHEN 1 THEN E'### Event types\n\n' END,
			eventsource.catalog_type('####', each.type, coalesce(each.own, each.general),
				(SELECT jsonb_agg(s.value) FROM jsonb_array_elements(steps) s
				  WHERE s.value ->> 'type' = each.type
					AND CASE WHEN each.own IS NULL AND each.general IS NOT NULL THEN s.value ->> 'category' IS NULL
							 ELSE s.value ->> 'category' = catalog_category.category END), edges -> each.type,
								latest -> (category || '-' || each.type)));
	END LOOP;
	RETURN result || coalesce(eventsource.catalog_users(category), '');
END
$$;
COMMENT ON FUNCTION eventsource.catalog_category(text, jsonb, jsonb, jsonb) IS
	'Private, for event_catalog: one category.';

CREATE FUNCTION eventsource.expect_category(category text) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_expect_category' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.expect_category(text) IS
	'Private, for event_catalog: error if there is no such category. Errors: 42704.';

CREATE FUNCTION eventsource.event_catalog(category text DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	recent bigint := eventsource.watermark() - 10000;
	types jsonb := (SELECT coalesce(jsonb_agg(v), '[]') FROM eventsource.event_type_versions v);
	steps jsonb := (SELECT jsonb_agg(u) FROM eventsource.upcasters u);
	latest jsonb := (WITH lately AS MATERIALIZED (
							SELECT v.position, v.category, v.type, v.data,
								   CASE WHEN v.type IN ('event_corrected', 'event_voided') AND v.metadata ->> 'corrects' ~ '^[0-9]{1,18}$'
										THEN (v.metadata ->> 'corrects')::bigint END AS corrects
							  FROM eventsource.events v
							 WHERE v.position > recent AND v.category !~ '^\$')
					 SELECT jsonb_object_agg(e.category || '-' || e.type, e.data)
					   FROM (SELECT DISTINCT ON (l.category, l.type) l.category, l.type, l.data
							   FROM lately l
							  WHERE l.corrects IS NULL
								AND NOT EXISTS (SELECT FROM lately c WHERE c.corrects = l.position)
							  ORDER BY l.category, l.type, l.position DESC) e);
	result text := E'# Event catalogue\n\n';
	each record;
BEGIN
	IF event_catalog.category IS NOT NULL
		AND NOT EXISTS (SELECT FROM eventsource.tracked_tables t WHERE t.category = event_catalog.category) THEN
		PERFORM eventsource.expect_category(event_catalog.category);
	END IF;
	FOR each IN
		SELECT n.name FROM (SELECT event_catalog.category AS name WHERE event_catalog.category IS NOT NULL
							UNION SELECT c.name FROM eventsource.categories c
							UNION SELECT t.category FROM eventsource.tracked_tables t
							UNION SELECT t.value ->> 'category' FROM jsonb_array_elements(types) t
							UNION SELECT split_part(k, '-', 1) FROM jsonb_object_keys(latest) k) n
		 WHERE n.name = event_catalog.category OR event_catalog.category IS NULL AND n.name IS NOT NULL
		 ORDER BY n.name COLLATE "C"
	LOOP
		result := result || eventsource.catalog_category(each.name, types, steps, latest);
	END LOOP;
	FOR each IN
		SELECT t.type, jsonb_agg(t.value ORDER BY (t.value ->> 'version')::int) AS versions,
			   row_number() OVER (ORDER BY t.type COLLATE "C") AS n
		  FROM (SELECT v.value, v.value ->> 'type' AS type FROM jsonb_array_elements(types) v WHERE v.value ->> 'category' IS NULL) t
		 WHERE event_catalog.category IS NULL
		 GROUP BY t.type ORDER BY t.type COLLATE "C"
	LOOP
		result := concat(result, CASE each.n WHEN 1 THEN E'## Event types of every category\n\n' END,
			eventsource.catalog_type('###', each.type, each.versions,
				(SELECT jsonb_agg(s.value) FROM jsonb_array_elements(steps) s
				  WHERE s.value ->> 'type' = each.type AND s.value ->> 'category' IS NULL), NULL, NULL));
	END LOOP;
	RETURN rtrim(result, E'\n') || E'\n';
END
$$;
COMMENT ON FUNCTION eventsource.event_catalog(text) IS
	'The event catalogue as Markdown: of one category, or (NULL) of all that are declared, tracked, have registered event types, or events among the last 10,000 of the log: rules, state machine with its diagram (mermaid), reason codes, event types (registered, known to the machine, or among those events) with versions, upcasters, transitions, fields and an example, and who uses them. An example is the first of the schema''s own "examples", else data of the latest of those events that was not corrected, as it is, personal data and all, else made from the schema. Shows what the caller may read. Errors: 42704 if there is no such category.';
