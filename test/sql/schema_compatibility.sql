\set ECHO none
\i test/helpers.sql
-- Compatibility of schemas: what may change in a new version, and what is said of the rest.
BEGIN;
SELECT plan(252);

CREATE TEMP TABLE change (n int GENERATED ALWAYS AS IDENTITY, what text, older jsonb, newer jsonb,
	backward text[], forward text[]);
INSERT INTO change (what, older, newer, backward, forward) VALUES
('a description',
	'{"type":"object"}',
	'{"type":"object","description":"x"}',
	'{}', '{}'),
('a field added that may be there',
	'{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}',
	'{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}},"required":["a"]}',
	'{}', '{}'),
('a field removed that may be there',
	'{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}}}',
	'{"type":"object","properties":{"a":{"type":"string"}}}',
	'{}', '{}'),
('a field that is no longer required',
	'{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}',
	'{"type":"object","properties":{"a":{"type":"string"}}}',
	'{}', '{"(schema): required \"a\" is gone"}'),
('a field that must be there now',
	'{"type":"object","properties":{"a":{"type":"string"}}}',
	'{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}',
	'{"(schema): required \"a\" is new"}', '{}'),
('integer to number',
	'{"properties":{"a":{"type":"integer"}}}',
	'{"properties":{"a":{"type":"number"}}}',
	'{}', '{"/properties/a: type widens from an integer to a number"}'),
('or null',
	'{"properties":{"a":{"type":"integer"}}}',
	'{"properties":{"a":{"type":["integer","null"]}}}',
	'{}', '{"/properties/a: type widens from an integer to null or an integer"}'),
('or null, in another way',
	'{"properties":{"a":{"type":["string","null"]}}}',
	'{"properties":{"a":{"anyOf":[{"type":"string"},{"type":"null"}]}}}',
	'{}', '{}'),
('one more value',
	'{"properties":{"a":{"enum":["x","y"]}}}',
	'{"properties":{"a":{"enum":["x","y","z"]}}}',
	'{}', '{"/properties/a: enum did not take \"z\""}'),
('bounds',
	'{"properties":{"a":{"type":"integer","minimum":1,"maximum":5}}}',
	'{"properties":{"a":{"type":"integer","exclusiveMinimum":0,"maximum":9}}}',
	'{}', '{"/properties/a: maximum widens from 5 to 9"}'),
('closed',
	'{"properties":{"a":{"type":"integer"}}}',
	'{"properties":{"a":{"type":"integer"}},"additionalProperties":false}',
	'{"/additionalProperties: false refuses what was allowed"}', '{}'),
('a field added where all others are refused',
	'{"properties":{"a":{"type":"integer"}},"additionalProperties":false}',
	'{"properties":{"a":{"type":"integer"},"b":{}},"additionalProperties":false}',
	'{}', '{"/additionalProperties: false became less strict"}'),
('the same by unevaluatedProperties',
	'{"properties":{"a":{"type":"integer"}},"unevaluatedProperties":false}',
	'{"allOf":[{"properties":{"a":{"type":"integer"},"b":{}}}],"unevaluatedProperties":false}',
	'{}', '{"/unevaluatedProperties: false became less strict"}'),
('through a reference',
	'{"properties":{"a":{"type":"object","properties":{"z":{"type":"string"}}}}}',
	'{"$defs":{"x":{"type":"object","properties":{"z":{"type":"string","maxLength":5}}}},"properties":{"a":{"$ref":"#/$defs/x"}}}',
	'{"/$defs/x/properties/z: maxLength 5 is new"}', '{}'),
('a tree',
	'{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"kids":{"type":"array","items":{"$ref":"#/$defs/n"}}}}}}',
	'{"$ref":"#/$defs/m","$defs":{"m":{"type":"object","properties":{"v":{"type":"number"},"kids":{"type":"array","items":{"$ref":"#/$defs/m"}}}}}}',
	'{}', '{"/$defs/n/properties/v: type widens from an integer to a number"}'),
('one more of several kinds',
	'{"oneOf":[{"properties":{"k":{"const":"a"},"x":{"type":"integer"}},"required":["k"]},{"properties":{"k":{"const":"b"}},"required":["k"]}]}',
	'{"oneOf":[{"properties":{"k":{"const":"a"},"x":{"type":"number"}},"required":["k"]},{"properties":{"k":{"const":"b"}},"required":["k"]},{"properties":{"k":{"const":"c"}},"required":["k"]}]}',
	'{}', '{"(schema): oneOf cannot be shown to take all of it: no branch does alone"}'),
