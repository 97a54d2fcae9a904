\set ECHO none
\i test/helpers.sql
-- Schemas and instances that mean harm: they end in a clean error or in bounded time, and can be cancelled.
BEGIN;
SET LOCAL statement_timeout = '60s';
SELECT plan(44);

-- The SQLSTATE of an evaluation, or what it says.
CREATE FUNCTION pg_temp.outcome(schema jsonb, data jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	valid boolean;
BEGIN
	valid := eventsource.jsonb_matches_schema(schema, data);
	IF valid <> (cardinality(eventsource.jsonschema_validation_errors(schema, data)) = 0) THEN
		RETURN 'the list of errors disagrees';
	END IF;
	RETURN valid;
EXCEPTION WHEN query_canceled OR OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, CASE WHEN SQLSTATE = 'ZE011' THEN detail END);
END
$$;
CREATE FUNCTION pg_temp.refuses_loop(schema jsonb, place text, description text) RETURNS text LANGUAGE sql AS $$
	SELECT is(pg_temp.outcome($1, '{"a": 1}'), 'ZE011 ' || $2 || ': leads back to itself for the same value, again and again', 'a loop: ' || $3)
$$;

-- 2^60 ways through references: each one is gone once.
CREATE FUNCTION pg_temp.tower(depth int, keyword text, leaf text, extra text DEFAULT '') RETURNS jsonb LANGUAGE sql AS $$
	SELECT format('{"$ref": "#/$defs/n%s", %s "$defs": {"n0": %s, %s}}', $1, $4, $3,
		string_agg(format('"n%s": {"%s": [{"$ref": "#/$defs/n%s"}, {"$ref": "#/$defs/n%s"}]}', i, $2, i - 1, i - 1), ','))::jsonb
	  FROM generate_series(1, depth) i
$$;
SELECT is(pg_temp.outcome(pg_temp.tower(60, 'allOf', '{"type": "integer"}'), '1'), 'true', 'a tower of allOf, true');
SELECT is(pg_temp.outcome(pg_temp.tower(60, 'allOf', '{"type": "integer"}'), '"x"'), 'false', 'a tower of allOf, false');
SELECT is(pg_temp.outcome(pg_temp.tower(60, 'anyOf', 'false'), '[1]'), 'false', 'a tower of anyOf');
SELECT is(pg_temp.outcome(pg_temp.tower(60, 'oneOf', 'true'), 'null'), 'false', 'a tower of oneOf');
SELECT is(pg_temp.outcome(pg_temp.tower(60, 'anyOf', '{"properties": {"a": {"type": "integer"}}, "required": ["a"]}', '"unevaluatedProperties": false,'), '{"a": 1}'),
	'true', 'a tower where somebody asks what was seen');
SELECT is(pg_temp.outcome(pg_temp.tower(60, 'anyOf', '{"properties": {"a": {"type": "integer"}}, "required": ["a"]}', '"unevaluatedProperties": false,'), '{"a": 1, "b": 2}'),
	'false', 'and something was not');
SELECT is(pg_temp.outcome(pg_temp.tower(60, 'allOf', '{"$dynamicRef": "#d"}', '"properties": {"x": {"$dynamicAnchor": "d", "minimum": 3}},'), '2'),
	'false', 'a tower with a dynamic reference');
SELECT is(pg_temp.outcome('{"$defs": {"t": {"anyOf": [{"type": "integer"}, {"items": {"allOf": [{"$ref": "#/$defs/t"}, {"$ref": "#/$defs/t"}]}}]}}, "$ref": "#/$defs/t"}',
	(repeat('[', 60) || '"x"' || repeat(']', 60))::jsonb), 'true', 'a tower that the instance builds');
-- Many ways that differ in the scopes they went through are counted.
SELECT is((SELECT pg_temp.outcome(format('{"$id": "http://x/r", "$ref": "s0", "$defs": {%s, "l": {"$id": "http://x/s30", "$dynamicAnchor": "a30", "$dynamicRef": "#z", "$defs": {"z": {"$dynamicAnchor": "z"}}}}}',
		string_agg(format('"s%s": {"$id": "s%s", "$dynamicAnchor": "a%s", "allOf": [{"$ref": "s%s"}, {"$ref": "s%s"}]}', i, i, i, i + 1, least(i + 2, 30)), ','))::jsonb, '{}')
	FROM generate_series(0, 29) i), '54000', 'too many ways for a dynamic reference');

