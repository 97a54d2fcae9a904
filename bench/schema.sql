-- schema.sql: for the rows about schemas. Documents of two kinds, 5,000 of each, and
-- a category of each kind whose events are checked, beside one whose are not.
\set ON_ERROR_STOP on
\o /dev/null
SET client_min_messages = warning;

CREATE TABLE bench.document_schema (kind text PRIMARY KEY, schema jsonb NOT NULL);
INSERT INTO bench.document_schema VALUES
('flat', '{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"type": "object",
	"properties": {
		"order": {"type": "string", "minLength": 1, "maxLength": 64},
		"customer": {"type": "string", "maxLength": 64},
		"amount": {"type": "number", "minimum": 0},
		"currency": {"enum": ["EUR", "USD", "GBP"]},
		"items": {"type": "integer", "minimum": 1, "maximum": 1000},
		"paid": {"type": "boolean"},
		"channel": {"type": "string", "enum": ["web", "phone", "shop"]},
		"coupon": {"type": ["string", "null"]},
		"note": {"type": "string", "maxLength": 500},
		"country": {"type": "string", "pattern": "^[A-Z]{2}$"}},
	"required": ["order", "customer", "amount", "currency"],
	"additionalProperties": false}'),
('nested', '{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"$defs": {
		"line": {
			"type": "object",
			"properties": {
				"sku": {"type": "string", "minLength": 1},
				"name": {"type": "string", "maxLength": 200},
				"quantity": {"type": "integer", "minimum": 1},
				"price": {"type": "number", "minimum": 0},
				"tags": {"type": "array", "items": {"type": "string"}, "maxItems": 10}},
			"required": ["sku", "quantity", "price"],
			"additionalProperties": false}},
	"type": "object",
	"properties": {
		"order": {"type": "string"},
		"customer": {
			"type": "object",
			"properties": {
				"id": {"type": "integer"},
				"name": {"type": "string"},
				"address": {
					"type": "object",
					"properties": {
						"street": {"type": "string"},
						"zip": {"type": "string", "minLength": 4, "maxLength": 10},
						"city": {"type": "string"},
						"country": {"type": "string", "pattern": "^[A-Z]{2}$"}},
					"required": ["street", "zip", "city"],
					"additionalProperties": false}},
			"required": ["id", "name"],
			"additionalProperties": false},
		"lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/line"}},
		"total": {"type": "number"},
		"currency": {"enum": ["EUR", "USD"]}},
	"required": ["order", "customer", "lines", "total"],
	"additionalProperties": false}');

-- Neither compressed nor elsewhere: what reads them reads nothing but them.
CREATE UNLOGGED TABLE bench.document (kind text, doc jsonb);
ALTER TABLE bench.document ALTER doc SET STORAGE PLAIN;
INSERT INTO bench.document
SELECT 'flat', jsonb_build_object('order', 'o-' || n, 'customer', 'c-' || n % 1000, 'amount', (n % 10000)::numeric / 100,
		'currency', (ARRAY['EUR', 'USD', 'GBP'])[1 + n % 3], 'items', n % 7 + 1, 'paid', n % 2 = 0, 'channel', 'web',
		'coupon', NULL, 'note', 'ring twice', 'country', 'DE')
  FROM generate_series(1, 5000) n
UNION ALL
SELECT 'nested', jsonb_build_object('order', 'o-' || n, 'total', n * 1.1, 'currency', 'EUR',
		'customer', jsonb_build_object('id', n, 'name', 'Customer ' || n, 'address',
			jsonb_build_object('street', 'Elm Street ' || n, 'zip', '01234', 'city', 'Leipzig', 'country', 'DE')),
		'lines', (SELECT jsonb_agg(jsonb_build_object('sku', 'sku-' || l, 'name', 'Article number ' || l,
				'quantity', l % 4 + 1, 'price', l * 1.25, 'tags', jsonb_build_array('a', 'b', 'tag' || l)))
			FROM generate_series(1, 17) l))
  FROM generate_series(1, 5000) n;

-- 10,000 streams in each category, whose names are of one length. Those that are checked
-- take no other types.
SELECT eventsource.create_category(category, 'ring', strict => category LIKE 'checked%')
  FROM unnest(ARRAY['trustedflat', 'trustednested', 'checkedflat', 'checkednested']) category;
SELECT eventsource.register_event_type('step_done', 'checked' || kind, schema) FROM bench.document_schema;
INSERT INTO eventsource.events (stream, version, type, data)
SELECT category || '-' || n, 1, 'step_done', d.doc
  FROM (SELECT kind, min(doc::text)::jsonb AS doc FROM bench.document GROUP BY kind) d,
	   unnest(ARRAY['trusted' || d.kind, 'checked' || d.kind]) category, generate_series(10000, 19999) n;

-- CPU per append in microseconds, to the category that is not checked and to the one
-- that is: a hundred of either in turns (now one first, now the other), each in a
-- transaction of its own, so that whatever else the machine does meets both. The first
-- turn does not count.
CREATE TABLE bench.checked_cost (side text, us numeric);
CREATE PROCEDURE bench.measure_checks(kind text, turns int) LANGUAGE plpgsql AS $$
DECLARE
	prefixes text[] := ARRAY['trusted' || kind || '-', 'checked' || kind || '-'];
	used numeric[] := '{0,0}';
	side int;
	before numeric;
	doc jsonb;
BEGIN
	TRUNCATE bench.checked_cost;
	FOR turn IN 0 .. turns LOOP
		FOR which IN 0 .. 1 LOOP
			side := 1 + (turn + which) % 2;
			SELECT d.doc INTO doc FROM bench.document d WHERE d.kind = measure_checks.kind OFFSET turn % 5000 LIMIT 1;
			before := bench.cpu_used();
			FOR n IN 1 .. 100 LOOP
				PERFORM eventsource.append(prefixes[side] || 10000 + turn * 100 % 10000 + n, 'step_done', doc);
				COMMIT;
			END LOOP;
			IF turn > 0 THEN
				used[side] := used[side] + bench.cpu_used() - before;
			END IF;
		END LOOP;
	END LOOP;
	INSERT INTO bench.checked_cost VALUES
		('plain', used[1] * 1e6 / turns / 100), ('eventsource', used[2] * 1e6 / turns / 100);
END
$$;