('one of two fields',
	'{"oneOf":[{"required":["email"]},{"required":["phone"]}]}',
	'{"oneOf":[{"required":["email"]},{"required":["phone"]}],"description":"x"}',
	'{}', '{}'),
('if, then, else',
	'{"properties":{"k":{"enum":["a","b"]}},"required":["k"],"if":{"properties":{"k":{"const":"a"}}},"then":{"required":["x"]},"else":{"required":["y"]}}',
	'{"properties":{"k":{"enum":["a","b"]}},"required":["k"],"if":{"properties":{"k":{"const":"a"}}},"then":{"required":["x"]},"else":{"required":["y"]},"title":"q"}',
	'{}', '{}'),
('not',
	'{"type":"string","not":{"enum":["x","y"]}}',
	'{"type":"string","not":{"enum":["x"]}}',
	'{}', '{"(schema): not cannot be shown to refuse nothing that is allowed"}'),
('not, for more',
	'{"type":"string","not":{"enum":["x"]}}',
	'{"type":"string","not":{"enum":["x","y"]}}',
	'{"(schema): not cannot be shown to refuse nothing that was allowed"}', '{}'),
('a pattern',
	'{"type":"string","pattern":"^a"}',
	'{"type":["string","null"],"pattern":"^a"}',
	'{}', '{"(schema): type widens from a string to null or a string"}'),
('a dependency, in another way',
	'{"properties":{"a":{},"b":{}},"dependentRequired":{"a":["b"]}}',
	'{"properties":{"a":{},"b":{}},"dependentSchemas":{"a":{"required":["b"]}}}',
	'{}', '{}'),
('a field that some branch has',
	'{"anyOf":[{"properties":{"k":{"const":"a"},"y":{"type":"integer"}}},{"required":["z"]}]}',
	'{"properties":{"y":{"type":"string"}}}',
	'{"/properties/y: type narrows from an integer to a string","/properties/y: type narrows from any to a string"}', '{"(schema): anyOf cannot be shown to take all of it: no branch does alone"}'),
('a map',
	'{"type":"object","additionalProperties":{"type":"integer"}}',
	'{"type":"object","additionalProperties":{"type":"number"}}',
	'{}', '{"/additionalProperties: type widens from an integer to a number"}'),
('a field that was part of a map',
	'{"type":"object","additionalProperties":{"type":"string"}}',
	'{"type":"object","properties":{"b":{"type":"number"}}}',
	'{"/properties/b: type narrows from a string to a number"}', '{"/additionalProperties: type widens from a string to any","/additionalProperties: type widens from a string to a number"}'),
('a pattern of names',
	'{"patternProperties":{"^x":{"type":"integer"}}}',
	'{"patternProperties":{"^x":{"type":"number"}}}',
	'{}', '{"/patternProperties/^x: type widens from an integer to a number"}'),
('contains',
	'{"type":"array","contains":{"const":1}}',
	'{"type":"array","contains":{"type":"integer"}}',
	'{}', '{"(schema): contains is gone, or asks for less"}'),
('contains, of elements that have more fields',
	'{"items":{"properties":{"x":{"type":"integer"}}},"contains":{"required":["a"]}}',
	'{"items":{"properties":{"x":{"type":"integer"}}},"contains":{"required":["a"],"properties":{"x":{"type":"string"}}}}',
	'{"(schema): contains is new, or asks for more"}', '{}'),
('not, where a pattern of names is only in the other',
	'{"type":"object","not":{"additionalProperties":{"type":"integer"}}}',
	'{"type":"object","not":{"unevaluatedProperties":false,"anyOf":[{"patternProperties":{"^a":{"type":"string"}}}]}}',
	'{"(schema): not cannot be shown to refuse nothing that was allowed"}', '{"(schema): not cannot be shown to refuse nothing that is allowed"}'),
('not, where a name is only in the other',
	'{"type":"object","not":{"propertyNames":{"minLength":3}}}',
	'{"type":"object","not":{"unevaluatedProperties":false,"anyOf":[{"properties":{"ax":{"type":"string"}}}]}}',
	'{"(schema): not cannot be shown to refuse nothing that was allowed"}', '{"(schema): not cannot be shown to refuse nothing that is allowed"}');

