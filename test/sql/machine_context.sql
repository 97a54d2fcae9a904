\set ECHO none
\i test/helpers.sql
-- Guards and fill values that look at the stream's own row.
BEGIN;
SELECT plan(44);

CREATE SCHEMA shop;
CREATE TABLE shop.orders (
	id text PRIMARY KEY,
	total numeric NOT NULL DEFAULT 0,
	refunded numeric NOT NULL DEFAULT 0,
	items int NOT NULL DEFAULT 0,
	clerk text
);
SELECT lives_ok($$ SELECT eventsource.create_projection('shop.orders', '{order}', jsonb_build_object(
	'item_added', 'total = row.total + (event.data->>''price'')::numeric, items = row.items + 1',
	'refunded', 'refunded = row.refunded + (event.data->>''amount'')::numeric',
	'taken_over', 'clerk = event.data->>''clerk''')) $$, 'a projection keyed by the stream');
SELECT lives_ok($$ SELECT eventsource.create_state_machine('order', '{
	"initial": "CART",
	"states": {
		"CART": {"on": {
			"item_added": {"target": "CART", "guard": {"room_left": "coalesce(row.items, 0) < 3"}},
			"paid": [
				{"target": "REVIEW", "guard": {"is_large": "row.total > 1000"}, "fill": {"total": "row.total", "items": "row.items"}},
				{"target": "PAID", "guard": {"has_items": "row.items > 0"}, "fill": {"total": "row.total"}}]}},
		"REVIEW": {"on": {"approved": "PAID"}},
		"PAID": {"on": {
			"refunded": {"target": "PAID", "guard": [
				"(event.data->>''amount'')::numeric > 0",
				{"not_above_total": "row.refunded + (event.data->>''amount'')::numeric <= row.total"}]},
			"closed": {"target": "DONE", "fill": {"left": "row.total - row.refunded", "by": "event.actor", "was": "state", "none": "NULL"}}}},
		"DONE": {"type": "final"}},
	"on": {"taken_over": {"fill": {"from": "row.clerk"}}}}') $$, 'a machine that looks at it');
SELECT is(eventsource.create_category('order', 'order', 'shop.orders'), 1::bigint, 'a category that brings them together');
SELECT is(context, 'shop.orders', 'the view names the context') FROM eventsource.categories WHERE name = 'order';

CREATE FUNCTION pg_temp.state_after(stream text, type text, data jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT a.state FROM eventsource.append($1, $2, $3) a $$;
-- SQLSTATE and constraint of a refusal.
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	name text;
BEGIN
	EXECUTE statement;
	RETURN 'allowed';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME;
	RETURN SQLSTATE || ' ' || name;
END
$$;

-- No row yet: every column of it is NULL.
SELECT is(pg_temp.refused($$ SELECT eventsource.append('order-1', 'paid') $$), 'ZE005 has_items', 'a guard over a row that is not there');
SELECT is(pg_temp.state_after('order-1', 'taken_over', '{"clerk": "ann"}'), 'CART', 'a fill value over a row that is not there');
SELECT is(data, '{"clerk": "ann", "from": null}', 'is a JSON null') FROM eventsource.events WHERE stream = 'order-1' AND version = 1;
SELECT is(pg_temp.state_after('order-1', 'taken_over', '{"clerk": "bob"}'), 'CART', 'and over one that is');
SELECT is(data, '{"clerk": "bob", "from": "ann"}', 'what it was before') FROM eventsource.events WHERE stream = 'order-1' AND version = 2;
SELECT pg_temp.refuses($$ SELECT eventsource.append('order-1', 'taken_over', '{"clerk": "eve", "from": "ann"}') $$,
	'ZE007', 'field "from" of event type "taken_over" is filled in by the database', 'no caller may claim it');
SELECT pg_temp.refuses($$ SELECT eventsource.append('order-1', 'taken_over', '{"clerk": "eve", "from": null}') $$,
	'ZE007', 'field "from" of event type "taken_over" is filled in by the database', 'not even as null');
SELECT pg_temp.refuses($$ SELECT eventsource.append('order-1', 'taken_over', '["eve"]') $$,
	'ZE007', 'data of event type "taken_over" must be a JSON object', 'into an array nothing can be filled');

-- Counting.
SELECT is(pg_temp.state_after('order-1', 'item_added', '{"price": 10.50}'), 'CART', 'one');
SELECT is(pg_temp.state_after('order-1', 'item_added', '{"price": 10.50}'), 'CART', 'two');
SELECT is(pg_temp.state_after('order-1', 'item_added', '{"price": 10.50}'), 'CART', 'three');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('order-1', 'item_added', '{"price": 1}') $$), 'ZE005 room_left', 'four are too many');
SELECT is(pg_temp.refused($$ SELECT eventsource.append_events((SELECT jsonb_agg('{"stream": "order-2", "type": "item_added", "data": {"price": 1}}'::jsonb) FROM generate_series(1, 4))) $$),
	'ZE005 room_left', 'also within one batch: each event sees what the one before it did');
