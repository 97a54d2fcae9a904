\set ECHO none
\i test/helpers.sql
-- A function that an expression calls is replaced, dropped and made again.
BEGIN;
SELECT plan(11);

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
SELECT * FROM finish();
ROLLBACK;