SELECT is(eventsource.schema_compatibility(older, newer), backward, what || ': backward') FROM change ORDER BY n;
SELECT is(eventsource.schema_compatibility(older, newer, 'forward'), forward, what || ': forward') FROM change ORDER BY n;
SELECT is(eventsource.schema_compatibility(older, newer, 'full'), backward || forward, what || ': full') FROM change ORDER BY n;

-- Keyword by keyword: does the newer take all that the older takes, and the reverse?
CREATE TEMP TABLE pair (n int GENERATED ALWAYS AS IDENTITY, older jsonb, newer jsonb, backward boolean, forward boolean);
INSERT INTO pair (older, newer, backward, forward) VALUES
-- number
('{"type": "number", "minimum": 1}', '{"type": "number", "minimum": 0}', true, false),
('{"type": "number", "minimum": 0}', '{"type": "number", "exclusiveMinimum": 0}', false, true),
('{"type": "integer", "minimum": 1}', '{"type": "integer", "exclusiveMinimum": 0}', true, true),
('{"type": "integer", "maximum": 2.5}', '{"type": "integer", "maximum": 2}', true, true),
('{"type": "number", "multipleOf": 4}', '{"type": "number", "multipleOf": 2}', true, false),
('{"type": "number", "multipleOf": 2}', '{"type": "integer"}', true, false),
('{"type": "integer"}', '{"type": "number", "multipleOf": 0.5}', true, false),
('{"type": "number", "multipleOf": 0.3}', '{"type": "number", "multipleOf": 0.2}', false, false),
('{"minimum": 3}', '{"type": ["string", "number"]}', false, false),
('{"const": 1}', '{"type": "integer", "minimum": 1}', true, false),
('{"enum": [1, 1.5]}', '{"type": "integer"}', false, false),
('{"enum": [1, 2.0]}', '{"enum": [1.0, 2, 3]}', true, false),
('{"type": "boolean"}', '{"enum": [false, true]}', true, true),
('{"type": "null"}', '{"const": null}', true, true),
-- string
('{"type": "string", "minLength": 2}', '{"type": "string", "minLength": 1}', true, false),
('{"type": "string", "maxLength": 2}', '{"type": "string"}', true, false),
('{"type": "string", "pattern": "^a"}', '{"type": "string"}', true, false),
('{"type": "string", "pattern": "^a"}', '{"type": "string", "pattern": "^ab?"}', false, false),
('{"enum": ["ab", "ac"]}', '{"type": "string", "pattern": "^a", "maxLength": 2}', true, false),
('{"type": "string", "format": "email"}', '{"type": "string"}', true, true),
('{"type": "string", "minLength": 3, "maxLength": 2}', 'false', true, true),
-- object
('{"required": ["a"], "minProperties": 1}', '{"required": ["a"]}', true, true),
('{"properties": {"a": {}}, "additionalProperties": false}', '{"properties": {"a": {}}, "maxProperties": 1}', true, false),
('{"properties": {"a": {"type": "string"}}}', '{"properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}', false, true),
('{"properties": {"a": {"type": "string"}}}', '{"additionalProperties": {"type": "string"}}', false, true),
('{"properties": {"a": {"type": "string"}}, "additionalProperties": false}', '{"additionalProperties": {"type": "string"}}', true, false),
('{"properties": {"a": {"type": "string"}}}', '{"properties": {"a": {"type": "string"}}, "additionalProperties": true}', true, true),
('{"properties": {"a": {}}}', '{"properties": {"a": false}}', false, true),
('{"properties": {"a": false}}', '{"properties": {"a": {"type": "string"}}}', true, false),
('{"patternProperties": {"^a": {"type": "string"}}}', '{"properties": {"ab": {"type": "string"}}}', true, true),
('{"patternProperties": {"^a": {"type": "string"}}}', '{"properties": {"ab": {"type": "number"}}}', false, false),
('{"patternProperties": {"^a": {"type": "string"}}}', '{"patternProperties": {"b$": {"type": "number"}}}', false, false),
('{"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": false}', '{"additionalProperties": {"type": "string"}}', true, false),
('{"properties": {"a": {}, "bc": {}}, "additionalProperties": false}', '{"propertyNames": {"maxLength": 2}}', true, false),
('{"properties": {"a": {}, "bcd": {}}, "additionalProperties": false}', '{"propertyNames": {"maxLength": 2}}', false, false),
('{"propertyNames": {"maxLength": 2}}', '{"propertyNames": {"maxLength": 3}}', true, false),
('{"required": ["a"], "dependentRequired": {"a": ["b"]}}', '{"required": ["a", "b"]}', true, true),
('{"properties": {"a": {}}}', '{"properties": {"a": {}}, "dependentRequired": {"a": ["b"]}}', false, true),
('{"properties": {"a": {}}}', '{"properties": {"a": {}}, "dependentRequired": {"b": ["a"]}}', true, true),
('{"required": ["a"], "dependentSchemas": {"a": {"properties": {"b": {"type": "string"}}}}}', '{"properties": {"b": {"type": "string"}}}', true, false),
('{"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": ["b"]}}', '{"dependentRequired": {"a": ["b"]}}', true, true),
('{"properties": {"a": {}}, "anyOf": [{"properties": {"b": {}}}, {}], "unevaluatedProperties": false}', '{"properties": {"a": {}}, "unevaluatedProperties": false}', false, true),
('{"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": false}', '{"properties": {"a": {}}, "additionalProperties": false}', true, true),
('{"type": "object", "required": ["a"], "properties": {"a": false}}', 'false', true, true),
-- array
('{"type": "array", "items": {"type": "integer"}}', '{"type": "array", "items": {"type": "number"}}', true, false),
('{"type": "array", "prefixItems": [{"type": "string"}]}', '{"type": "array", "items": {"type": "string"}}', false, true),
('{"type": "array", "prefixItems": [{"type": "string"}], "items": false}', '{"type": "array", "items": {"type": "string"}, "maxItems": 1}', true, true),
('{"type": "array", "prefixItems": [{"type": "string"}], "maxItems": 1}', '{"type": "array", "prefixItems": [{"type": "string"}], "unevaluatedItems": false}', true, true),
('{"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}], "additionalItems": false}', '{"prefixItems": [{"type": "string"}], "items": false}', true, true),
('{"type": "array", "uniqueItems": true}', '{"type": "array"}', true, false),
('{"type": "array", "maxItems": 1}', '{"type": "array", "uniqueItems": true}', true, false),
('{"type": "array", "minItems": 1, "items": {"const": 1}}', '{"type": "array", "contains": {"type": "integer"}}', true, false),
('{"type": "array", "contains": {"const": 1}, "minContains": 2}', '{"type": "array", "minItems": 2}', true, false),
('{"type": "array", "contains": {"type": "integer"}, "maxContains": 2}', '{"type": "array", "contains": {"const": 1}, "minContains": 0, "maxContains": 3}', true, false),
('{"type": "array", "contains": {"const": 1}, "maxContains": 2}', '{"type": "array", "contains": {"type": "integer"}, "maxContains": 2}', false, false),
('{"type": "array", "minItems": 2, "maxItems": 1}', 'false', true, true),
-- in place
('{"allOf": [{"type": "integer"}, {"minimum": 1}]}', '{"type": "integer", "minimum": 1}', true, true),
('{"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 3}]}', '{"type": ["string", "number"]}', true, false),
('{"type": ["string", "null"]}', '{"oneOf": [{"type": "string"}, {"type": "null"}]}', true, true),
('{"type": "integer"}', '{"oneOf": [{"type": "integer"}, {"type": "number"}]}', false, false),
('{"oneOf": [{"type": "integer"}, {"type": "number"}]}', '{"type": "number"}', true, false),
('{"type": "object", "not": {"properties": {"b": {"type": "string"}}}}', '{"type": "object", "not": {"type": "object"}}', false, true),
('{"not": {"type": "string"}}', '{"type": ["null", "boolean", "object", "array", "number"]}', true, true),
('{"if": {"type": "string"}, "then": {"maxLength": 3}, "else": {"type": "integer"}}', '{"type": ["string", "integer"], "maxLength": 3}', true, true),
('{"properties": {"k": {"enum": ["a", "b"]}}, "required": ["k"], "if": {"properties": {"k": {"const": "a"}}}, "then": {"required": ["x"]}}', '{"oneOf": [{"properties": {"k": {"const": "a"}}, "required": ["k", "x"]}, {"properties": {"k": {"const": "b"}}, "required": ["k"]}]}', false, true),
('{"required": ["k"]}', '{"required": ["k"], "if": {"properties": {"k": {"const": "a"}}}, "else": {"required": ["x"]}}', false, true),
('true', '{}', true, true),
('true', 'false', false, true),
-- references
('{"$ref": "#/$defs/a", "$defs": {"a": {"$anchor": "x", "type": "array", "items": {"$ref": "#x"}}}}', '{"type": "array", "items": {"$ref": "#"}}', true, true),
('{"type": "array", "items": {"type": "array"}}', '{"type": "array", "items": {"$ref": "#"}}', false, true),
('{"$ref": "#/$defs/t", "$defs": {"t": {"properties": {"c": {"$ref": "#/$defs/c"}, "v": {"type": "number"}}}, "c": {"properties": {"t": {"$ref": "#/$defs/t"}}}}}', '{"anyOf": [{"$ref": "#/$defs/t"}, {"properties": {"c": {"$ref": "#/$defs/c"}}}], "$defs": {"t": {"properties": {"c": {"$ref": "#/$defs/c"}, "v": {"type": "integer"}}}, "c": {"properties": {"t": {"$ref": "#/$defs/t"}}}}}', false, false),
('{"$dynamicRef": "#x", "$defs": {"a": {"$dynamicAnchor": "x", "type": "string"}}}', '{"$dynamicRef": "#x", "$defs": {"a": {"$dynamicAnchor": "x", "type": "string"}}}', true, true),
('{"$dynamicRef": "#x", "$defs": {"a": {"$dynamicAnchor": "x", "type": "string"}}}', '{"type": "string"}', false, false);
SELECT is((eventsource.schema_compatibility(older, newer) = '{}', eventsource.schema_compatibility(older, newer, 'forward') = '{}'),
	(backward, forward), format('%s to %s', older, newer)) FROM pair ORDER BY n;
