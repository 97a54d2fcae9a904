\set ECHO none
\i test/helpers.sql
-- A function that an expression calls is replaced, dropped and made again.
BEGIN;
SELECT plan(17);

CREATE SCHEMA shop;
CREATE FUNCTION shop.price(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION shop.label(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN ''old '' || t; END';
CREATE DOMAIN shop.small AS int CHECK (value < 100);
CREATE TABLE shop.item (id text PRIMARY KEY, price int, label text, small int);
SELECT eventsource.create_projection('shop.item', '{item}', jsonb_build_object('priced',
	$$price = shop.price((event.data->>'n')::int), label = shop.label(event.key), small = (event.data->>'n')::shop.small$$)) AS version \gset

SELECT is(version, 1::bigint, 'an event') FROM eventsource.append('item-1', 'priced', '{"n": 5}');
SELECT is((price, label)::text, '(10,"old 1")', 'folded by the functions as they are') FROM shop.item WHERE id = '1';

CREATE OR REPLACE FUNCTION shop.price(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 3';
CREATE OR REPLACE FUNCTION shop.label(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN ''new '' || t; END';
SELECT is(version, 2::bigint, 'replaced functions') FROM eventsource.append('item-1', 'priced', '{"n": 5}');
SELECT is((price, label)::text, '(15,"new 1")', 'count from the next event on, inlined or not') FROM shop.item WHERE id = '1';

ALTER DOMAIN shop.small ADD CHECK (value < 10);
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('item-1', 'priced', '{"n": 50}') $$), 5), '23514', 'a new constraint of a domain holds too');

DROP FUNCTION shop.price(int);
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('item-1', 'priced', '{"n": 5}') $$) LIKE 'ZE011: %DETAIL: %function shop.price(integer) does not exist%HINT: %', true,
	'an event that needs a dropped one is refused');
CREATE FUNCTION shop.price(n int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT n * 4';
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('item-1', 'priced', '{"n": 5}') $$) LIKE '%function shop.price(integer) is not allowed%', true,
	'and one that has become volatile');
ALTER FUNCTION shop.price(int) IMMUTABLE;
SELECT is(version, 3::bigint, 'when it is well again') FROM eventsource.append('item-1', 'priced', '{"n": 6}');
SELECT is((price, label)::text, '(24,"new 1")', 'all goes on') FROM shop.item WHERE id = '1';

-- A column that an expression reads changes its type, or goes.
ALTER TABLE shop.item ALTER label TYPE varchar(5);
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('item-100', 'priced', '{"n": 6}') $$), 5), '22001', 'a column''s new type holds');
ALTER TABLE shop.item DROP COLUMN price;
SELECT pg_temp.refuses($$ SELECT eventsource.append('item-1', 'priced', '{"n": 6}') $$, 'ZE011', 'projection shop.item cannot be compiled',
	'a rule without its column refuses events');

-- What lines cost, in an expression that has no sub-queries.
SELECT is(eventsource.sum_products('[{"n": 3, "price": 0.1}, {"n": 1, "price": 19.95}, {"n": 2, "price": 0}]', 'n', 'price'), 20.25, 'a sum of products, exact');
SELECT is(eventsource.sum_products('[{"n": 3}, {"n": 4}]', 'n'), 7::numeric, 'of one member: its sum');
SELECT is(eventsource.sum_products('[]', 'n', 'price'), 0::numeric, 'of nothing: nothing');
SELECT is(eventsource.sum_products('[{"n": 3, "price": 1}, {"n": 1}]', 'n', 'price'), NULL, 'what lacks one cannot be told');
SELECT eventsource.create_state_machine('bill', $$ {"create": {"billed": {"target": "open", "guard": {"adds_up": "eventsource.sum_products(event.data->'lines', 'n', 'price') = (event.data->>'total')::numeric"}}}, "states": {"open": {"type": "final"}}} $$),
	eventsource.create_category('bill', state_machine => 'bill') \g /dev/null
SELECT is(state, 'open', 'a guard may ask for it') FROM eventsource.append('bill-1', 'billed', '{"lines": [{"n": 2, "price": 0.05}], "total": 0.1}');
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('bill-2', 'billed', '{"lines": [{"n": 2, "price": 0.05}], "total": 0.11}') $$), 5), 'ZE005', 'to the cent');
SELECT * FROM finish();
ROLLBACK;
