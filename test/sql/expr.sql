\set ECHO none
\i test/helpers.sql
-- What an expression may say: tried as the SET list of a projection, which is never made.
BEGIN;
CREATE SCHEMA shop;
CREATE FUNCTION shop.volatile_one(n int) RETURNS int LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN n; END';
CREATE FUNCTION shop.stable_one(n int) RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN n; END';
CREATE FUNCTION shop.immutable_one(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN n; END';
CREATE FUNCTION shop.plus(a int, b int) RETURNS int LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN a + b; END';
CREATE OPERATOR shop.<+> (LEFTARG = int, RIGHTARG = int, FUNCTION = shop.plus);
CREATE FUNCTION pg_temp.here(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN n; END';
CREATE DOMAIN shop.positive AS int CHECK (value > 0);
CREATE DOMAIN shop.moody AS int CHECK (value > shop.volatile_one(0));
CREATE TYPE shop.mood AS ENUM ('sad', 'ok');
CREATE TYPE shop.pair AS (a int, b text);
CREATE TYPE shop.stamped AS (a timestamptz, b text);
CREATE TABLE shop.target (id text PRIMARY KEY, a int, b text, at timestamptz, mood shop.mood, pos shop.positive,
	pair shop.pair, list int[], doc jsonb, f float8, price money, span interval, day date,
	twice int GENERATED ALWAYS AS (a * 2) STORED);

-- NULL: accepted; else the first problem.
CREATE FUNCTION pg_temp.problem(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	detail text;
BEGIN
	PERFORM eventsource.create_projection('shop.target', '{thing}', jsonb_build_object('happened', expression));
	RAISE EXCEPTION USING ERRCODE = 'TEST1';
EXCEPTION
	WHEN SQLSTATE 'TEST1' THEN
		RETURN NULL;
	WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, detail = PG_EXCEPTION_DETAIL;
		RETURN state || ' ' || replace(detail, 'rule "happened": set: ', '');
END
$$;

CREATE TEMP TABLE accepted (n int GENERATED ALWAYS AS IDENTITY, expression text);
INSERT INTO accepted (expression) VALUES
	('a = 1'), ('a = row.a + event.version'), ('b = event.data->>''x'' || ''y'''), ('(a, b) = (1, ''x'')'), ('(a, b) = ROW(1, ''x'')'),
	('a = coalesce(row.a, 0) + 1, b = ''x'''), ('b = ''now'''), ('b = greatest(''a'', row.b)'), ('a = (row.pair).a'),
	('a = CASE WHEN row.a IS NULL THEN 0 ELSE row.a + 1 END'), ('a = (row.a = ANY (ARRAY[1, 2]))::int'),
	('a = array_length(row.list, 1)'), ('list[2] = 7'), ('list = ARRAY[1, row.a]'), ('pair.a = 5'), ('pair = ROW(1, ''x'')'),
	('doc[''x''] = ''1'', doc[''y''] = to_jsonb(row.a)'), ('doc = to_jsonb(row.pair)'), ('doc = jsonb_build_object(''at'', row.at)'),
	('a = shop.immutable_one(1)'), ('mood = ''ok'''), ('mood = (event.data->>''mood'')::shop.mood'), ('pos = (event.data->>''n'')::int'),
	('a = (jsonb_populate_record(NULL::shop.pair, event.data)).a'), ('a = 1 -- comment'), ('b = /* comment */ ''x'''),
	('at = (event.data->>''at'')::timestamptz'), ('day = (event.data->>''day'')::date'), ('at = ''2026-01-31'''), ('at = row.day'),
	('at = event.occurred_at + interval ''1 day'''), ('at = date_trunc(''month'', row.at)'), ('a = extract(year FROM event.occurred_at)'),
	('b = to_char(row.at, ''YYYY-MM'')'), ('b = to_char(row.at, ''TMMonth'')'), ('b = to_char(5, ''L999'')'),
	('at = to_timestamp(event.data->>''at'', ''YYYY'')'), ('b = age(row.at, event.occurred_at)::text'),
	('b = (row.at AT TIME ZONE ''Europe/Berlin'')::text'), ('b = row.span::text'), ('b = row.f::text'),
	('b = concat(row.a, row.at)'), ('b = concat_ws('','', row.a, row.b)'), ('b = format(''%s'', row.at)'), ('b = row.a || ''x'''),
	('b = array_to_string(row.list, '','')'), ('b = lower(row.b) COLLATE "C"'), ('b = md5(row.b)'), ('f = sqrt(row.f)'),
	('b = substring(row.b FROM 1 FOR 2)'), ('a = position(''x'' IN row.b)'), ('b = upper(event."type")'), ('a = 1 OPERATOR(pg_catalog.+) 1'),
	('DELETE'), (' a = 1 '), ('b = event.actor, at = event.recorded_at'), ('a = (event.at_all IS NULL)::int');
DELETE FROM accepted WHERE expression LIKE '%at_all%';

CREATE TEMP TABLE refused (n int GENERATED ALWAYS AS IDENTITY, expression text, problem text);
INSERT INTO refused (expression, problem) VALUES
	('at = now()', 'function now() is not allowed (at character 6 of: at = now()). It is STABLE'),
	('at = clock_timestamp()', 'function clock_timestamp() is not allowed'),
	('at = current_timestamp', 'CURRENT_TIMESTAMP is not allowed'),
	('day = current_date', 'CURRENT_DATE is not allowed'),
	('b = current_user', 'CURRENT_USER is not allowed'),
	('b = session_user', 'SESSION_USER is not allowed'),
	('b = current_setting(''x'')', 'function current_setting(text) is not allowed'),
	('f = random()', 'function random() is not allowed (at character 5 of: f = random()). It is VOLATILE'),
	('b = gen_random_uuid()::text', 'function gen_random_uuid() is not allowed'),
	('a = pg_backend_pid()', 'function pg_backend_pid() is not allowed'),
	('b = pg_read_file(''x'')', 'function pg_read_file(text) is not allowed'),
	('b = inet_client_addr()::text', 'function inet_client_addr() is not allowed'),
	('b = age(row.at)::text', 'function age(timestamp with time zone) is not allowed'),
	('a = nextval(''shop.s'')', 'relation "shop.s" does not exist'),
	('a = (SELECT 1)', 'subqueries are not allowed'),
	('a = (SELECT count(*) FROM pg_class)', 'subqueries are not allowed'),
	('a = cardinality(ARRAY(SELECT 1))', 'subqueries are not allowed'),
	('a = EXISTS (SELECT)::int', 'subqueries are not allowed'),
	('(a, b) = (SELECT 1, ''x'')', 'the right side of a list of columns must be a list of expressions'),
	('a = count(*)', 'aggregate functions are not allowed'),
	('a = sum(row.a)', 'aggregate functions are not allowed'),
	('a = row_number() OVER ()', 'window functions are not allowed'),
	('a = generate_series(1, 2)', 'set-returning function generate_series(integer,integer) is not allowed here'),
	('a = shop.volatile_one(1)', 'function shop.volatile_one(integer) is not allowed'),
	('a = shop.stable_one(1)', 'function shop.stable_one(integer) is not allowed'),
	('a = 1 OPERATOR(shop.<+>) 1', 'function shop.plus(integer,integer) is not allowed'),
	('a = 1::shop.moody', 'function shop.volatile_one(integer) is not allowed'),
	('a = immutable_one(1)', 'function immutable_one(integer) does not exist'),
	('at = ''now''', '''now'', ''today'' and their like are not allowed'),
	('at = ''now''::timestamptz', '''now'', ''today'' and their like are not allowed'),
	('at = timestamptz $x$today$x$', '''now'', ''today'' and their like are not allowed'),
	('day = date E''\x6eow''', '''now'', ''today'' and their like are not allowed'),
	('b = ''{now}''::timestamptz[]::text', '''now'', ''today'' and their like are not allowed'),
	('b = (event.data->>''x'')::timestamptz[]::text', 'a cast that reads timestamp with time zone inside another value is not allowed'),
	('b = (event.data->>''x'')::tstzrange::text', 'a cast that reads timestamp with time zone inside another value is not allowed'),
	('at = (jsonb_populate_record(NULL::shop.stamped, event.data)).a', 'a cast that reads timestamp with time zone inside another value is not allowed'),
	('b = row.price::text', 'function cash_out(money) is not allowed'),
	('doc = to_jsonb(row.price)', 'function cash_out(money) is not allowed'),
	('b = ''pg_class''::regclass::text', 'function regclassout(regclass) is not allowed'),
	('a = (''pg_class''::regclass = 1)::int', 'type oid is not allowed'),
	('b = pg_typeof(1)::text', 'function regtypeout(regtype) is not allowed'),
	('nothing = 1', 'column "nothing" does not exist. row has id, a, b, at, mood, pos, pair, list, doc, f, price, span, day, twice.'),
	('twice = 1', 'column "twice" is generated'),
	('a = event.nothing', 'event has no column "nothing"'),
	('a = row.nothing', 'row has no column "nothing"'),
	('a = event', '"event" as a whole cannot be used, only its columns'),
	('a = row', '"row" as a whole cannot be used, only its columns'),
	('b = event.data.x', 'event.data has no columns'),
	('a = a + 1', '"a" is not known here (at character 5 of: a = a + 1). Say row.a.'),
	('a = target.a', '"target.a" is not known here'),
	('a = item', 'there is no "item" here'),
	('b = state', 'there is no "state" here'),
	('a = $1', 'there is no parameter $1'),
	('a = event.data', 'the expression is of type jsonb, wanted is integer'),
	('a = 1 WHERE true', 'a SET list has no WHERE'),
	('a = 1 FROM pg_class', 'a SET list has neither FROM nor RETURNING'),
	('a = 1 RETURNING a', 'a SET list has neither FROM nor RETURNING'),
	('a = 1; DROP TABLE shop.target', 'not a single SET list'),
	('a = 1, a = 2', 'column "a" is assigned twice'),
	('doc = ''{}'', doc[''x''] = ''1''', 'column "doc" is assigned twice'),
	('(a, b) = (1, 2, 3)', 'number of columns does not match number of values'),
	('a = DEFAULT', 'DEFAULT is not allowed'),
	('a = ', 'syntax error at end of input'),
	('', 'syntax error at end of input'),
	('a 1', 'syntax error at or near "1"'),
	('a = 1/0', 'division by zero'),
	('a = ''x''', 'invalid input syntax for type integer: "x"'),
	('id = ''x''', 'column "id" belongs to the primary key');

SELECT plan((SELECT count(*)::int FROM accepted) + (SELECT count(*)::int FROM refused) + 1);
SELECT is(pg_temp.problem(expression), NULL, 'accepted: ' || expression) FROM accepted ORDER BY n;
SELECT is(left(replace(pg_temp.problem(expression), 'rule "happened": ', ''), length(problem) + 6), 'ZE011 ' || problem, 'refused: ' || expression)
FROM refused ORDER BY n;
SELECT is(left(pg_temp.problem('a = pg_temp.here(1)'), 15), 'ZE011 function ', 'a temporary function is refused');
SELECT * FROM finish();
ROLLBACK;
