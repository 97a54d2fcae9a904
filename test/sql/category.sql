\set ECHO none
\i test/helpers.sql
-- Categories: what can be declared, and what is refused.
BEGIN;
SELECT plan(48);

SELECT lives_ok($$ SELECT eventsource.create_state_machine('m', '{"initial": "A", "states": {"A": {"type": "final"}}, "on": {"x": {}}}') $$, 'a machine');

SELECT is(eventsource.create_category('c', 'm'), 1::bigint, 'a category');
SELECT is(eventsource.create_category('c', state_machine => 'm', strict => true), 2::bigint, 'declared again: a new version');
SELECT pg_temp.same_rows($$ SELECT name, version, state_machine, context, strict, subject FROM eventsource.categories WHERE name = 'c' $$,
	$$ VALUES ('c', 2, 'm', NULL, true, NULL) $$, 'the view shows how it is now');
SELECT is(type, 'category_defined', 'each is an event') FROM eventsource.events WHERE stream = '$config-category.c' AND version = 2;
SELECT throws_ok($$ SELECT eventsource.append('c-1', 'y') $$, 'ZE006', NULL, 'a strict category refuses unknown types');

-- Names.
SELECT pg_temp.refuses($$ SELECT eventsource.create_category(NULL) $$, '22004', 'name must not be null', 'no name');
SELECT pg_temp.refuses($$ SELECT eventsource.create_category('') $$, 'ZE011', 'name of a category is not valid', 'an empty name');
SELECT pg_temp.refuses($$ SELECT eventsource.create_category('a-b') $$, 'ZE011', 'name of a category is not valid', 'a hyphen');
SELECT pg_temp.refuses($$ SELECT eventsource.create_category('$x') $$, 'ZE011', 'name of a category is not valid', 'a reserved name');
SELECT pg_temp.refuses($$ SELECT eventsource.create_category(repeat('c', 257)) $$, 'ZE011', 'name of a category is not valid', 'a long name');
SELECT lives_ok($$ SELECT eventsource.create_category(repeat('c', 256), 'm') $$, 'the longest name');
SELECT is((SELECT a.state FROM eventsource.append(repeat('c', 256) || '-1', 'x') a), 'A', 'works');

-- Machines.
SELECT pg_temp.refuses($$ SELECT eventsource.create_category('d', 'nonsense') $$, '42704', 'state machine "nonsense" does not exist', 'an unknown machine');
SELECT pg_temp.refuses($$ SELECT eventsource.create_category('d', repeat('m', 10000)) $$, '42704',
	'state machine "' || repeat('m', 10000) || '" does not exist', 'a name that no machine can have');
SELECT is(eventsource.create_category('strict', strict => true), 1::bigint, 'strict without machine');

-- Contexts.
CREATE TABLE pg_temp.no_projection (id text PRIMARY KEY);
SELECT throws_ok($$ SELECT eventsource.create_category('d', 'm', context => 'pg_temp.no_projection') $$, '55000', NULL, 'a table that is no projection');
SELECT throws_ok($$ SELECT eventsource.create_category('d', 'm', context => 4294967295::oid::regclass) $$, '42P01', NULL, 'no table at all');

CREATE SCHEMA ctx;
CREATE TABLE ctx.per_stream (id text PRIMARY KEY, n int, extra int);
CREATE TABLE ctx.shared (day text PRIMARY KEY, n int);
SELECT lives_ok($$ SELECT eventsource.create_projection('ctx.per_stream', '{d}', '{"*": "n = coalesce(row.n, 0) + 1"}') $$, 'a projection of category d');
SELECT lives_ok($$ SELECT eventsource.create_projection('ctx.shared', '{d}', '{"z": "n = coalesce(row.n, 0) + 1"}',
	key => '{"day": "event.data->>''day''"}', mode => 'inline') $$, 'another, with shared rows');
SELECT is(split_part(pg_temp.refusal($$ SELECT eventsource.create_category('d', 'm', context => 'ctx.shared') $$), E'\n', 2),
	'DETAIL: Its rows do not each belong to one stream.', 'a context must be keyed by the stream');
SELECT is(split_part(pg_temp.refusal($$ SELECT eventsource.create_category('e', 'm', context => 'ctx.per_stream') $$), E'\n', 2),
	'DETAIL: It does not fold the events of this category.', 'and be a projection of the category');