-- Loops.
SELECT pg_temp.refuses_loop('{"$ref": "#"}', '(schema)', 'the root');
SELECT pg_temp.refuses_loop('{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}', '/$defs/b', 'two');
SELECT pg_temp.refuses_loop('{"allOf": [{"anyOf": [{"not": {"$ref": "#"}}]}]}', '/allOf/0/anyOf/0/not', 'through allOf, anyOf and not');
SELECT pg_temp.refuses_loop('{"if": {"$ref": "#"}}', '/if', 'through if');
SELECT pg_temp.refuses_loop('{"dependentSchemas": {"a": {"$ref": "#"}}}', '/dependentSchemas/a', 'through dependentSchemas');
SELECT is(pg_temp.outcome('{"$id": "http://x/a", "$dynamicAnchor": "n", "$ref": "b", "$defs": {"b": {"$id": "b", "$dynamicAnchor": "n", "anyOf": [{"$dynamicRef": "#n"}]}}}', '1'),
	'ZE011 A $dynamicRef leads back to its own schema for the same value, again and again.', 'a loop that only an evaluation meets');
SELECT ok(NOT eventsource.jsonschema_is_valid('{"$ref": "#"}'), 'a loop is no valid schema');
SELECT is(pg_temp.outcome('{"properties": {"a": {"$ref": "#"}}, "additionalProperties": false}', '{"a": {"a": {}}}'), 'true', 'a recursion through properties is none');

-- Depth.
SELECT is(pg_temp.outcome((repeat('{"not":', 2001) || 'false' || repeat('}', 2001))::jsonb, '1'), 'true', 'a schema of 2001 levels');
SELECT is(pg_temp.outcome('{"items": {"$ref": "#"}, "type": "array"}', (repeat('[', 1500) || repeat(']', 1500))::jsonb), 'true', 'an instance of 1500 levels');
SELECT is(pg_temp.outcome('{"const": 1}', (repeat('[', 3000) || repeat(']', 3000))::jsonb), 'false', 'compared with a constant');
SELECT is((SELECT pg_temp.outcome(format('{"$ref": "#/$defs/n30000", "$defs": {"n0": true, %s}}',
		string_agg(format('"n%s": {"$ref": "#/$defs/n%s"}', i, i - 1), ','))::jsonb, '1') FROM generate_series(1, 30000) i), '54001', 'a chain of 30000 references: too deep, said cleanly');

-- Width.
SELECT is(pg_temp.outcome('{"uniqueItems": true}', (SELECT jsonb_agg(i) FROM generate_series(1, 200000) i)), 'true', 'unique among 200000 numbers');
SELECT is(pg_temp.outcome('{"uniqueItems": true}', (SELECT jsonb_agg(jsonb_build_object('a', i % 100000)) FROM generate_series(1, 100001) i)), 'false', 'a pair among 100001 objects');
SELECT is(pg_temp.outcome(jsonb_build_object('items', jsonb_build_object('enum', (SELECT jsonb_agg('v' || i) FROM generate_series(1, 20000) i))),
	(SELECT jsonb_agg('v' || i) FROM generate_series(1, 20000) i)), 'true', '20000 values in an enum of 20000');
SELECT is(pg_temp.outcome('{"unevaluatedItems": false, "contains": {"type": "integer"}}', (SELECT jsonb_agg(i) FROM generate_series(1, 100000) i)), 'true', '100000 elements seen');
SELECT is(pg_temp.outcome((SELECT jsonb_build_object('properties', jsonb_object_agg('p' || i, '{"type": "integer"}'::jsonb), 'required', jsonb_agg('p' || i), 'additionalProperties', false) FROM generate_series(1, 10000) i),
	(SELECT jsonb_object_agg('p' || i, i) FROM generate_series(1, 10000) i)), 'true', '10000 properties');
SELECT is((SELECT count(*) FROM unnest(eventsource.jsonschema_validation_errors('{"items": {"type": "string"}}', (SELECT jsonb_agg(i) FROM generate_series(1, 100000) i)))), 100::bigint,
	'no more failures than one can read');
-- More references at more values than are remembered at one time.
SELECT is(pg_temp.outcome((SELECT jsonb_build_object('items', jsonb_build_object('anyOf', jsonb_agg(jsonb_build_object('$ref', '#/$defs/n' || i))),
		'$defs', jsonb_object_agg('n' || i, jsonb_build_object('const', i))) FROM generate_series(1, 100) i),
	(SELECT jsonb_agg(100) FROM generate_series(1, 15000))), 'true', '100 references at each of 15000 elements');