SELECT is(eventsource.schema_compatibility(newer, older, 'forward') = '{}', backward, 'the reverse of pair ' || n) FROM pair ORDER BY n;

-- Formats, where they are asserted.
SET LOCAL eventsource.assert_formats = on;
SELECT is(eventsource.schema_compatibility('{"type": "string"}', '{"type": "string", "format": "email"}'), '{"(schema): format email is new"}', 'a format');
SELECT is(eventsource.schema_compatibility('{"format": "date"}', '{"format": "date-time"}', 'full'),
	'{"(schema): format narrows from date to date-time","(schema): format widens from date to date-time"}', 'another format');
RESET eventsource.assert_formats;

SELECT throws_ok($$ SELECT eventsource.schema_compatibility('{}', '{}', 'backwards') $$, '22023', 'unknown compatibility "backwards"', 'no such mode');
SELECT throws_ok($$ SELECT eventsource.schema_compatibility('{}', '{"type": 1}') $$, 'ZE011', NULL, 'no schema');
SELECT is(eventsource.schema_compatibility('{"type": "string"}', '{"type": "number"}', 'none'), '{}', 'none');
SELECT is(eventsource.schema_compatibility(NULL, '{}'), NULL, 'NULL');
SELECT is(eventsource.schema_compatibility('{"type": "integer"}', '{"type": "number"}', 'full_transitive'),
	'{"(schema): type widens from an integer to a number"}', 'transitive modes are the same for two');

