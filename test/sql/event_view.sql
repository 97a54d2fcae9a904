\set ECHO none
\i test/helpers.sql
-- Views of the events of one type: columns and types by its schema, values that do not fit, rights.
BEGIN;
SELECT plan(63);

CREATE TEMP TABLE schema AS SELECT '{"type": "object", "required": ["total", "customer"], "properties": {
	"customer": {"type": "string", "format": "uuid", "description": "Who ordered."},
	"total": {"type": "number", "minimum": 0},
	"items": {"type": "array"},
	"pieces": {"type": ["integer", "null"]},
	"paid": {"type": "boolean"},
	"at": {"$ref": "#/$defs/moment"},
	"day": {"type": "string", "format": "date"},
	"hour": {"type": "string", "format": "time"},
	"host": {"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "null"}]},
	"mail": {"type": "string", "format": "email"},
	"channel": {"enum": ["web", "app", null]},
	"mixed": {"type": ["string", "integer"]},
	"any": true,
	"stream": {"type": "string"},
	"a \"b\"": {"const": 5},
	"": {"type": "string"}},
	"oneOf": [{"properties": {"kind": {"const": "gift"}, "note": {"type": "string"}}, "required": ["kind"]},
			  {"properties": {"kind": {"const": "sale"}, "note": {"type": "number"}}, "required": ["kind"]}],
	"$defs": {"moment": {"type": "string", "format": "date-time", "description": "When"}}}'::jsonb AS schema;
SELECT is(eventsource.register_event_type('order_placed', schema => schema, description => 'Somebody ordered.'), 1, 'registered')
  FROM schema;
CREATE SCHEMA views;
CREATE SCHEMA other;
SET search_path = views, public;
SELECT is(eventsource.create_event_view('order_placed', 'orders')::text, 'orders', 'in the schema where one creates');

SELECT is(string_agg(format('%s %s', quote_ident(attname), format_type(atttypid, atttypmod)), ', ' ORDER BY attnum),
	'"position" bigint, stream text, category text, key text, subject text, version bigint, schema_version integer, actor text, reason text, '
	'from_state text, to_state text, occurred_at timestamp with time zone, recorded_at timestamp with time zone, metadata jsonb, data jsonb',
	'columns of an event') FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum BETWEEN 1 AND 15;
SELECT is(string_agg(format('%s %s', quote_ident(attname), format_type(atttypid, atttypmod)), ', ' ORDER BY attnum),
	'total numeric, customer uuid, data_ text, at timestamp with time zone, "any" jsonb, day date, host inet, hour time with time zone, '
	'mail text, paid boolean, "a ""b""" bigint, items jsonb, mixed jsonb, pieces bigint, data_stream text, channel text, kind text, note jsonb',
	'columns of its data, the required ones first') FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 15;
SELECT is(obj_description('orders'::regclass), 'Somebody ordered.', 'comment of the view');
SELECT is(string_agg(attname || ': ' || col_description(attrelid, attnum), ', ' ORDER BY attnum),
	'data: All of the payload; what does not fit into a column is only here., customer: Who ordered., at: When', 'comments of columns')
  FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0 AND col_description(attrelid, attnum) IS NOT NULL;

-- Values that fit, and values that do not.
INSERT INTO eventsource.events (stream, type, data, actor) VALUES
('order-1', 'order_placed', '{"customer": "123e4567-e89b-12d3-a456-426614174000", "total": 12.50, "items": [1], "pieces": 3, "paid": true,
	"at": "2024-02-29t10:00:00.5z", "day": "2024-02-29", "hour": "23:59:60Z", "host": "10.0.0.1", "mail": "x", "channel": "web", "mixed": 4,
	"any": null, "stream": "s", "a \"b\"": 5, "": "empty", "kind": "sale", "note": 1.5}', 'joe');
INSERT INTO eventsource.events (stream, type, data) VALUES
('order-2', 'order_placed', '{"customer": "nobody", "total": 1, "pieces": 99999999999999999999, "day": "2024-02-30", "at": "0000-01-01T00:00:00Z",
	"hour": "10:00:00+23:00", "host": "300.1.1.1", "mail": "é", "kind": "gift", "note": "n"}');
