\set ECHO none
\i test/helpers.sql
-- No superuser runs the code of others: what is bob's runs as bob whenever it was written,
-- and whatever it hangs on: a constraint, a cast, a domain, or the name of a role.
BEGIN;
SELECT plan(27);

CREATE ROLE bob;
CREATE ROLE carl;
SELECT count(eventsource.grant_admin(r)) AS granted FROM unnest('{bob,carl}'::regrole[]) r \gset
CREATE SCHEMA bob AUTHORIZATION bob;
CREATE SCHEMA carl AUTHORIZATION carl;

SET ROLE bob;
-- Tells as whom it runs, once he lets it.
CREATE TABLE bob.armed ();
CREATE FUNCTION bob.tell(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	IF to_regclass('bob.armed') IS NULL THEN RAISE 'ran as %', current_user; END IF;
	RETURN true;
END
$$;
CREATE FUNCTION bob.whoami() RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE 'ran as %', current_user; END $$;
CREATE TYPE bob.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN bob.number AS int;
CREATE TYPE bob.comp AS (a bob.number);
CREATE DOMAIN bob.key AS text;

-- PostgreSQL's own functions in what belongs to a table.
CREATE TABLE bob.queried (id text PRIMARY KEY, n int, CHECK (query_to_xml('select bob.whoami()', false, false, '') IS NOT NULL));
CREATE TABLE bob.setting (id text PRIMARY KEY, n int, CHECK (set_config('work_mem', '77MB', false) IS NOT NULL));
CREATE TABLE bob.today (id text PRIMARY KEY, n int, CHECK (CURRENT_DATE > '2000-01-01'));
CREATE TABLE bob.later (id text PRIMARY KEY, n int CHECK (n > 0), d date CHECK (d > '2000-01-01'::date), twice int GENERATED ALWAYS AS (n * 2) STORED);
SELECT is(pg_temp.refusal($$ SELECT eventsource.create_projection('bob.queried', '{a}', '{"x": "n = 1"}') $$) LIKE
	'ZE011: invalid projection of table "queried"%constraint "queried_check" is not deterministic: function query_to_xml(%', true, 'a CHECK that runs queries');
SELECT is(pg_temp.refusal($$ SELECT eventsource.create_projection('bob.setting', '{a}', '{"x": "n = 1"}') $$) LIKE
	'ZE011: invalid projection of table "setting"%function set_config(%', true, 'a CHECK that sets');
SELECT is(pg_temp.refusal($$ SELECT eventsource.create_projection('bob.today', '{a}', '{"x": "n = 1"}') $$) LIKE
	'ZE011: invalid projection of table "today"%CURRENT_DATE%', true, 'a CHECK of the clock');
SELECT is(eventsource.create_projection('bob.later', '{later}', '{"x": "n = 1"}'), 1::bigint, 'an ordinary one is a projection''s right');
RESET ROLE;
SELECT is(version, 1::bigint, 'and holds when a superuser appends') FROM eventsource.append('later-1', 'x');
SET ROLE bob;
ALTER TABLE bob.later ADD CHECK (query_to_xml('select bob.whoami()', false, false, '') IS NOT NULL) NOT VALID;
RESET ROLE;
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('later-1', 'x') $$) LIKE 'ZE011: %function query_to_xml(%', true, 'one that comes later is not run');
SET ROLE bob;
ALTER TABLE bob.later DROP CONSTRAINT later_check;
RESET ROLE;
SELECT is(version, 2::bigint, 'until it has gone') FROM eventsource.append('later-1', 'x');

-- Casts to json that come later.
SET ROLE bob;
CREATE TABLE bob.felt (id text PRIMARY KEY, m bob.mood, j jsonb);
SELECT eventsource.create_projection('bob.felt', '{felt}', '{"set": "m = ''ok''", "show": "j = to_jsonb(row.m)",
	"row": "j = to_jsonb(row(1, row.m))", "build": "j = jsonb_build_object(''m'', row.m)", "list": "j = to_jsonb(array[row.m])"}') AS version \gset
RESET ROLE;
SELECT count(eventsource.append('felt-1', t)) AS n FROM unnest('{set,show,row,build,list}'::text[]) t \gset
SELECT is(j, '["ok"]', 'as there is no cast, json has the label') FROM bob.felt;
SET ROLE bob;
CREATE FUNCTION bob.mood_json(bob.mood) RETURNS json IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE 'ran as %', current_user; END $$;
CREATE CAST (bob.mood AS json) WITH FUNCTION bob.mood_json(bob.mood);
RESET ROLE;
SELECT is(left(pg_temp.refusal(format($$ SELECT eventsource.append('felt-1', %L) $$, t)), 17), 'P0001: ran as bob', 'a cast that came later: ' || t)
FROM unnest('{show,row,build,list}'::text[]) t;

-- Constraints of domains that come later.
SET ROLE bob;
CREATE TABLE bob.read (id text PRIMARY KEY, t text);
SELECT eventsource.create_projection('bob.read', '{read}', '{"comp": "t = ((event.data->>''c'')::bob.comp).a::text",
	"list": "t = (event.data->>''c'')::bob.number[]::text",
	"json": "t = (jsonb_populate_record(NULL::bob.comp, event.data)).a::text"}') AS version \gset
