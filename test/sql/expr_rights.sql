\set ECHO none
\i test/helpers.sql
-- Whose rights an expression has: those of who defined it, whoever appends; what belongs to
-- the table has those of the table's owner. No caller changes what a name means.
BEGIN;
SELECT plan(30);

CREATE ROLE expr_definer;
CREATE ROLE expr_appender;
CREATE ROLE expr_guest IN ROLE expr_definer;
SELECT eventsource.grant_admin('expr_definer') IS NULL AS granted,
	eventsource.grant_writer('expr_appender') IS NULL AS granted \gset
CREATE SCHEMA definer AUTHORIZATION expr_definer;
CREATE SCHEMA appender AUTHORIZATION expr_appender;
GRANT USAGE ON SCHEMA definer TO expr_appender;

SET ROLE expr_definer;
-- They lie about being immutable, to tell who runs them and with which search_path.
CREATE FUNCTION definer.who() RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN current_user; END $$;
CREATE FUNCTION definer.path() RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN current_setting('search_path'); END $$;
CREATE FUNCTION definer.loud(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN upper(t); END $$;
CREATE FUNCTION definer.attack(what text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	CASE what
		WHEN 'role' THEN PERFORM set_config('role', session_user, false);
		WHEN 'insert' THEN INSERT INTO definer.loot VALUES (1);
		WHEN 'append' THEN PERFORM eventsource.append('rights-again', 'seen');
		ELSE RETURN what;
	END CASE;
	RETURN 'done';
END
$$;
CREATE FUNCTION definer.check_who(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	RETURN current_user = 'expr_definer' AND current_setting('search_path') = 'pg_catalog, pg_temp';
END
$$;
CREATE FUNCTION definer.index_who(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	IF current_user <> 'expr_definer' OR current_setting('search_path') <> 'pg_catalog, pg_temp' THEN
		RAISE 'index of %', current_user;
	END IF;
	RETURN t;
END
$$;
CREATE TABLE definer.loot (n int);
CREATE TABLE definer.seen (id text PRIMARY KEY, who text, path text, loud text, attack text,
	made text GENERATED ALWAYS AS (definer.who()) STORED, CONSTRAINT checked CHECK (definer.check_who(who)));
CREATE INDEX ON definer.seen (definer.index_who(who));
SET LOCAL search_path = definer, public;
SELECT eventsource.create_projection('definer.seen', '{rights}', jsonb_build_object('seen', $$
	who = definer.who(), path = definer.path(), loud = definer.loud(event.data->>'text'),
	attack = definer.attack(coalesce(event.data->>'attack', ''))$$)) AS version \gset
RESET search_path;

SELECT is(eventsource.stream_version('rights-0'), 0::bigint, 'nothing happened yet');
RESET ROLE;
SELECT is(version, 1::bigint, 'a superuser appends') FROM eventsource.append('rights-1', 'seen', '{"text": "hey"}');
SELECT is(who, 'expr_definer', 'a function sees the definer as its user') FROM definer.seen WHERE id = '1';
SELECT is(path, 'pg_catalog, pg_temp', 'and search_path without any schema of users') FROM definer.seen WHERE id = '1';
SELECT is(made, 'expr_definer', 'a generated column is computed by the owner of the table') FROM definer.seen WHERE id = '1';
SELECT is(current_user::text || current_setting('search_path'), session_user || '"$user", public', 'the caller is who he was');

SET ROLE expr_appender;
CREATE FUNCTION appender.upper(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 'forged by ' || current_user; END $$;
CREATE FUNCTION pg_temp.upper(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 'forged by ' || current_user; END $$;
SET LOCAL search_path = appender, pg_catalog;
SELECT upper('x') AS upper \gset caller_
SELECT version FROM eventsource.append('rights-1', 'seen', '{"text": "hey"}') \gset caller_
RESET search_path;
RESET ROLE;
SELECT is(:'caller_upper'::text, 'forged by expr_appender', 'a caller''s own upper()');
SELECT is(:caller_version, 2, 'is no hindrance');
SELECT is(loud, 'HEY', 'nor does a definer''s function fall for it') FROM definer.seen WHERE id = '1';

-- What a function must not do, even for a superuser.
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('rights-2', 'seen', '{"attack": "role"}') $$) LIKE
	'42501: cannot set parameter "role" within security-restricted operation%', true, 'take on another role');
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('rights-2', 'seen', '{"attack": "insert"}') $$) LIKE
	'0A000: INSERT is not allowed in a non-volatile function%', true, 'write');
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('rights-2', 'seen', '{"attack": "append"}') $$) LIKE '%not allowed%'
	OR pg_temp.refusal($$ SELECT eventsource.append('rights-2', 'seen', '{"attack": "append"}') $$) LIKE '%while another event is being decided%', true, 'append');