INSERT INTO eventsource.events (stream, type, data) VALUES ('order-2', 'order_shipped', '{}'), ('basket-2', 'order_shipped', '{}');
SELECT results_eq($$ SELECT stream COLLATE "default", actor COLLATE "default", version, total, customer, data_, at AT TIME ZONE 'UTC', "any", day, host FROM orders ORDER BY position $$,
	$$ VALUES ('order-1', 'joe', 1::bigint, 12.50, '123e4567-e89b-12d3-a456-426614174000'::uuid, 'empty', '2024-02-29 10:00:00.5'::timestamp, 'null'::jsonb, '2024-02-29'::date, '10.0.0.1'::inet),
			  ('order-2', session_user::text COLLATE "default", 1, 1, NULL, NULL, NULL, NULL, NULL, NULL) $$, 'what does not fit is NULL');
SELECT results_eq($$ SELECT hour::text, mail, paid, "a ""b""", items, mixed, pieces, data_stream, channel, kind, note FROM orders ORDER BY position $$,
	$$ VALUES ('24:00:00+00', 'x', true, 5::bigint, '[1]'::jsonb, '4'::jsonb, 3::bigint, 's', 'web', 'sale', '1.5'::jsonb),
			  (NULL, 'é', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'gift', '"n"') $$, 'and so on');
SELECT is(count(*), 2::bigint, 'one row per event of the type') FROM orders;
SELECT is(data ->> 'day', '2024-02-30', 'data has what did not fit') FROM orders WHERE stream = 'order-2';

-- Every value that RFC 3339 has, and more.
SELECT is(count(*), 0::bigint, 'no date, time or moment fails: ' || string_agg(v, ', '))
  FROM (SELECT format('%s-%s-%s', y, m, d) AS day FROM unnest('{0000,0001,2024,9999}'::text[]) y,
			unnest('{02,12,13}'::text[]) m, unnest('{00,29,30,32}'::text[]) d) a,
	   (SELECT h || ':' || s || z AS hour FROM unnest('{00:00,23:59,24:00,12:60}'::text[]) h,
			unnest('{00,59,60,60.5,61,00.123456789,59.99999999999999999999999999999999999999999999999999999999999999999}'::text[]) s,
			unnest('{Z,z,"",+00:00,-00:00,+15:59,-15:59,+16:00,-23:59,+24:00}'::text[]) z) b,
	   LATERAL (SELECT day || t || hour FROM unnest('{T,t," ",""}'::text[]) t) c (v)
 WHERE eventsource.event_field(jsonb_build_object('x', v), 'x', NULL::timestamptz) = '-infinity'
	OR eventsource.event_field(jsonb_build_object('x', day), 'x', NULL::date) = '-infinity'
	OR eventsource.event_field(jsonb_build_object('x', hour), 'x', NULL::timetz) IS DISTINCT FROM
	   eventsource.event_field(jsonb_build_object('x', hour), 'x', NULL::timetz);