SELECT lives_ok($$ SELECT eventsource.create_state_machine('looks', '{"initial": "A", "states": {"A": {"type": "final"}},
	"on": {"x": {"guard": {"few": "coalesce(row.n, 0) < 2"}}, "y": {"guard": {"odd": "1 / (row.n - 1) = 1"}}}}') $$, 'a machine that looks at it');
SELECT lives_ok($$ SELECT eventsource.create_category('d', 'looks', context => 'ctx.per_stream'), eventsource.append('d-1', 'x') $$, 'together they work');
SELECT pg_temp.same_rows($$ SELECT type, is_allowed FROM eventsource.allowed_transitions('d-1') ORDER BY type $$,
	$$ VALUES ('x', true), ('y', false) $$, 'a guard that fails is one that does not hold');
SELECT is(allowed || ' ' || sqlstate || ': ' || message, 'false 22012: division by zero', 'can_append tells how it fails') FROM eventsource.can_append('d-1', 'y');

-- The context's table changes.
SELECT lives_ok($$ ALTER TABLE ctx.per_stream DROP COLUMN extra $$, 'a column that nobody needs can go');
SELECT lives_ok($$ SELECT eventsource.append('d-1', 'x') $$, 'and all goes on');
SELECT throws_ok($$ SELECT eventsource.append('d-1', 'x') $$, 'ZE005', NULL, 'by the same rules');

-- What a declaration leaves out is taken away, with a warning that says how to keep it.
SELECT is(eventsource.create_category('d', 'looks', context => 'ctx.per_stream', strict => true, subject => $$ event.data->>'it''s' $$), 2::bigint, 'nothing is lost');
\echo # the machine, the context, strict and the subject:
SELECT is(eventsource.create_category('d'), 3::bigint, 'all is lost');
SELECT is(eventsource.create_category('d'), 4::bigint, 'nothing more to lose');
SELECT is(eventsource.create_category('d', 'looks', context => 'ctx.per_stream', subject => 'event.key'), 5::bigint, 'all is back');
\echo # the subject:
SELECT is(eventsource.create_category('d', 'm', context => 'ctx.per_stream'), 6::bigint, 'another machine, but no subject');
\echo # the context:
SELECT is(eventsource.create_category('d', 'm', strict => true), 7::bigint, 'no context');
\echo # strict:
SELECT is(eventsource.create_category('d', 'm'), 8::bigint, 'no longer strict');

-- Subjects.
SELECT is(eventsource.create_category('cart', subject => $$ 'customer-' || (event.data->>'customer') $$), 1::bigint, 'a subject');
SELECT lives_ok($$ SELECT eventsource.append('cart-1', 'added', '{"customer": 7}'), eventsource.append('cart-1', 'looked_at') $$, 'events with and without');
SELECT is(array_agg(subject ORDER BY version), '{customer-7,cart-1}', 'the stream, where the expression is NULL')
FROM eventsource.events WHERE stream = 'cart-1';
SELECT pg_temp.refuses($$ SELECT eventsource.create_category('cart', subject => 'nonsense') $$, 'ZE011', 'definition of category "cart" is not valid', 'a subject that does not compile');
SELECT pg_temp.refuses($$ SELECT eventsource.create_category('cart', subject => 'row.x') $$, 'ZE011', 'definition of category "cart" is not valid', 'a subject sees no row');
SELECT pg_temp.refuses($$ SELECT eventsource.create_category('cart', subject => 'state') $$, 'ZE011', 'definition of category "cart" is not valid', 'and no state');
SELECT is(version, 1::bigint, 'refused declarations leave the last') FROM eventsource.categories WHERE name = 'cart';

-- allowed_transitions and can_append where there is no machine.
SELECT is_empty($$ SELECT * FROM eventsource.allowed_transitions('cart-1') $$, 'no machine, no list');
SELECT is(allowed, true, 'everything is allowed') FROM eventsource.can_append('cart-1', 'whatever');
SELECT is(allowed || ' ' || sqlstate, 'false 42602', 'except what can be no stream') FROM eventsource.can_append('nohyphen', 'x');
SELECT is(allowed || ' ' || sqlstate, 'false 22004', 'or has no type') FROM eventsource.can_append('cart-1', NULL);
SELECT is(allowed || ' ' || sqlstate, 'false 42939', 'or is reserved') FROM eventsource.can_append('$config-x', 'x');

SELECT * FROM finish();
ROLLBACK;
