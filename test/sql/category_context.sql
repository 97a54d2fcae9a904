\set ECHO none
\i test/helpers.sql
-- A category's context is a projection, whatever its table is called now.
BEGIN;
SELECT plan(15);

CREATE SCHEMA shop;
CREATE TABLE shop.orders (id text PRIMARY KEY, n int DEFAULT 0);
SELECT eventsource.create_projection('shop.orders', '{order}', '{"t": "n = row.n + 1"}') AS version \gset
SELECT eventsource.create_state_machine('counted', '{"initial": "ON", "states": {"ON": {"on": {"t": {"target": "ON", "guard": "coalesce(row.n, 0) < 3"}, "off": "OFF"}}, "OFF": {"type": "final"}}}') AS version \gset
SELECT eventsource.create_category('order', state_machine => 'counted', context => 'shop.orders') AS version \gset
SELECT is(version, 1::bigint, 'a guard that looks at the row') FROM eventsource.append('order-1', 't');

ALTER TABLE shop.orders RENAME TO "Bestellungen";
SELECT is(version, 2::bigint, 'the table has another name') FROM eventsource.append('order-1', 't');
ALTER SCHEMA shop RENAME TO laden;
SELECT is(version, 3::bigint, 'and its schema') FROM eventsource.append('order-1', 't');
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('order-1', 't') $$), 5), 'ZE005', 'the guard still sees the row');
SELECT is(context, 'shop.orders', 'the projection keeps its name') FROM eventsource.categories WHERE name = 'order';
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.drop_projection('laden."Bestellungen"') $$), 5), '2BP01', 'it is not dropped');
SELECT is(eventsource.create_state_machine('counted', '{"initial": "ON", "states": {"ON": {"on": {"t": {"target": "ON", "guard": "coalesce(row.n, 0) < 4"}, "off": "OFF"}}, "OFF": {"type": "final"}}}'),
	2::bigint, 'a machine is checked against it');
SELECT is(version, 4::bigint, 'and decides by it') FROM eventsource.append('order-1', 't');

-- Declared when the name was another already.
SELECT is(eventsource.create_category('order', state_machine => 'counted', context => 'laden."Bestellungen"'), 2::bigint, 'declared by the new name');
SELECT is(context, 'shop.orders', 'it is the same projection') FROM eventsource.categories WHERE name = 'order';
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('order-1', 't') $$), 5), 'ZE005', 'with the same row');
SELECT pg_temp.refuses($$ SELECT eventsource.drop_projection('laden."Bestellungen"') $$, '2BP01',
	'projection shop.orders is the context of category "order"', 'which is not dropped');
DROP TABLE laden."Bestellungen";
SELECT pg_temp.refuses($$ SELECT eventsource.append('order-1', 'off') $$, '42P01', 'context table shop.orders of category "order" does not exist',
	'a table that is gone is missed');

-- Who may not read the rows does not make them a context.
CREATE ROLE nosy;
SELECT eventsource.grant_admin('nosy') IS NULL AS granted \gset
CREATE TABLE secret (id text PRIMARY KEY, n int DEFAULT 0);
SELECT eventsource.create_projection('secret', '{s}', '{"t": "n = row.n + 1"}') AS version \gset
SET ROLE nosy;
SELECT pg_temp.refuses($$ SELECT eventsource.create_category('s', state_machine => 'counted', context => 'secret') $$, '42501',
	'permission denied for table secret', 'rows that one may not read');
RESET ROLE;
GRANT SELECT ON secret TO nosy;
SET ROLE nosy;
SELECT is(eventsource.create_category('s', state_machine => 'counted', context => 'secret'), 1::bigint, 'until one may');
SELECT * FROM finish();
ROLLBACK;
