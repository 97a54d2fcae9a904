\set ECHO none
\i test/helpers.sql
-- What holds for every object of the extension, however many there are.
BEGIN;
SELECT plan(11);

CREATE TEMP VIEW member AS
SELECT d.classid, d.objid
FROM pg_depend d
JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
WHERE e.extname = 'eventsource' AND d.deptype = 'e';

CREATE TEMP VIEW member_function AS
SELECT p.*, p.oid::regprocedure::text AS signature, l.lanname
FROM member m
JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
JOIN pg_language l ON l.oid = p.prolang;

CREATE TEMP VIEW member_relation AS
SELECT c.*
FROM member m
JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid;

SELECT has_extension('eventsource', 'the extension is there');

SELECT is(extversion, (SELECT default_version FROM pg_available_extensions WHERE name = 'eventsource'),
	'and of the version that its control file names')
FROM pg_extension WHERE extname = 'eventsource';

SELECT is_empty($$
	SELECT pg_describe_object(classid, objid, 0) FROM member
	WHERE (classid = 'pg_proc'::regclass AND NOT EXISTS
			(SELECT FROM pg_proc WHERE oid = objid AND pronamespace = 'eventsource'::regnamespace))
		OR (classid = 'pg_class'::regclass AND NOT EXISTS
			(SELECT FROM pg_class WHERE oid = objid AND relnamespace = 'eventsource'::regnamespace))
		OR (classid = 'pg_type'::regclass AND NOT EXISTS
			(SELECT FROM pg_type WHERE oid = objid AND typnamespace = 'eventsource'::regnamespace))
$$, 'nothing lies outside the schema eventsource');

SELECT is_empty($$
	SELECT signature FROM member_function WHERE obj_description(oid, 'pg_proc') IS NULL
$$, 'every function has a comment');

SELECT is_empty($$
	SELECT oid::regclass FROM member_relation WHERE relkind <> 'i' AND obj_description(oid, 'pg_class') IS NULL
$$, 'every table, view and sequence has a comment');

SELECT is_empty($$
	SELECT t.oid::regtype FROM member m
	JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
	LEFT JOIN pg_class c ON c.oid = t.typrelid
	WHERE t.typelem = 0 AND (c.oid IS NULL OR c.relkind = 'c')
		AND obj_description(t.oid, 'pg_type') IS NULL
$$, 'every type has a comment');

SELECT ok(NOT has_schema_privilege('public', 'eventsource', 'USAGE'), 'PUBLIC cannot even look into the schema');

-- In a body that is parsed at creation (BEGIN ATOMIC) no name is left to look up.
SELECT is_empty($$
	SELECT signature FROM member_function
	WHERE lanname NOT IN ('c', 'internal')
		AND NOT EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting LIKE 'search_path=%')
		AND prosqlbody IS NULL
$$, 'every function that is not C pins its search_path');

SELECT is_empty($$
	SELECT signature FROM member_function
	WHERE prokind <> 'a' AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
		AND pronargs > 0
		AND (proargnames IS NULL OR '' = ANY (proargnames[1:pronargs]))
		AND NOT EXISTS (SELECT FROM pg_aggregate a WHERE member_function.oid IN (aggtransfn, aggfinalfn))
$$, 'every function names its arguments');

SELECT is_empty($$
	SELECT f.signature FROM member_function f,
		LATERAL aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) AS grants
	WHERE grants.grantee = 0
$$, 'PUBLIC may execute no function');

SELECT is_empty($$
	SELECT c.oid::regclass, grants.privilege_type FROM member_relation c,
		LATERAL aclexplode(c.relacl) AS grants
	WHERE grants.grantee = 0
$$, 'PUBLIC has no right on any table, view or sequence');

SELECT * FROM finish();
ROLLBACK;