SELECT is(pg_temp.refused($$ INSERT INTO eventsource.events (stream, type, data) SELECT 'order-2', 'item_added', '{"price": 1}' FROM generate_series(1, 4) $$),
	'ZE005 room_left', 'and within one INSERT');
SELECT is_empty($$ SELECT * FROM shop.orders WHERE id = '2' $$, 'of which nothing stays');

-- Candidates.
SELECT is(pg_temp.state_after('order-1', 'paid'), 'PAID', 'the second candidate');
SELECT is(data, '{"total": 31.50}', 'with its own fill') FROM eventsource.events WHERE stream = 'order-1' ORDER BY version DESC LIMIT 1;
SELECT is(pg_temp.state_after('order-3', 'item_added', '{"price": 2000}'), 'CART', 'a large order');
SELECT is(pg_temp.state_after('order-3', 'paid'), 'REVIEW', 'the first candidate');
SELECT is(data, '{"items": 1, "total": 2000}', 'with its fill') FROM eventsource.events WHERE stream = 'order-3' ORDER BY version DESC LIMIT 1;

-- Several guards, named and not.
SELECT is(pg_temp.refused($$ SELECT eventsource.append('order-1', 'refunded', '{"amount": -1}') $$), 'ZE005 refunded_guard', 'an unnamed guard is named after the type');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('order-1', 'refunded', '{"amount": 31.51}') $$), 'ZE005 not_above_total', 'a named one by its name');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('order-1', 'refunded') $$), 'ZE005 refunded_guard', 'NULL is not true');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('order-1', 'refunded', '{"amount": "x"}') $$), '22P02 ', 'an expression may fail in its own way');
SELECT is(pg_temp.state_after('order-1', 'refunded', '{"amount": 31.50}'), 'PAID', 'all of it');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('order-1', 'refunded', '{"amount": 0.01}') $$), 'ZE005 not_above_total', 'and no more');
SELECT is(eventsource.current_state('order-1'), 'PAID', 'what was refused left no trace');

-- Fill values of all kinds.
SELECT is((SELECT a.state FROM eventsource.append('order-1', 'closed', '{"x": [1, {"y": 2}]}', actor => 'ann') a), 'DONE', 'the end');
SELECT is(data, '{"x": [1, {"y": 2}], "by": "ann", "was": "PAID", "left": 0.00, "none": null}', 'joins what the caller gave')
FROM eventsource.events WHERE stream = 'order-1' ORDER BY version DESC LIMIT 1;

-- Asking beforehand.
SELECT lives_ok($$ SELECT eventsource.append('order-4', 'item_added', '{"price": 5}') $$, 'a cart');
SELECT pg_temp.same_rows($$ SELECT type, target, reason, reasons, guard, is_allowed FROM eventsource.allowed_transitions('order-4') ORDER BY type, target $$,
	$$ VALUES ('item_added', 'CART', 'optional', NULL, 'coalesce(row.items, 0) < 3', true),
		('paid', 'PAID', 'optional', NULL, 'row.items > 0', true),
		('paid', 'REVIEW', 'optional', NULL, 'row.total > 1000', false),
		('taken_over', 'CART', 'optional', NULL, NULL, true) $$, 'allowed_transitions evaluates guards');
SELECT pg_temp.same_rows($$ SELECT type, target, guard, is_allowed FROM eventsource.allowed_transitions('order-3') ORDER BY type $$,
	$$ VALUES ('approved', 'PAID', NULL, true), ('taken_over', 'REVIEW', NULL, true) $$, 'in another state');
SELECT lives_ok($$ SELECT eventsource.append('order-4', 'paid') $$, 'paid');
SELECT is(is_allowed, NULL, 'a guard on what the event will say cannot be judged yet') FROM eventsource.allowed_transitions('order-4') WHERE type = 'refunded';
SELECT is(guard, '((event.data->>''amount'')::numeric > 0) AND (row.refunded + (event.data->>''amount'')::numeric <= row.total)',
	'but is shown') FROM eventsource.allowed_transitions('order-4') WHERE type = 'refunded';
SELECT is(allowed || ' ' || state, 'true PAID', 'can_append judges it, with the data') FROM eventsource.can_append('order-4', 'refunded', '{"amount": 5}');
SELECT is(allowed || ' ' || sqlstate || ': ' || message, 'false ZE005: event type "refunded" is rejected by guard "not_above_total" in state "PAID"',
	'and says why not') FROM eventsource.can_append('order-4', 'refunded', '{"amount": 6}');
SELECT is(eventsource.stream_version('order-4'), 2::bigint, 'without writing');

-- A replay finds the same.
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions() $$, 'history is legal');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('shop.orders') $$, 'and the rows are what it makes of them');

SELECT * FROM finish();
ROLLBACK;
