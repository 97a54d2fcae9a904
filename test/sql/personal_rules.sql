\set ECHO none
\i test/helpers.sql
-- Personal fields: definitions that could not bear their erasure, or would leak them, are refused.
BEGIN;
SELECT plan(53);

-- What another role is told.
CREATE FUNCTION pg_temp.as_role(role regrole, command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %s', role);
	EXECUTE command INTO result;
	RESET ROLE;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RESET ROLE;
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
-- The lines of a refusal's DETAIL.
CREATE FUNCTION pg_temp.lines(command text) RETURNS text LANGUAGE sql AS $$
	SELECT split_part(split_part(pg_temp.refusal(command), E'\nDETAIL: ', 2), E'\nHINT: ', 1)
$$;
CREATE FUNCTION pg_temp.machine(guard text, fill jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('initial', 'NEW', 'states', jsonb_build_object('NEW', jsonb_build_object('on', jsonb_build_object('ordered', jsonb_build_object('target', 'DONE', 'guard', guard, 'fill', fill))), 'DONE', jsonb_build_object('type', 'final'))))
$$;
CREATE ROLE es_admin;
CREATE ROLE es_reader;
GRANT CREATE ON SCHEMA public TO es_admin;
SELECT eventsource.grant_admin('es_admin') \g /dev/null
SELECT eventsource.grant_reader('es_reader') \g /dev/null
SELECT eventsource.register_event_type('ordered', pii => '{"email": "hash", "address.street": "redact", "lines.*.note": "null"}') \g /dev/null

-- ---- state machines ----

SELECT is(pg_temp.lines(format('SELECT eventsource.create_state_machine(''m'', %L)', pg_temp.machine(guard))), 'states.NEW.on.ordered.guard, "ordered_guard": personal field "' || field || '" is not seen by guards', guard)
  FROM (VALUES ($$event.data->>'email' <> ''$$, 'email'),
			   ($$event.data #>> '{address,street}' IS NULL$$, 'address.street'),
			   ($$(event.data->'address')->>'street' = 'x'$$, 'address.street'),
			   ($$event.data['email'] = '"x"'$$, 'email'),
			   ($$event.data->'lines'->0->>'note' = 'x'$$, 'lines.*.note'),
			   ($$event.data ? 'email'$$, 'email'),
			   ($$jsonb_extract_path_text(event.data, 'address', 'street') = 'x'$$, 'address.street'),
			   ($$event.data->>(event.data->>'email') = 'x'$$, 'email')) g (guard, field);
SELECT lives_ok(format('SELECT eventsource.create_state_machine(''m'', %L)', pg_temp.machine(guard)), guard)
  FROM (VALUES ($$event.data->>'plan' = 'gold'$$), ($$event.data->'address'->>'city' = 'Ulm'$$), ($$event.data->'address' IS NOT NULL$$), ($$event.data ? 'plan'$$)) g (guard);
SELECT is(pg_temp.lines(format('SELECT eventsource.create_state_machine(''m'', %L)', pg_temp.machine('true', '{"email": "''x''"}'))), 'states.NEW.on.ordered.fill: "email" is, or has in it, a personal field', 'none is filled in');
SELECT is(pg_temp.lines(format('SELECT eventsource.create_state_machine(''m'', %L)', pg_temp.machine('true', '{"mail": "event.data->>''email''"}'))), 'states.NEW.on.ordered.fill, "mail": personal field "email" is not seen here', 'nor copied');
SELECT eventsource.create_state_machine('m', pg_temp.machine($$ event.data->>'age' > '17' $$)) \g /dev/null
SELECT is(pg_temp.lines($$ SELECT eventsource.register_event_type('ordered', pii => '{"age": "null"}') $$), 'pii: state machine "m", states.NEW.on.ordered.guard, "ordered_guard": personal field "age" is not seen by guards', 'nor becomes personal what a guard asks for');
SELECT is((SELECT pii -> 'age' FROM eventsource.event_types WHERE type = 'ordered'), NULL, 'nothing is changed then');
SELECT is(pg_temp.lines($$ SELECT eventsource.register_event_type('left', pii => '{"email": "hash"}', subject => 'event.data->>''email''') $$), 'subject: cannot see personal field "email"; use an identifier that stays', 'a subject is no personal field');
SELECT is(pg_temp.lines($$ SELECT eventsource.create_category('shop', subject => 'event.data->>''email''') $$), 'subject: cannot see personal field "email"; use an identifier that stays', 'nor is a category''s');
SELECT eventsource.create_category('depot', subject => 'event.data->>''worker''') \g /dev/null
SELECT is(pg_temp.lines($$ SELECT eventsource.register_event_type('arrived', category => 'depot', pii => '{"worker": "hash"}') $$), 'pii: category "depot", subject: cannot see personal field "worker"; use an identifier that stays', 'nor becomes one personal');
SELECT lives_ok($$ SELECT eventsource.register_event_type('arrived', category => 'depot', pii => '{"worker": "hash"}', subject => 'event.data->>''id''') $$, 'unless the type has its own subject');
SELECT lives_ok($$ SELECT eventsource.register_event_type('arrived', category => 'yard', pii => '{"worker": "hash"}') $$, 'or is of another category');

-- ---- projections ----

CREATE TABLE customer (id text PRIMARY KEY, email text, domain text, label text, n int DEFAULT 0, strict text NOT NULL DEFAULT '', code int, city text);
CREATE FUNCTION pg_temp.define(set text) RETURNS text LANGUAGE sql AS $$
	SELECT format('SELECT eventsource.create_projection(''customer'', ''{shop}'', %L)', jsonb_build_object('ordered', set))
$$;
SELECT is(pg_temp.lines(pg_temp.define($$ strict = event.data->>'email' $$)), 'rule "ordered": column "strict" takes no NULL, which personal field "email" is once it is erased: use coalesce()', 'a column that takes no NULL');
SELECT is(pg_temp.lines(pg_temp.define($$ strict = 'x' || lower(event.data->'address'->>'street') $$)), 'rule "ordered": column "strict" takes no NULL, which personal field "address.street" is once it is erased: use coalesce()', 'whatever is made of it');
CREATE DOMAIN needed AS text NOT NULL; CREATE DOMAIN checked AS text CHECK (value IS NOT NULL);
CREATE TABLE customer_strict (id text PRIMARY KEY, a needed DEFAULT '', b checked DEFAULT '', c text DEFAULT '' CHECK (c IS NOT NULL AND c < 'x'), d text CHECK (d <> ''), e text, CHECK (e IS NOT NULL OR id < 'x'));
SELECT is(pg_temp.lines($$ SELECT eventsource.create_projection('customer_strict', '{shop}', '{"ordered": "a = event.data->>''email'', b = event.data->>''email'', c = event.data->>''email'', d = event.data->>''email'', e = event.data->>''email''"}') $$),
	(SELECT string_agg(format('rule "ordered": column "%s" takes no NULL, which personal field "email" is once it is erased: use coalesce()', c), E'\n' ORDER BY c) FROM unnest('{a,b,c}'::text[]) c), 'nor by its domain or a CHECK of its own');
SELECT lives_ok($$ SELECT eventsource.create_projection('customer_strict', '{shop}', '{"ordered": "a = coalesce(event.data->>''email'', ''''), d = event.data->>''email'', e = event.data->>''email''"}') $$, 'others are left to the user');
SELECT eventsource.drop_projection('customer_strict') \g /dev/null
SELECT is(pg_temp.lines($$ SELECT eventsource.create_projection('customer', '{shop}', '{"ordered": "n = row.n + 1"}', key => '{"id": "event.data->>''email''"}') $$), 'rule "ordered": key "id" is made of personal field "email": once that is erased, its row cannot be found', 'a key');
SELECT is(pg_temp.as_role('es_admin', 'SELECT 1'), '1', 'roles work here');
ALTER TABLE customer OWNER TO es_admin;
SELECT is(pg_temp.as_role('es_admin', pg_temp.define($$ email = event.data->>'email' $$)), '42501: rules of projection "customer" read personal fields', 'who may not see them makes no table of them');
SELECT is(pg_temp.as_role('es_admin', pg_temp.define($$ label = event.data::text $$)), '42501: rules of projection "customer" read personal fields', 'nor of all data');
SELECT is(pg_temp.as_role('es_admin', pg_temp.define($$ city = event.data->'address'->>'city' $$)), '1', 'of the rest he may');
SELECT eventsource.grant_personal_data('es_admin') \g /dev/null
SELECT isnt(pg_temp.as_role('es_admin', pg_temp.define($$ email = event.data->>'email', domain = split_part(row.email, '@', 2), label = coalesce(event.data->>'email', '?') || row.city, city = event.data->'address'->>'city', n = row.n + 1, strict = coalesce(event.data->>'email', ''), code = length(row.domain) $$)), NULL, 'who may, makes what he likes');
SELECT pg_temp.same_rows($$ SELECT * FROM eventsource.personal_columns('customer') $$, $$ VALUES ('email', 'text'), ('domain', 'text'), ('label', 'text'), ('strict', 'text'), ('code', 'integer') $$, 'columns that are made of them, directly or not');
SELECT eventsource.append('shop-1', 'ordered', '{"email": "ann@example.com", "address": {"street": "Elm 5", "city": "Ulm"}}') \g /dev/null
SELECT eventsource.append('shop-1', 'ordered', '{"email": "ann@example.com", "address": {"street": "Elm 5", "city": "Ulm"}}') \g /dev/null
SELECT pg_temp.same_rows('SELECT * FROM customer', $$ VALUES ('1', 'ann@example.com', 'example.com', 'ann@example.comUlm', 2, 'ann@example.com', NULL::int, 'Ulm') $$, 'folds see them');
SELECT is(pg_temp.as_role('es_admin', $$ SELECT eventsource.create_masked_view('customer', 'customer_masked')::text $$), '', 'a masked view');
GRANT SELECT ON customer_masked TO es_reader;
SELECT is(pg_temp.as_role('es_reader', 'SELECT row_to_json(m) FROM customer_masked m'), '{"id":"1","email":"***","domain":"***","label":"***","n":2,"strict":"***","code":null,"city":"Ulm"}', 'shows a reader what is not personal');
SELECT is(pg_temp.as_role('es_admin', 'SELECT email FROM customer_masked m'), 'ann@example.com', 'and all to who may see it');
CREATE TABLE customer_low (id text PRIMARY KEY, email text, low text GENERATED ALWAYS AS (lower(email)) STORED, twice int GENERATED ALWAYS AS (n * 2) STORED, n int, size int);
SELECT eventsource.create_projection('customer_low', '{shop}', '{"ordered": "email = event.data->>''email'', size = length(row.low), n = 1"}') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT * FROM eventsource.personal_columns('customer_low') $$, $$ VALUES ('email', 'text'), ('low', 'text'), ('size', 'integer') $$, 'what is generated from one is, too');
SELECT eventsource.create_masked_view('customer_low', 'customer_low_masked') \g /dev/null
SELECT eventsource.append('shop-7', 'ordered', '{"email": "ann@example.com"}') \g /dev/null
GRANT SELECT ON customer_low_masked TO es_reader;
SELECT is(pg_temp.as_role('es_reader', 'SELECT row_to_json(m) FROM customer_low_masked m WHERE id = ''7'''), '{"id":"7","email":"***","low":"***","twice":2,"n":1,"size":null}', 'and is masked');
SELECT throws_ok($$ SELECT * FROM eventsource.personal_columns('pg_class') $$, '42809', NULL, 'of a projection alone');

-- ---- others ----

SELECT is(pg_temp.lines($$ SELECT eventsource.create_subscription('s', ARRAY['shop'], 'event.data->>''email'' = ''x''') $$), 'filter: cannot ask for personal field "email"', 'filters of subscriptions');
SELECT eventsource.register_event_type('ordered', version => 2, schema => '{}', compatibility => 'none') \g /dev/null
SET LOCAL client_min_messages = error;
SELECT is(pg_temp.as_role('es_reader', $$ SELECT proposed ->> 'email' FROM eventsource.compare_projection('customer', '{"ordered": "email = event.data->>''email''"}') $$), '42501: permission denied for table customer', 'rules to compare see what the caller may');
GRANT SELECT ON customer TO es_reader;
SELECT is(pg_temp.as_role('es_reader', $$ SELECT proposed ->> 'city' FROM eventsource.compare_projection('customer', '{"ordered": "city = event.data->>''email''"}') $$), '***', 'and no more');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('customer') $$, 'all is as the events say');

-- ---- contexts, and what is personal later ----

SELECT eventsource.register_event_type('opened', category => 'desk', pii => '{"email": "hash"}') \g /dev/null
CREATE TABLE desk (key text PRIMARY KEY, email text, n int NOT NULL DEFAULT 0);
CREATE FUNCTION pg_temp.desk(guard text, fill jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('initial', 'OPEN', 'create', '{"opened": "OPEN"}'::jsonb, 'states', jsonb_build_object('OPEN', jsonb_build_object('on', jsonb_build_object('shut', jsonb_build_object('target', 'DONE', 'guard', guard, 'fill', fill))), 'DONE', jsonb_build_object('type', 'final'))))
$$;
SELECT eventsource.create_projection('desk', '{desk}', '{"opened": "email = event.data->>''email''", "*": "n = row.n + 1"}'),
	eventsource.create_state_machine('desk', pg_temp.desk($$row.email = event.data->>'by'$$, '{"by": "row.email"}')) \g /dev/null
SELECT is(pg_temp.lines($$ SELECT eventsource.create_category('desk', state_machine => 'desk', context => 'desk') $$), E'states.OPEN.on.shut.guard, "shut_guard": reads a column of row that is made of personal fields\nstates.OPEN.on.shut.fill, "by": reads a column of row that is made of personal fields', 'nor do guards and fill see what a context''s columns make of them');
SELECT eventsource.create_state_machine('desk', pg_temp.desk('row.n > 0')), eventsource.create_category('desk', state_machine => 'desk', context => 'desk') \g /dev/null
SELECT matches(pg_temp.lines(format($$ SELECT eventsource.create_state_machine('desk', %L) $$, pg_temp.desk($$row.email <> ''$$))), 'category desk: .*personal', 'not in a later definition');
SELECT is(pg_temp.lines($$ SELECT eventsource.create_projection('desk', '{desk}', '{"opened": "n = length(event.data->>''email'')"}') $$), 'rule "opened": column "n" takes no NULL, which personal field "email" is once it is erased: use coalesce()', 'a context is a projection like others');
SELECT matches(pg_temp.lines($$ SELECT eventsource.create_projection('desk', '{desk}', '{"opened": "n = coalesce(length(event.data->>''email''), 0)"}') $$), 'pii: category "desk", states.OPEN.on.shut.guard, "shut_guard": reads a column', 'and what it makes of them no guard may have read before');
CREATE TABLE late (key text PRIMARY KEY, name text NOT NULL);
SELECT eventsource.create_projection('late', '{late}', '{"came": "name = event.data->>''name''"}') \g /dev/null
SELECT is(pg_temp.lines($$ SELECT eventsource.register_event_type('came', category => 'late', pii => '{"name": "null"}') $$), 'pii: projection "public.late", rule "came": column "name" takes no NULL, which personal field "name" is once it is erased: use coalesce()', 'a field that rows could not be without does not become personal');
SELECT eventsource.create_projection('late', '{late}', '{"came": "name = coalesce(event.data->>''name'', '''')"}') \g /dev/null
SELECT lives_ok($$ SELECT eventsource.register_event_type('came', category => 'late', pii => '{"name": "null"}') $$, 'until they can');

-- ---- upcasters ----

SELECT eventsource.register_event_type('born', category => 'baby', schema => '{}', pii => '{"day": "redact"}') \g /dev/null
SELECT eventsource.append('baby-1', 'born', '{"day": "1970-02-03"}') \g /dev/null
SELECT eventsource.register_event_type('born', category => 'baby', schema => '{"properties": {"year": {"type": ["integer", "null"]}}}', compatibility => 'none') \g /dev/null
CREATE FUNCTION pg_temp.upcast(expression text) RETURNS text LANGUAGE sql AS $$
	SELECT format('SELECT eventsource.create_upcaster(''born'', 1, 2, %L, category => ''baby'')', format('event.data || jsonb_build_object(''year'', %s)', expression))
$$;
SELECT matches(pg_temp.lines(pg_temp.upcast($$1 / (event.data ? 'day')::int$$)), 'without personal fields: division by zero', 'an upcaster must bear that they are gone');
SELECT matches(pg_temp.lines(pg_temp.upcast($$extract(year FROM (event.data->>'day')::date)::int$$)), 'with masked personal fields: invalid input syntax for type date: "\*\*\*"', 'and masked, as others could not read the event');
SELECT lives_ok(pg_temp.upcast($$CASE WHEN event.data->>'day' ~ '^\d' THEN left(event.data->>'day', 4)::int END$$), 'then it is good');
SELECT eventsource.append('shop-9', 'ordered', '{}') \g /dev/null
SELECT is(pg_temp.as_role('es_reader', $$ SELECT email FROM customer_masked WHERE id = '9' $$), NULL, 'where nothing is, nothing is masked');
SELECT * FROM finish();
ROLLBACK;