-- Registered: by the last version, or by all.
CREATE FUNCTION pg_temp.said(schema jsonb, mode text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	RETURN eventsource.register_event_type('gone_and_back', schema => schema, compatibility => mode);
EXCEPTION WHEN SQLSTATE 'ZE011' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail;
END
$$;
SELECT is(pg_temp.said('{"properties": {"a": {"type": "string"}}}', 'backward'), '1', 'the first');
SELECT is(pg_temp.said('{"properties": {"b": {"type": "string"}}}', 'backward'), '2', 'a field is gone');
SELECT is(pg_temp.said('{"properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}', 'backward_transitive'),
	'not backward_transitive compatible with version 1: /properties/a: type narrows from a string to an integer', 'not back with another type');
SELECT is(pg_temp.said('{"properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}', 'full'), '3', 'unless only the last is asked');
SELECT is(pg_temp.said('{"properties": {"a": {"type": "number"}}}', 'full'),
	'not full compatible with version 3: /properties/a: type widens from an integer to a number', 'full');
SELECT is(pg_temp.said(NULL, 'backward'), '4', 'no schema takes any data');
SELECT is(pg_temp.said('{"required": ["a"]}', 'backward'), 'not backward compatible with version 4: (schema): required "a" is new', 'after no schema');
SELECT is(pg_temp.said('{"type": "object", "properties": {"a": {"type": "string"}}}', 'backward'),
	'not backward compatible with version 4: (schema): type narrows from any to an object', 'data need not be an object');
SELECT is(pg_temp.said('{"properties": {"a": {"type": "string"}}}', 'backward'), '5', 'after no schema, fields');

SELECT * FROM finish();
ROLLBACK;