SELECT is(eventsource.stream_version('rights-2'), 0::bigint, 'nothing of it stays');
SELECT is(version, 3::bigint, 'and the expressions work again') FROM eventsource.append('rights-1', 'seen', '{"text": "hey"}');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('definer.seen') $$, 'a superuser''s replay sees what was folded');

-- A type's own cast to json belongs to the table, too: verification shows rows as its owner.
SET ROLE expr_definer;
CREATE TYPE definer.mood AS ENUM ('sad', 'ok');
CREATE FUNCTION definer.mood_json(definer.mood) RETURNS json IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN to_json(current_user); END $$;
CREATE CAST (definer.mood AS json) WITH FUNCTION definer.mood_json(definer.mood);
CREATE TABLE definer.felt (id text PRIMARY KEY, mood definer.mood);
SELECT eventsource.create_projection('definer.felt', '{rights}', '{"felt": "mood = ''ok''"}') AS version \gset
RESET ROLE;
SELECT count(eventsource.append('rights-1', 'felt')) AS n \gset
ALTER TABLE definer.felt DISABLE TRIGGER ALL;
UPDATE definer.felt SET mood = 'sad';
SELECT is(found->>'mood', 'expr_definer', 'verify_projection prints a row with the rights of the table''s owner')
FROM eventsource.verify_projection('definer.felt');

-- Rights are the definer's even where the caller has more.
CREATE SCHEMA vault;
CREATE FUNCTION vault.code(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 'code ' || t; END $$;
CREATE TABLE definer.coded (id text PRIMARY KEY, code text);
ALTER TABLE definer.coded OWNER TO expr_definer;
SET ROLE expr_definer;
SELECT is(pg_temp.refusal($$ SELECT eventsource.create_projection('definer.coded', '{code}', '{"seen": "code = vault.code(event.type)"}') $$) LIKE
	'ZE011:%permission denied for schema vault%', true, 'a definer needs the right to look into the schema');
RESET ROLE;
GRANT USAGE ON SCHEMA vault TO expr_definer;
SET ROLE expr_guest;
SELECT eventsource.create_projection('definer.coded', '{code}', '{"seen": "code = vault.code(event.type)", "plain": "code = event.type"}') AS version \gset
RESET ROLE;
SELECT is(version, 1::bigint, 'a function that all may execute') FROM eventsource.append('code-1', 'seen');
REVOKE EXECUTE ON FUNCTION vault.code(text) FROM PUBLIC;
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('code-1', 'seen') $$) LIKE '42501: permission denied for function code%', true,
	'and one that the definer may execute no more, though the caller may');
GRANT EXECUTE ON FUNCTION vault.code(text) TO expr_guest;
SELECT is(version, 2::bigint, 'until he may again') FROM eventsource.append('code-1', 'seen');

