\set ECHO none
\set own_database catalog
\i test/own_database.sql
-- The event catalogue: as Markdown, the same each time, for whoever may read.
SELECT plan(17);
SELECT eventsource.create_state_machine('order', '{"create": {"placed": "NEW"}, "states": {"NEW": {"on": {"paid": {"target": "PAID", "guard": "(event.data ->> ''amount'')::numeric > 0"}, "cancelled": {"target": "CANCELLED", "reason": "required", "label": "given up"}}}, "PAID": {"type": "final"}, "CANCELLED": {"type": "final"}}, "on": {"noted": {}}, "reasons": {"too_late": {"category": "delivery", "label": "Came too late"}, "changed_mind": {"label": "Changed | mind"}}}') > 0 AS n \gset
SELECT eventsource.create_category('order', 'order', strict => true, subject => $$ 'customer-' || (event.data ->> 'customer') $$) AS n \gset
SELECT eventsource.register_event_type('placed', 'order', '{"type": "object", "required": ["customer", "lines"], "properties": {"customer": {"type": "string", "description": "Who _orders_ <b>"}, "when": {"type": "string", "format": "date-time"}, "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}, "channel": {"enum": ["web", "shop|x"]}}, "$defs": {"line": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}, "n": {"type": "integer", "minimum": 1, "default": 2}}}}}', description => 'An order was placed', phase => 'sale') AS n \gset
SELECT eventsource.register_event_type('paid', 'order', '{"properties": {"amount": {"type": ["number", "null"]}}}') AS n \gset
SELECT eventsource.register_event_type('cancelled', 'order') AS n \gset
SELECT eventsource.register_event_type('noted', NULL, '{"type": "object", "examples": [{"text": "call back"}], "properties": {"text": {"type": "string"}}}', description => E'A note.\n# of `anything`') AS n \gset
SELECT count(*) AS n FROM eventsource.append('order-1', 'placed', '{"customer": "c1", "lines": [{"sku": "a"}]}') \gset
SELECT eventsource.create_state_machine('ticket', '{"initial": "NEW", "states": {"NEW": {"on": {"noted": {"target": "OPEN", "guard": "event.data ? ''text''", "label": "a|b"}, "closed": "DONE"}}, "OPEN": {"on": {"closed": [{"target": "DONE", "guard": "event.data ? ''ok''"}, "NEW"]}}, "DONE": {"type": "final"}}, "on": {"noted": {}, "dropped": "DONE"}}') > 0 AS n \gset
SELECT eventsource.create_category('ticket', 'ticket') AS n \gset
CREATE TABLE cat_balance (id text PRIMARY KEY, n int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('cat_balance', '{ticket}', '{"noted": "n = row.n + 1", "closed": "DELETE"}') AS n \gset
SELECT eventsource.create_subscription('mail `all`', filter => $$ event.type <> 'x' $$) AS n \gset
CREATE FUNCTION cat_handler(e eventsource.events) RETURNS void LANGUAGE sql AS '';
SELECT eventsource.create_handler('h', '{ticket,order}', 'cat_handler(eventsource.events)') AS n \gset
SELECT eventsource.copy_category('ticket', 'ticket2') AS n \gset
SELECT count(*) AS n FROM eventsource.append('loose-1', 'seen', '{"a": 3}') \gset
SELECT count(*) AS n FROM eventsource.append('loose-1', 'seen', '{"a": 1}') \gset
SELECT count(*) AS n FROM eventsource.correct_event((SELECT position FROM eventsource.events WHERE stream = 'loose-1' AND version = 2), '{"a": 2}', 'typo', 'joe') \gset
SELECT eventsource.register_event_type('paid', 'order', '{"properties": {"amount": {"type": ["number", "null"]}, "currency": {"type": "string"}}}') AS n \gset
SELECT eventsource.create_upcaster('paid', 1, 2, $$ event.data
	|| '{"currency": "EUR"}' $$, 'order') AS n \gset
SELECT eventsource.event_catalog();
SELECT is(eventsource.event_catalog(), eventsource.event_catalog(), 'the same again');
SELECT ok(eventsource.event_catalog() LIKE '%' || replace(replace(substr(eventsource.event_catalog('order'), 20), '\', '\\'), '_', '\_') || '%', 'of one category: its part');
SELECT throws_ok($$ SELECT eventsource.event_catalog('nothing') $$, '42704', 'there is no category "nothing"', 'of one that is not there');

-- What is said cannot become Markdown.
SELECT is(eventsource.markdown(E' 1. a_b *c* [d](e) <f> `g` |h| ~i~ &amp; #j \\ $k$\n\n# l '), '1\. a\_b \*c\* \[d\](e) \<f\> \`g\` \|h\| \~i\~ \&amp; \#j \\ \$k\$ \# l', 'a text');
SELECT is(eventsource.markdown('- a'), '\- a', 'no list');
SELECT is(eventsource.markdown_code('a`b``c'), '``` a`b``c ```', 'code');
SELECT is(eventsource.markdown_code('a|b<c>&', true), '<code>a&#124;b&lt;c>&amp;</code>', 'code in a table');
SELECT is(eventsource.markdown_code('|[x](y) *z* `w` \', true), '<code>&#124;&#91;x&#93;(y) &#42;z&#42; &#96;w&#96; &#92;</code>', 'in which nothing is Markdown');
SELECT is((SELECT count(*) FROM (SELECT jsonb_object_agg('p' || i, '{"$ref": "#"}'::jsonb) AS p FROM generate_series(1, 200) i) x
			CROSS JOIN LATERAL eventsource.schema_fields(jsonb_build_object('properties', p), jsonb_build_object('properties', p))), 200::bigint, 'a schema that refers to itself in each of its fields');
SELECT is(eventsource.schema_sample(s, s), '{"n": 1}', 'and a value of it')
  FROM (SELECT '{"properties": {"n": {"type": "integer"}, "next": {"$ref": "#"}}}'::jsonb) x (s);
SELECT is(eventsource.markdown_block('json', E'{"a": "```"}\n'), E'````json\n{"a": "```"}\n````\n\n', 'a block');

-- Schemas of many kinds.
SELECT is((SELECT string_agg(concat_ws(' ', name, type, is_required, description), E'\n') FROM eventsource.schema_fields(s, s)),
'a any f what a is
b string or null (date) t
c array of integer f
d object f
d.e always `1` f
f boolean or string f
g none f
h object f
h.i object f
h.i.h object f
z one of `x`, `1`, `null` f', 'fields')
  FROM (SELECT '{"required": ["b"], "properties": {"a": {"$ref": "#/$defs/a~1b"}, "b": {"type": ["string", "null"], "format": "date"}, "c": {"type": "array", "items": {"type": "integer"}}, "d": {"type": "object", "properties": {"e": {"const": 1}}}, "f": {"anyOf": [{"type": "string"}, {"type": "boolean"}]}, "g": false, "h": {"$ref": "#/$defs/h"}}, "allOf": [{"properties": {"z": {"enum": ["x", 1, null]}}}],
	"$defs": {"a/b": {"description": "what a is"}, "h": {"type": "object", "properties": {"i": {"type": "object", "properties": {"h": {"$ref": "#/$defs/h"}}}}}}}'::jsonb) x (s);
SELECT is(eventsource.schema_sample(s, s), '{"a": "jane@example.com", "b": [7], "c": {"d": true}, "e": 3, "f": "x", "g": null, "h": "text"}', 'a sample')
  FROM (SELECT '{"properties": {"a": {"type": "string", "format": "email"}, "b": {"type": "array", "items": {"const": 7}}, "c": {"type": "object", "properties": {"d": {"type": "boolean"}}}, "e": {"type": "integer", "minimum": 3}, "f": {"enum": ["x"]}, "g": {}}, "allOf": [{"properties": {"h": {"type": "string"}}}]}'::jsonb) x (s);
SELECT is(eventsource.catalog_example('{"type": "string", "pattern": "^[0-9]+$"}', '1'), '', 'no example rather than a wrong one');
SELECT is(eventsource.catalog_example('{"required": ["a"]}', NULL), '', 'nor one that says nothing');

SELECT is(substring(eventsource.catalog_type('#', 'x', jsonb_build_array(jsonb_build_object('schema', s)), NULL, NULL, NULL) FROM '---\|\n(.*\|\n)'),
'| `b` | integer | yes | the b |
| `c` | object |  |  |
| `c.d` | any | yes |  |
| `a` | any | yes |  |
', 'fields that are only required are there, and each once')
  FROM (SELECT '{"required": ["a", "b"], "properties": {"b": {"type": "integer"}, "c": {"type": "object", "required": ["d"]}}, "allOf": [{"required": ["b"], "properties": {"b": {"description": "the b"}}}]}'::jsonb) x (s);

-- A reader may ask.
CREATE ROLE catalog_reader;
SELECT eventsource.grant_reader('catalog_reader') IS NULL AS n \gset
SELECT md5(eventsource.event_catalog()) AS catalog \gset
SET ROLE catalog_reader;
SELECT md5(eventsource.event_catalog()) = :'catalog' AS same \gset
RESET ROLE;
SELECT is(:'same'::boolean, true, 'a reader sees it');
DROP OWNED BY catalog_reader;
DROP ROLE catalog_reader;
\i test/own_database_end.sql