CREATE TEMP TABLE field (value jsonb, "like" text, result text);
INSERT INTO field VALUES
('1', 'bigint', '1'), ('1.0', 'bigint', '1'), ('1e3', 'bigint', '1000'), ('1.5', 'bigint', NULL), ('"1"', 'bigint', NULL),
('9223372036854775807', 'bigint', '9223372036854775807'), ('9223372036854775808', 'bigint', NULL),
('-9223372036854775808', 'bigint', '-9223372036854775808'), ('-9223372036854775809', 'bigint', NULL), ('true', 'bigint', NULL),
('1e400', 'numeric', '1' || repeat('0', 400)), ('"x"', 'numeric', NULL), ('null', 'numeric', NULL), ('false', 'boolean', 'false'),
('"false"', 'boolean', NULL), ('1', 'text', NULL), ('""', 'text', ''), ('[1]', 'text', NULL), ('null', 'text', NULL), ('null', 'jsonb', 'null'),
('{"a": 1}', 'jsonb', '{"a": 1}'), ('"2001:db8::1"', 'inet', '2001:db8::1/128'), ('"10.0.0.0/8"', 'inet', NULL), ('"fe80::1%eth0"', 'inet', NULL),
('"{123e4567-e89b-12d3-a456-426614174000}"', 'uuid', NULL), ('"now"', 'timestamptz', NULL), ('"infinity"', 'date', NULL), ('"allballs"', 'timetz', NULL);
CREATE FUNCTION pg_temp.field(value jsonb, "like" text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SELECT eventsource.event_field(jsonb_build_object(''x'', $1), ''x'', NULL::%s)::text', "like") INTO result USING value;
	RETURN result;
END
$$;
SELECT is(pg_temp.field(value, "like"), result, format('%s as %s', left(value::text, 40), "like")) FROM field;
SELECT is(eventsource.event_field('[1]', 'x', 1::bigint), NULL, 'no object');
SELECT throws_ok($$ SELECT eventsource.event_field('{}', 'x', 1) $$, '42804', 'no property becomes integer', 'no such type');

-- Made again.
SELECT is(eventsource.register_event_type('order_placed', schema => jsonb_set(schema, '{properties,aa}', '{"type": "string"}')), 2, 'a version more')
  FROM schema;
SELECT is(eventsource.create_event_view('order_placed', 'views.orders')::text, 'orders', 'made again');
SELECT is(attname, 'aa', 'the new column is the last') FROM pg_attribute WHERE attrelid = 'orders'::regclass ORDER BY attnum DESC LIMIT 1;
SELECT throws_ok($$ SELECT eventsource.create_event_view('order_placed', 'orders', version => 1) $$, '42P16', 'view views.orders cannot be made anew',
	'no column vanishes');
SELECT is(eventsource.register_event_type('order_placed', 'order', schema => '{"properties": {"aa": {"type": "integer"}}}', compatibility => 'none'), 1,
	'one of the category');
SELECT is(eventsource.create_event_view('order_placed', 'other.orders', 'order')::text, 'other.orders', 'by the registration of the category');
INSERT INTO eventsource.events (stream, type, data) VALUES ('basket-1', 'order_placed', '{"customer": "c", "total": 1, "kind": "gift"}');
SELECT results_eq('SELECT count(*), count(aa) FROM other.orders', 'VALUES (2::bigint, 0::bigint)', 'of the category alone');
SELECT is(count(*), 3::bigint, 'of all categories') FROM orders;
SELECT throws_ok($$ SELECT eventsource.create_event_view('order_placed', 'orders', 'order') $$, '42P16', 'view views.orders cannot be made anew',
	'no column changes its type');

-- Data is what an upcaster makes of it.
INSERT INTO eventsource.events (stream, type, data, schema_version) VALUES ('order-3', 'order_placed', '{"aa": 7}', 1);
SELECT is(eventsource.register_event_type('order_placed', 'order', schema => '{"properties": {"bb": {"type": "integer"}}}', compatibility => 'none'), 2,
	'the next of the category');
SELECT is(eventsource.create_upcaster('order_placed', 1, 2, $$ jsonb_strip_nulls(jsonb_build_object('bb', event.data -> 'aa')) $$, category => 'order'), 1::bigint, 'an upcaster');
SELECT is(eventsource.create_event_view('order_placed', 'other.orders_2', 'order')::text, 'other.orders_2', 'a view of the next');
SELECT is(bb, 7::bigint, 'what was stored as version 1') FROM other.orders_2 WHERE stream = 'order-3';

-- Refused.
SELECT throws_ok($$ SELECT eventsource.create_event_view('order_placd', 'x') $$, 'ZE006', 'event type "order_placd" is not registered', 'not registered');
SELECT throws_ok($$ SELECT eventsource.create_event_view('order_placed', 'x', version => 7) $$, 'ZE006', 'event type "order_placed" has no version 7', 'no version');
SELECT is(eventsource.register_event_type('bare'), 1, 'a type without a schema');
SELECT throws_ok($$ SELECT eventsource.create_event_view('bare', 'x') $$, '55000', 'version 1 of event type "bare" has no schema', 'no schema');
CREATE TABLE taken (a integer);
SELECT throws_ok($$ SELECT eventsource.create_event_view('order_placed', 'taken') $$, '42P07', 'views.taken exists, and is no view of events', 'a table');

-- Rights: the view is its maker's, and shows others what they may see anyway.
CREATE ROLE es_view_maker;
CREATE ROLE es_view_reader;
DO $$ BEGIN PERFORM eventsource.grant_reader('es_view_maker'); END $$;
GRANT ALL ON SCHEMA views TO es_view_maker;
GRANT USAGE ON SCHEMA views, eventsource TO es_view_reader;
SET ROLE es_view_maker;
SELECT is(eventsource.create_event_view('order_placed', 'mine')::text, 'mine', 'a reader makes one');
GRANT SELECT ON mine TO es_view_reader;
SELECT is(count(*), 4::bigint, 'and reads it') FROM mine;
SELECT throws_ok($$ SELECT eventsource.create_event_view('order_placed', 'other.mine') $$, '42501', NULL, 'not where he may not create');
SET ROLE es_view_reader;
SELECT throws_ok('SELECT count(*) FROM mine', '42501', NULL, 'no rights on the events, no rows');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
