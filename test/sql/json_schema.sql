\set ECHO none
\i test/helpers.sql
-- The functions of JSON Schema: what they say about bad schemas and bad instances, what a call site keeps.
BEGIN;
SELECT plan(99);

-- What a schema is refused for.
CREATE FUNCTION pg_temp.problems(schema jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	IF eventsource.jsonb_matches_schema(schema, '1') IS NOT NULL THEN
		RETURN CASE WHEN eventsource.jsonschema_is_valid(schema) THEN NULL ELSE 'taken, but not valid' END;
	END IF;
EXCEPTION WHEN SQLSTATE 'ZE011' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN CASE WHEN eventsource.jsonschema_is_valid(schema) THEN 'refused, but valid' ELSE detail END;
END
$$;
CREATE TEMP TABLE refused (n int GENERATED ALWAYS AS IDENTITY, schema jsonb, problem text);
INSERT INTO refused (schema, problem) VALUES
('1', '(schema): must be a schema (an object or a boolean), not a number'),
('"x"', '(schema): must be a schema (an object or a boolean), not a string'),
('null', '(schema): must be a schema (an object or a boolean), not null'),
('[]', '(schema): must be a schema (an object or a boolean), not an array'),
('{"type": "strin"}', '/type: "strin" is no type of JSON'),
('{"type": 1}', '/type: must be a type or an array of types, not a number'),
('{"type": []}', '/type: must not be empty'),
('{"type": ["null", "null"]}', '/type: has "null" twice'),
('{"type": [1]}', '/type: a number is no type of JSON'),
('{"properties": []}', '/properties: must be an object of schemas, not an array'),
('{"properties": {"a/b": {"minLength": "x"}}}', '/properties/a~1b/minLength: must be an integer, not a string'),
('{"properties": {"a": 1}}', '/properties/a: must be a schema (an object or a boolean), not a number'),
('{"minLength": -1}', '/minLength: must not be negative'),
('{"maxItems": 1.5}', '/maxItems: must be an integer, not a number'),
('{"minimum": "1"}', '/minimum: must be a number, not a string'),
('{"multipleOf": 0}', '/multipleOf: must be greater than 0'),
('{"multipleOf": -1.5}', '/multipleOf: must be greater than 0'),
('{"required": "a"}', '/required: must be an array of names, not a string'),
('{"required": ["a", 1]}', '/required: must be an array of names, not a number'),
('{"required": ["a", "b", "a"]}', '/required: has "a" twice'),
('{"dependentRequired": {"a": ["b", "b"]}}', '/dependentRequired: has "b" twice'),
('{"dependentRequired": {"a": {}}}', '/dependentRequired: must be an array of names, not an object'),
('{"dependentSchemas": {"a": ["b"]}}', '/dependentSchemas/a: must be a schema (an object or a boolean), not an array'),
('{"enum": 1}', '/enum: must be an array of values, not a number'),
('{"allOf": []}', '/allOf: must not be empty'),
('{"oneOf": {}}', '/oneOf: must be an array of schemas, not an object'),
('{"anyOf": [true, 1, {"not": 2}]}', '/anyOf/1: must be a schema (an object or a boolean), not a number' || E'\n' || '/anyOf/2/not: must be a schema (an object or a boolean), not a number'),
('{"prefixItems": []}', '/prefixItems: must not be empty'),
('{"items": [{}]}', '/items: must be a schema (an object or a boolean), not an array'),
('{"uniqueItems": "yes"}', '/uniqueItems: must be true or false, not a string'),
('{"pattern": "("}', '/pattern: "(": there is a "(" too many'),
('{"pattern": 1}', '/pattern: must be a regular expression, not a number'),
('{"patternProperties": {"[": true}}', '/patternProperties: "[": there is a "[" too many'),
('{"format": 1}', '/format: must be a string, not a number'),
('{"title": 1, "description": null, "$comment": 2, "deprecated": 0, "readOnly": 1, "examples": {}, "contentSchema": 1}',
	E'/title: must be a string, not a number\n/$comment: must be a string, not a number\n/examples: must be an array, not an object\n/readOnly: must be true or false, not a number\n/deprecated: must be true or false, not a number\n/description: must be a string, not null\n/contentSchema: must be a schema (an object or a boolean), not a number'),
('{"$defs": {"a": 1, "b": {"type": "x"}}}', E'/$defs/a: must be a schema (an object or a boolean), not a number\n/$defs/b/type: "x" is no type of JSON'),
('{"$defs": 1}', '/$defs: must be an object of schemas, not a number'),
('{"$ref": 1}', '/$ref: must be a URI reference, not a number'),
('{"$ref": "#/$defs/x"}', '/$ref: "#/$defs/x" leads to no schema'),
('{"$ref": "#/type", "type": "null"}', '/$ref: "#/type" leads to no schema'),
('{"$ref": "#/allOf/01", "allOf": [true, true]}', '/$ref: "#/allOf/01" leads to no schema'),
('{"$ref": "#/allOf/2", "allOf": [true, true]}', '/$ref: "#/allOf/2" leads to no schema'),
('{"$ref": "#x"}', '/$ref: "#x" leads to no schema'),
('{"$ref": "#%ff"}', '/$ref: "#%ff" leads to no schema'),
('{"$ref": "http://example.com/other.json"}', '/$ref: "http://example.com/other.json" is not in this schema (nothing is fetched: put it under $defs)'),
('{"$ref": "other.json#/a"}', '/$ref: "other.json#/a" is not in this schema (nothing is fetched: put it under $defs)'),
('{"$ref": "not a uri"}', '/$ref: "not a uri" is not in this schema (nothing is fetched: put it under $defs)'),
('{"$dynamicRef": "#x"}', '/$dynamicRef: "#x" leads to no schema'),
('{"$id": 1}', '/$id: must be a URI reference, not a number'),
('{"$id": "a b"}', '/$id: "a b" is no URI reference'),
('{"$id": "http://x/y#z"}', '/$id: must not have a fragment'),
('{"$anchor": "1x"}', '/$anchor: "1x" is no name of letters, digits, "-", "_" and "."'),
('{"$anchor": ""}', '/$anchor: "" is no name of letters, digits, "-", "_" and "."'),
('{"$dynamicAnchor": "a/b"}', '/$dynamicAnchor: "a/b" is no name of letters, digits, "-", "_" and "."'),
('{"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}}', '/$defs/b/$anchor: there are two schemas called "#x"'),
('{"$defs": {"a": {"$anchor": "x"}, "b": {"$dynamicAnchor": "x"}}}', '/$defs/b/$dynamicAnchor: there are two schemas called "#x"'),
('{"$defs": {"a": {"$id": "http://x/y"}, "b": {"$id": "http://x/y#"}}}', '/$defs/b/$id: there are two schemas called "http://x/y"'),
('{"$id": "http://x/a", "$defs": {"a": {"$id": "a"}}}', '/$defs/a/$id: there are two schemas called "http://x/a"'),
('{"$schema": 1}', '/$schema: must be a URI, not a number'),
('{"$schema": "http://json-schema.org/draft-04/schema#"}', '/$schema: "http://json-schema.org/draft-04/schema#" is neither draft 2020-12 nor draft-07, nor a schema under $defs'),
('{"$schema": "http://x/d", "$defs": {"d": {"$id": "http://x/d", "$vocabulary": {"http://x/v": true}}}}', '/$schema: requires the unknown vocabulary "http://x/v"'),
('{"$vocabulary": 1}', '/$vocabulary: must be an object, not a number'),
('{"x": {"y": {"type": "z"}}, "$ref": "#/x/y"}', '/$ref/type: "z" is no type of JSON'),
('{"$schema": "http://json-schema.org/draft-07/schema#", "items": [1]}', '/items/0: must be a schema (an object or a boolean), not a number'),
('{"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": 1}}', '/dependencies/a: must be a schema (an object or a boolean), not a number'),
('{"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": [1]}}', '/dependencies: must be an array of names, not a number');
SELECT is(pg_temp.problems(schema), problem, schema::text) FROM refused ORDER BY n;
SELECT is(array_length(string_to_array(pg_temp.problems((SELECT jsonb_build_object('allOf', jsonb_agg(1)) FROM generate_series(1, 150))), E'\n'), 1), 101, 'no more problems than one can read');
SELECT is(right(pg_temp.problems((SELECT jsonb_build_object('allOf', jsonb_agg(1)) FROM generate_series(1, 150))), 11), 'and 50 more', 'and how many there are');
SELECT pg_temp.refuses($$ SELECT eventsource.jsonb_matches_schema('{"type": 1}', '1') $$, 'ZE011', 'invalid JSON Schema', 'a bad schema: jsonb_matches_schema');
SELECT pg_temp.refuses($$ SELECT eventsource.jsonschema_validation_errors('{"type": 1}', '1') $$, 'ZE011', 'invalid JSON Schema', 'a bad schema: jsonschema_validation_errors');

-- What an instance fails by.
CREATE FUNCTION pg_temp.errors(schema jsonb, data jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT array_to_string(eventsource.jsonschema_validation_errors($1, $2), E'\n')
$$;
CREATE TEMP TABLE failing (n int GENERATED ALWAYS AS IDENTITY, schema jsonb, data jsonb, errors text);
INSERT INTO failing (schema, data, errors) VALUES
('false', '1', '(root): is not allowed (false)'),
('{"type": "string"}', '1', '(root): must be a string, not a number (type)'),
('{"type": ["string", "null", "integer"]}', '1.5', '(root): must be null, a string or an integer, not a number (type)'),
('{"properties": {"a/b": {"items": {"properties": {"c~d": {"minimum": 3}}}}}}', '{"a/b": [{}, {"c~d": 2}]}', '/a~1b/1/c~0d: must be at least 3 (minimum)'),
('{"minimum": 5, "exclusiveMinimum": 5, "multipleOf": 5}', '3', E'(root): must be at least 5 (minimum)\n(root): must be more than 5 (exclusiveMinimum)\n(root): must be a multiple of 5 (multipleOf)'),
('{"maximum": 1.50, "exclusiveMaximum": 1.50}', '3', E'(root): must be at most 1.50 (maximum)\n(root): must be less than 1.50 (exclusiveMaximum)'),
('{"items": {"minLength": 2, "maxLength": 3, "pattern": "^a"}}', '["b", "bbbb"]', E'/0: must have at least 2 characters (minLength)\n/0: must match the pattern "^a" (pattern)\n/1: must have at most 3 characters (maxLength)\n/1: must match the pattern "^a" (pattern)'),
('{"const": 1, "enum": [2]}', '3', E'(root): must be the value that the schema names (const)\n(root): must be one of 2 (enum)'),
('{"enum": ["b", "a\"", null, true, 1.50]}', '3', '(root): must be one of null, "b", "a\"", 1.50, true (enum)'),
('{"enum": [1, [2]]}', '3', '(root): must be one of the values that the schema names (enum)'),
('{"required": ["b", "a"], "minProperties": 3, "additionalProperties": false, "properties": {"a": {}}}', '{"x": 1}', E'(root): must have at least 3 properties (minProperties)\n/x: is not allowed (additionalProperties)\n(root): must have the property "a" (required)\n(root): must have the property "b" (required)'),
('{"maxProperties": 0, "propertyNames": {"maxLength": 1}, "dependentRequired": {"ab": ["c"]}, "dependentSchemas": {"ab": {"required": ["d"]}}}', '{"ab": 1}', E'(root): must have at most 0 properties (maxProperties)\n(root): must not have a property of the name "ab" (propertyNames)\n(root): must have the property "d" (required)\n(root): must have the property "c" beside "ab" (dependentRequired)'),
('{"minItems": 3, "uniqueItems": true, "prefixItems": [{"type": "null"}, false]}', '[1, 1]', E'(root): must have at least 3 elements (minItems)\n/0: must be null, not a number (type)\n/1: is not allowed (prefixItems)\n(root): must not have the same element twice (uniqueItems)'),
('{"maxItems": 1, "contains": {"const": 2}}', '[1, 1]', E'(root): must have at most 1 elements (maxItems)\n(root): must have at least 1 elements that match (contains)'),
('{"contains": {"const": 1}, "minContains": 2, "maxContains": 1}', '[1, 1, 3]', '(root): must have at most 1 elements that match (maxContains)'),
('{"anyOf": [{"type": "null"}, {"minimum": 3, "type": "integer"}, {"type": "string"}]}', '1', E'(root): must match at least one of 3 schemas (anyOf)\n(root): must be at least 3 (minimum)'),
('{"oneOf": [{"minimum": 1}, {"maximum": 5}]}', '3', '(root): must match only one of 2 schemas (oneOf)'),
('{"oneOf": [{"minimum": 7}, {"minimum": 9}]}', '3', '(root): must match one of 2 schemas (oneOf)'),
('{"not": {"type": "number"}, "if": true, "then": {"type": "string"}}', '3', E'(root): must not match the schema under "not" (not)\n(root): must be a string, not a number (type)'),
('{"properties": {"a": {"type": "string"}}, "unevaluatedProperties": false}', '{"a": "x", "b": 1}', '/b: is not allowed (unevaluatedProperties)'),
('{"$ref": "#/$defs/n", "$defs": {"n": {"type": "string"}}}', '1', '(root): must be a string, not a number (type)'),
('{"$ref": "#/$defs/n", "allOf": [{"$ref": "#/$defs/n"}], "$defs": {"n": {"type": "string"}}}', '1', '(root): must be a string, not a number (type)'),
('{"type": "number"}', '1', '');
SELECT is(pg_temp.errors(schema, data), errors, concat('errors: ', schema)) FROM failing ORDER BY n;

-- A call site may see many schemas.
SELECT is(array_agg(eventsource.jsonb_matches_schema(s, d) ORDER BY n), ARRAY[true, false, true, true, false, true], 'one call site, several schemas')
  FROM (VALUES (1, '{"type": "integer"}'::jsonb, '1'::jsonb), (2, '{"type": "string"}', '1'), (3, '{"type": "string"}', '"x"'), (4, '{"type": "integer"}', '2'),
	(5, 'false', '2'), (6, '{"pattern": "^a"}', '"a"')) AS v(n, s, d);
SELECT is((SELECT count(*) FROM generate_series(1, 20000) i WHERE eventsource.jsonb_matches_schema(jsonb_build_object('pattern', '^' || i % 2), to_jsonb(i::text))), 5556::bigint,
	'a new schema for each of 20000 rows');
SELECT is(eventsource.jsonb_matches_schema(NULL, '1') IS NULL AND eventsource.jsonb_matches_schema('true', NULL) IS NULL AND eventsource.jsonschema_is_valid(NULL) IS NULL
	AND eventsource.jsonschema_validation_errors('true', NULL) IS NULL, true, 'of NULL nothing is known');
CREATE TABLE checked (doc jsonb CHECK (eventsource.jsonb_matches_schema('{"type": "object", "required": ["id"]}', doc)));
INSERT INTO checked VALUES ('{"id": 1}'), (NULL);
SELECT throws_ok($$ INSERT INTO checked VALUES ('{}') $$, '23514', NULL, 'a CHECK constraint');
SELECT ok(eventsource.jsonschema_is_valid('{"$ref": "https://json-schema.org/draft/2020-12/schema"}'), 'the schema of schemas is built in');
SELECT set_eq($$ SELECT uri FROM unnest(ARRAY['schema', 'meta/core', 'meta/applicator', 'meta/unevaluated', 'meta/validation', 'meta/meta-data', 'meta/format-annotation', 'meta/content']) AS uri
	WHERE NOT eventsource.jsonb_matches_schema(jsonb_build_object('$ref', 'https://json-schema.org/draft/2020-12/' || uri), '{"type": "object"}') $$,
	ARRAY[]::text[], 'with its parts');
SELECT * FROM finish();
ROLLBACK;