RESET ROLE;
SELECT is(version, 1::bigint, 'there is no constraint') FROM eventsource.append('read-1', 'comp', '{"c": "(1)"}');
SELECT is(version, 2::bigint, 'nor in an array') FROM eventsource.append('read-1', 'list', '{"c": "{1}"}');
SELECT is(version, 3::bigint, 'nor in a record') FROM eventsource.append('read-1', 'json', '{"a": 1}');
SET ROLE bob;
ALTER DOMAIN bob.number ADD CHECK (bob.tell(VALUE::text)) NOT VALID;
DROP TABLE bob.armed;
RESET ROLE;
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('read-1', 'comp', '{"c": "(1)"}') $$), 17), 'P0001: ran as bob', 'one within a composite type');
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('read-1', 'list', '{"c": "{1}"}') $$), 17), 'P0001: ran as bob', 'in an array');
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('read-1', 'json', '{"a": 1}') $$), 17), 'P0001: ran as bob', 'in a record from json');

-- A key that is given to rebuild_projection.
SET ROLE bob;
CREATE TABLE bob.keyed (id bob.key PRIMARY KEY, n int);
SELECT eventsource.create_projection('bob.keyed', '{keyed}', '{"x": "n = 1"}') AS version \gset
ALTER DOMAIN bob.key ADD CHECK (bob.tell(VALUE)) NOT VALID;
RESET ROLE;
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.rebuild_projection('bob.keyed', '{"id": "1"}') $$), 17), 'P0001: ran as bob', 'a key is read as the owner');

-- Indexes that call code of a type.
SET ROLE bob;
CREATE FUNCTION bob.apart(int, int) RETURNS float8 IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	IF current_user <> 'bob' THEN RAISE 'ran as %', current_user; END IF;
	RETURN $1 - $2;
END
$$;
CREATE TYPE bob.span AS RANGE (subtype = int, subtype_diff = bob.apart);
CREATE TABLE bob.spans (id text PRIMARY KEY, s bob.span);
CREATE INDEX ON bob.spans USING gist (s);
SELECT eventsource.create_projection('bob.spans', '{span}', '{"x": "s = (event.data->>''s'')::bob.span"}') AS version \gset
RESET ROLE;
SELECT is(count(eventsource.append('span-' || n, 'x', jsonb_build_object('s', format('[%s,%s)', n, 2 * n + 1)))), 1000::bigint, 'an index on a type of his')
FROM generate_series(1, 1000) n;

-- Planning computes what is constant.
SET ROLE bob;
CREATE FUNCTION bob.mine(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	IF current_user <> 'bob' THEN RAISE 'ran as %', current_user; END IF;
	RETURN true;
END
$$;
CREATE DOMAIN bob.constant AS text;
CREATE TABLE bob.planned (id text PRIMARY KEY, n int, c bob.constant);
CREATE INDEX planned_index ON bob.planned (bob.mine('x'));
SELECT eventsource.create_projection('bob.planned', '{planned}', '{"x": "n = row.n + 1"}') AS version \gset
ALTER INDEX bob.planned_index SET (fillfactor = 90);
ALTER TABLE bob.planned ADD COLUMN extra int;
RESET ROLE;
SELECT is(version, 1::bigint, 'an index is looked at as its owner') FROM eventsource.append('planned-1', 'x');
SET ROLE bob;
ALTER INDEX bob.planned_index SET (fillfactor = 80);
ALTER DOMAIN bob.constant ADD CHECK (bob.mine('x')) NOT VALID;
ALTER TABLE bob.planned ADD COLUMN more int;
RESET ROLE;
SELECT is(version, 2::bigint, 'a domain, too') FROM eventsource.append('planned-1', 'x');
SET ROLE bob;
ALTER INDEX bob.planned_index SET (fillfactor = 70);
ALTER DOMAIN bob.constant ADD CONSTRAINT another CHECK (bob.mine('y')) NOT VALID;
RESET ROLE;
SELECT is(eventsource.create_projection('bob.planned', '{planned}', '{"x": "n = row.n + 2"}'), 2::bigint, 'whoever defines');

-- A role under another name is the same role; another role of its name is not.
SET ROLE carl;
CREATE FUNCTION carl.who() RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN current_user; END $$;
CREATE TABLE carl.seen (id text PRIMARY KEY, who text);
SELECT eventsource.create_projection('carl.seen', '{seen}', '{"x": "who = carl.who()"}') AS version \gset
RESET ROLE;
ALTER ROLE carl RENAME TO carl_old;
CREATE ROLE carl SUPERUSER;
ALTER TABLE carl.seen ADD COLUMN extra int;
SELECT is(version, 1::bigint, 'a role is renamed, and another takes its name') FROM eventsource.append('seen-1', 'x');
SELECT is(who, 'carl_old', 'rights stay with the role') FROM carl.seen;
CREATE ROLE heir;
ALTER SCHEMA carl OWNER TO heir;
REASSIGN OWNED BY carl_old TO heir;
DROP OWNED BY carl_old;
DROP ROLE carl_old;
ALTER TABLE carl.seen ADD COLUMN more int;
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('seen-1', 'x') $$) LIKE '%the role that defined this expression no longer exists%', true,
	'and end with it');

-- What ends with a session has no place in a definition.
CREATE TYPE pg_temp.passing AS ENUM ('a');
CREATE TABLE bob.passing (id text PRIMARY KEY, t text);
SELECT is(pg_temp.refusal($$ SELECT eventsource.create_projection('bob.passing', '{p}', '{"x": "t = (event.data->>''t'')::pg_temp.passing::text"}') $$) LIKE
	'ZE011: %type passing is temporary%', true, 'a temporary type');
SELECT * FROM finish();
ROLLBACK;