-- A failure's path is for reading.
SELECT is((eventsource.jsonschema_validation_errors('{"additionalProperties": {"items": {"type": "string"}}}', jsonb_build_object(repeat('kä', 2000000), '[7]'::jsonb)))[1],
	'/' || repeat('kä', 66) || 'k.../0: must be a string, not a number (type)', 'a name of no end is cut');
SELECT is((eventsource.jsonschema_validation_errors('{"items": {"$ref": "#"}, "type": "array"}', (repeat('[', 1500) || 'null' || repeat(']', 1500))::jsonb))[1],
	repeat('/0', 1000) || '/...: must be an array, not null (type)', 'a path of no end is cut');
SELECT is(pg_temp.outcome((SELECT jsonb_build_object('$defs', jsonb_object_agg('n' || i, '{"$anchor": "n"}'::jsonb)) FROM generate_series(1, 10000) i), '1') ~ '^ZE011 .*and 9899 more$', true, 'the same name 10000 times');
SELECT is(pg_temp.outcome((SELECT jsonb_build_object('unevaluatedProperties', false, 'anyOf', jsonb_agg(jsonb_build_object('$ref', '#/$defs/n' || i)),
		'$defs', jsonb_object_agg('n' || i, '{"additionalProperties": {"type": "integer"}}'::jsonb)) FROM generate_series(1, 300) i),
	(SELECT jsonb_object_agg('q' || i, i) FROM generate_series(1, 10000) i)), 'true', '10000 properties seen in 300 ways');

-- Numbers.
SELECT is(pg_temp.outcome('{"multipleOf": 1e-300}', '1e300'), 'true', 'a small part of a large number');
SELECT is(pg_temp.outcome('{"minimum": 1e1000, "type": "integer"}', '1e1001'), 'true', 'large numbers');

-- Patterns.
SELECT is(pg_temp.outcome('{"pattern": "^((((a{1,99}){1,99}){1,99}){1,99})$"}', '"a"'), 'ZE011 /pattern: "^((((a{1,99}){1,99}){1,99}){1,99})$": its repetitions multiply to too many', 'repetitions that multiply');
SELECT is(pg_temp.outcome('{"pattern": "^(\\s*[^a]?){0,30000}$"}', '"a"'), 'ZE011 /pattern: "^(\s*[^a]?){0,30000}$": its repetitions multiply to too many', 'repetitions of what may be empty');
SELECT is(pg_temp.outcome('{"pattern": "^(a+)+$"}', to_jsonb(repeat('a', 100000) || 'b')), 'false', 'what makes other engines backtrack forever');
SELECT matches(pg_temp.outcome(jsonb_build_object('pattern', '^(' || repeat('(x|', 20000) || 'y' || repeat(')', 20000) || ')$'), '"x"'), '^(54001$|ZE011 .*too long$)', 'deep parentheses');
SELECT is(pg_temp.outcome(jsonb_build_object('pattern', repeat('[a-f]', 3000)), '"x"'), 'false', 'a long pattern');
SELECT ok(NOT eventsource.jsonschema_is_valid(jsonb_build_object('pattern', repeat('[a-f]', 30000))), 'one that is too long');
SELECT is((SELECT pg_temp.outcome(format('{"$id": "http://x/", "$defs": %s}', string_agg('{"a": {"$id": "' || repeat('a', 100) || '/", "$defs": ', '') || '{}' || repeat('}}', 100))::jsonb, '1') FROM generate_series(1, 100)) ~ '^ZE011 .*makes a URI of more than 4096 bytes', true, 'URIs that grow');

-- What takes long can be cancelled.
SET LOCAL statement_timeout = '300ms';
SELECT is(pg_temp.outcome('{"pattern": "^(.*)x?\\1y?\\1z?\\1(.*)\\2\\1b$"}', to_jsonb(repeat('ab', 5000))), '57014', 'a pattern with references to groups is cancelled');
SELECT clock_timestamp() AS before \gset
SELECT is(pg_temp.outcome('{"items": {"multipleOf": 0.01}}', ('[' || repeat('1e131071,', 40000) || '1]')::jsonb), '57014', 'many large numbers are cancelled');
SELECT ok(clock_timestamp() - :'before' < '6s', 'in their midst');
SET LOCAL statement_timeout = '60s';
SELECT * FROM finish();
ROLLBACK;