-- Nor more than the owner of the table where his types bring code of his, if the definer has the owner's rights.
SET ROLE expr_appender;
CREATE FUNCTION appender.mine(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN current_user = 'expr_appender'; END $$;
CREATE DOMAIN appender.word AS text CHECK (appender.mine(VALUE));
CREATE TYPE appender.mood AS ENUM ('theirs', 'mine');
CREATE FUNCTION appender.mood(text) RETURNS appender.mood IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN RETURN (ARRAY['theirs', 'mine'])[1 + appender.mine('x')::int]; END $$;
CREATE FUNCTION appender.text(appender.mood) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN RETURN (ARRAY['theirs', 'mine'])[1 + appender.mine('x')::int]; END $$;
CREATE TABLE appender.said (id appender.word PRIMARY KEY, word appender.word, mood appender.mood);
CREATE CAST (text AS appender.mood) WITH FUNCTION appender.mood(text) AS ASSIGNMENT;
CREATE CAST (appender.mood AS text) WITH FUNCTION appender.text(appender.mood) AS IMPLICIT;
RESET ROLE;
SELECT eventsource.create_projection('appender.said', '{said}', '{"seen": "word = event.type, mood = ''mine''"}') AS version,
	eventsource.create_state_machine('said', '{"initial": "A", "states": {"A": {"type": "final"}}, "on": {"seen": {"fill": {"mood": "row.mood::text || ''!''"}}}}') AS machine,
	eventsource.create_category('said', 'said', context => 'appender.said') AS category \gset
SELECT lives_ok($$ SELECT eventsource.append('said-1', 'seen') FROM generate_series(1, 2) $$, 'domains of a table''s owner are checked with his rights, also in a key');
SELECT is(data->>'mood', 'mine!', 'and his casts called, in a fill') FROM eventsource.read_stream('said-1') WHERE version = 2;
SELECT is(array_agg(DISTINCT proposed->>'word'), '{mine}', 'also in what is only proposed')
FROM eventsource.compare_projection('appender.said', '{"seen": "word = row.mood::text, mood = ''theirs''"}', key => '{"id": "event.type"}') WHERE proposed->>'word' IS NOT NULL;
SELECT is_empty($$ SELECT * FROM eventsource.compare_machine('said', '{"initial": "A", "states": {"A": {"type": "final"}},
	"on": {"seen": {"guard": "row.mood::text = ''mine'' OR row.mood IS NULL"}}}') $$, 'by compare_machine, too');
SET ROLE expr_definer;
SELECT matches(pg_temp.refusal($$ SELECT * FROM eventsource.compare_machine('said', '{"initial": "A", "states": {"A": {"type": "final"}}, "on": {}}') $$),
	'^42501: permission denied', 'who may not read the table learns nothing');
RESET ROLE;

-- As long as he has them.
GRANT USAGE ON SCHEMA definer TO expr_guest;
SET ROLE expr_definer;
CREATE TABLE definer.told (id text PRIMARY KEY, mood definer.mood, who text);
SET ROLE expr_guest;
SELECT eventsource.create_projection('definer.told', '{told}', '{"seen": "who = definer.who()"}') AS version \gset
RESET ROLE;
SELECT count(eventsource.append('told-1', 'seen')) AS n \gset
SELECT is(who, 'expr_definer', 'with the owner''s rights') FROM definer.told;
REVOKE expr_definer FROM expr_guest;
SELECT count(eventsource.append('told-1', 'seen')) AS n \gset
SELECT is(who, 'expr_guest', 'no more') FROM definer.told;

-- The definer goes; who is left must not step in for him.
REVOKE ALL ON FUNCTION vault.code(text) FROM expr_guest;
REVOKE USAGE ON SCHEMA definer FROM expr_guest;
DROP ROLE expr_guest;
ALTER TABLE definer.coded ADD COLUMN extra int;
SELECT pg_temp.refuses($$ SELECT eventsource.append('code-1', 'seen') $$, 'ZE011', 'projection definer.coded cannot be compiled',
	'without the definer his functions are not run');
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('code-1', 'seen') $$) LIKE '%the role that defined this expression no longer exists%', true,
	'which is what the error says');
SELECT is(eventsource.create_projection('definer.coded', '{code}', '{"seen": "code = event.type", "plain": "code = event.type"}'), 2::bigint,
	'another definition mends it');
SELECT * FROM finish();
ROLLBACK;
