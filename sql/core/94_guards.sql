-- What refuses DDL on all this is the hooks of the library; the event triggers of
-- 95_guards.sql see to it that the library is there.

CREATE FUNCTION eventsource.guard_ddl() RETURNS event_trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'eventsource_guard_ddl';
COMMENT ON FUNCTION eventsource.guard_ddl() IS
	'Private: event trigger that refuses DDL on what is guarded.';

CREATE FUNCTION eventsource.allow_maintenance(reason text) RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'eventsource_allow_maintenance';
COMMENT ON FUNCTION eventsource.allow_maintenance(text) IS
	'Until the transaction ends (or the savepoint under which it was called is rolled back to), lets it change what is guarded: upgrade or drop the extension, change its objects, put up what was taken down. Appends an event maintenance_allowed, with the reason and the session user, to stream $config-maintenance.guards, and writes a line into the server''s log. Outside of a transaction block it ends with its own statement, and a NOTICE says so. Rows stay append-only. For the owner of the extension and superusers. Errors: 42501; 22023 without a reason.';

CREATE FUNCTION eventsource.append_only_guard() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'eventsource_append_only_guard';
COMMENT ON FUNCTION eventsource.append_only_guard() IS
	'Private: trigger of make_append_only().';

CREATE FUNCTION eventsource.make_append_only("table" regclass) RETURNS bigint
	LANGUAGE c AS 'MODULE_PATHNAME', 'eventsource_make_append_only';
COMMENT ON FUNCTION eventsource.make_append_only(regclass) IS
	'Makes a table of yours append-only, with its partitions and those that it gets later: UPDATE, DELETE and TRUNCATE are refused, whoever tries, and so is DDL that would change its rows, what its columns mean, or its guards (allowed: ADD COLUMN, indexes, new or attached empty partitions, ownership, rights, the name of the table, where and how it is stored). Whoever owns the table can call it again, to put up guards that are missing. Returns the version of the definition. For the owner of the table. Errors: 42501; 42809 for what has no rows of its own that last, a projection, a table with rules or with children.';

CREATE FUNCTION eventsource.drop_append_only(name text) RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'eventsource_drop_append_only';
COMMENT ON FUNCTION eventsource.drop_append_only(text) IS
	'Takes the guards of a table away again that make_append_only() put up, by its name, or the one it had then ("schema.table") if it is gone. Only after allow_maintenance(), in the same transaction. Errors: ZE001; 42704 if there is no such table.';

CREATE FUNCTION eventsource.is_preloaded() RETURNS boolean
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'eventsource_is_preloaded';
COMMENT ON FUNCTION eventsource.is_preloaded() IS
	'Private, for health(): is the library loaded with the server (shared_preload_libraries)? If not, event triggers load it before the first DDL of a session.';

-- What functions and views of ours say, as the install script made them. The text of some
-- differs between majors; so it is known for the one that they were made under.
CREATE TABLE eventsource.manifest (
	kind   text    COLLATE "C" NOT NULL,
	name   text    COLLATE "C" NOT NULL,
	major  integer NOT NULL,
	digest text    COLLATE "C" NOT NULL,
	CONSTRAINT manifest_pkey PRIMARY KEY (kind, name)
) USING heap;
COMMENT ON TABLE eventsource.manifest IS 'Private: what functions and views were made as. Append-only, not dumped.';

CREATE FUNCTION eventsource.manifest_now() RETURNS TABLE (kind text, name text, is_stable boolean, digest text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	-- What PostgreSQL writes of them depends on these.
	SET intervalstyle = postgres SET datestyle = 'ISO, MDY' SET timezone = 'UTC' SET quote_all_identifiers = off
	SET extra_float_digits = 1 SET bytea_output = hex SET standard_conforming_strings = on SET xmlbinary = base64 AS $$
SELECT 'function', p.oid::regprocedure::text, p.prosqlbody IS NULL,
	   md5(row(l.lanname, p.prosecdef, p.proleakproof, p.proisstrict, p.provolatile, p.prokind, p.prosrc, p.probin,
			   p.proconfig, pg_get_function_sqlbody(p.oid))::text)
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
 WHERE p.pronamespace = 'eventsource'::regnamespace
UNION ALL
SELECT 'view', c.oid::regclass::text, false, md5(row(c.reloptions, pg_get_viewdef(c.oid))::text)
  FROM pg_class c WHERE c.relnamespace = 'eventsource'::regnamespace AND c.relkind = 'v'
UNION ALL
SELECT 'columns', c.oid::regclass::text, true,
	   md5((SELECT string_agg(row(a.attnum, a.attname, a.atttypid::regtype, a.attnotnull, a.attisdropped)::text, ',' ORDER BY a.attnum)
			  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0))
  FROM pg_class c WHERE c.relnamespace = 'eventsource'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
UNION ALL
SELECT 'owner', 'of the tables', true, c.relowner::regrole::text FROM pg_class c WHERE c.oid = 'eventsource.event'::regclass
UNION ALL
-- Those that have fixed OIDs: what functions and views of ours are made of.
SELECT 'built-in', 'functions', false,
	   md5(string_agg(concat_ws(',', p.oid, p.proname, p.pronamespace, p.prolang, p.provolatile, p.prosecdef, p.prosrc), ' ' ORDER BY p.oid))
  FROM pg_proc p WHERE p.oid < 12000
UNION ALL
SELECT 'built-in', 'operators', false,
	   md5(string_agg(concat_ws(',', o.oid, o.oprname, o.oprnamespace, o.oprcode::oid, o.oprleft, o.oprright), ' ' ORDER BY o.oid))
  FROM pg_operator o WHERE o.oid < 12000
$$;
COMMENT ON FUNCTION eventsource.manifest_now() IS
	'Private: functions, views and columns of the extension and the functions and operators of PostgreSQL, with a digest of what they say, and the owner of the tables. is_stable: whatever the major.';

CREATE FUNCTION eventsource.renew_manifest() RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'eventsource_renew_manifest';
COMMENT ON FUNCTION eventsource.renew_manifest() IS
	'After maintenance that changed functions or views of the extension, or who owns its tables: what check_guards() compares them with is made anew from what they are now. Only after allow_maintenance(), in the same transaction. Errors: ZE001.';

CREATE FUNCTION eventsource.append_only_names() RETURNS SETOF text
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'eventsource_append_only_names';
COMMENT ON FUNCTION eventsource.append_only_names() IS
	'Private, for check_guards(): tables that are append-only, by the names that they had when they were made so.';

-- One row for each guard that a table has. What is needed and what is there are counted
-- together, so that the planner need not know how many there are.
CREATE FUNCTION eventsource.guards_on_tables(append_only text[])
	RETURNS TABLE (guard text, protects text, is_intact boolean, detail text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
WITH RECURSIVE placed AS MATERIALIZED (
	SELECT t.tgrelid, t.tgname, t.tgenabled, t.tgtype, t.tgqual, p.proname::text AS function,
		   CASE WHEN t.tgnargs = 1 THEN convert_from(substr(t.tgargs, 1, length(t.tgargs) - 1), getdatabaseencoding()) END AS argument
	  FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
	 WHERE p.pronamespace = 'eventsource'::regnamespace),
kinds (function, title, bits) AS (
	VALUES ('guard', 'row guard', 31), ('guard', 'statement guard', 58),
		   ('append_only_guard', 'row guard', 27), ('append_only_guard', 'statement guard', 58)),
roots AS (
	SELECT o.argument AS name, min(o.tgrelid::bigint)::oid AS relid
	  FROM placed o JOIN pg_class c ON c.oid = o.tgrelid
	 WHERE o.function = 'append_only_guard' AND NOT c.relispartition
	 GROUP BY o.argument),
made AS (	-- tables that are to be append-only
	SELECT n.name, coalesce(r.relid, to_regclass(n.name)) AS relid
	  FROM unnest(append_only) n (name) LEFT JOIN roots r USING (name)),
tree (relid) AS (	-- and their partitions
	SELECT m.relid FROM made m WHERE m.relid IS NOT NULL
	UNION
	SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relid),
needed (relid, function) AS (
	SELECT c.oid, 'guard' FROM pg_class c
	 WHERE c.relnamespace = 'eventsource'::regnamespace AND c.relkind IN ('r', 'p')
	UNION ALL
	SELECT t.relid, 'append_only_guard' FROM tree t
	UNION ALL
	SELECT o.tgrelid, 'append_only_guard' FROM placed o WHERE o.function = 'append_only_guard')
SELECT k.title, g.relid::regclass::text, coalesce(bool_or(g.is_plain AND g.tgtype & k.bits = k.bits AND g.tgenabled = 'A'), false),
	   CASE WHEN count(g.tgtype) = 0 THEN 'is missing'
			WHEN NOT bool_or(g.is_plain AND g.tgtype & k.bits = k.bits) THEN 'is on other events'
			WHEN NOT bool_or(g.is_plain AND g.tgtype & k.bits = k.bits AND g.tgenabled = 'A') THEN 'is not ENABLE ALWAYS'
			ELSE 'refuses what changes rows' END
  FROM (SELECT n.relid, n.function, true AS is_needed, NULL::int2 AS tgtype, NULL::"char" AS tgenabled, NULL::boolean AS is_plain FROM needed n
		UNION ALL
		SELECT o.tgrelid, o.function, false, o.tgtype, o.tgenabled, o.tgqual IS NULL FROM placed o) g
  JOIN kinds k ON k.function = g.function AND (g.is_needed OR g.tgtype & 1 = k.bits & 1)
 GROUP BY k.title, g.relid
HAVING bool_or(g.is_needed)
UNION ALL
SELECT 'append-only table', m.name, m.relid IS NOT NULL AND NOT m.is_taken,
	   CASE WHEN m.relid IS NULL THEN 'the table is gone'
			WHEN m.is_taken THEN format('the table is %s, and what has its name now is not append-only', m.relid::regclass)
			ELSE 'there is the table' END
  FROM (SELECT m.name, m.relid, n.oid IS DISTINCT FROM m.relid
		   AND n.oid NOT IN (SELECT o.tgrelid FROM placed o WHERE o.function = 'append_only_guard') AS is_taken
		  FROM made m LEFT JOIN pg_class n ON n.oid = to_regclass(m.name)) m
UNION ALL
SELECT 'trigger ' || quote_ident(o.tgname), o.tgrelid::regclass::text, o.tgenabled = 'A',
	   CASE WHEN o.tgenabled = 'A' THEN 'fires always' ELSE 'is not ENABLE ALWAYS' END
  FROM placed o
 WHERE o.function NOT IN ('guard', 'append_only_guard') AND o.tgrelid <> 'eventsource.events'::regclass
$$;
COMMENT ON FUNCTION eventsource.guards_on_tables(text[]) IS
	'Private, for check_guards(): the triggers that guard tables, and tables that were made append-only, by their names.';

-- What there is to look at besides, and how it is when all is well.
CREATE FUNCTION eventsource.guards_of_all() RETURNS TABLE (guard text, detail text)
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
VALUES ('no trigger of others', 'only guards fire'), ('no rule', 'statements are what they say'),
	   ('no row security', 'whoever may read sees all rows'), ('no table of others in the tree', 'its segments are its rows'),
	   ('segments are attached', 'all of them'), ('tables as they were made', 'permanent, with their triggers'),
	   ('indexes', 'all are valid'), ('ownership', 'all of it has one owner'), ('rights', 'to read, and to append through the view'),
	   ('members of the extension', 'all of it'), ('functions and views', 'as they were installed'),
	   ('columns', 'as they were made'), ('what is built in', 'functions and operators of PostgreSQL are what they were'),
	   ('event triggers', 'they fire always'), ('parameters', 'none that turns triggers off is given away'),
	   ('no replication into the log', 'no subscription writes to it'),
	   ('no publication of the log', 'its tables are in none by name'), ('no pg_surgery', 'it is not installed')
$$;
COMMENT ON FUNCTION eventsource.guards_of_all() IS
	'Private, for check_guards(): guards of the log as a whole, and how they are when they are intact.';

-- A name says what alone to look at: whatever is for the others is not touched.
CREATE FUNCTION eventsource.guards_of_the_log(which text DEFAULT NULL)
	RETURNS TABLE (guard text, problem text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
WITH ours AS MATERIALIZED (
	SELECT c.* FROM pg_class c WHERE c.relnamespace = 'eventsource'::regnamespace),
extension AS (SELECT e.* FROM pg_extension e WHERE e.extname = 'eventsource'),
owner AS (SELECT o.relowner AS role FROM ours o WHERE o.oid = 'eventsource.event'::regclass),
logged AS (SELECT i.inhrelid AS relid FROM pg_inherits i WHERE i.inhparent = 'eventsource.event'::regclass),
other AS MATERIALIZED (
	SELECT coalesce(m.kind, n.kind) AS kind,
		   CASE WHEN n.kind = 'owner' THEN format('the tables belonged to %s', m.digest)
				WHEN n.name IS NULL THEN format('%s %s is gone', m.kind, m.name)
				WHEN m.name IS NULL THEN format('%s %s was not installed', n.kind, n.name)
				ELSE format('%s %s is another', n.kind, n.name) END AS problem
	  FROM eventsource.manifest_of_the_extension() m FULL JOIN eventsource.manifest_now() n USING (kind, name)
	 WHERE m.digest IS DISTINCT FROM n.digest
	   AND (m.name IS NULL OR n.name IS NULL OR n.is_stable OR m.major = current_setting('server_version_num')::integer / 10000))
SELECT g.guard, g.problem FROM (
SELECT 'no trigger of others', format('%s on %s', t.tgname, t.tgrelid::regclass)
  FROM pg_trigger t JOIN ours o ON o.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
 WHERE p.pronamespace <> 'eventsource'::regnamespace
UNION ALL
SELECT 'no rule', format('%s on %s', r.rulename, r.ev_class::regclass)
  FROM pg_rewrite r JOIN ours o ON o.oid = r.ev_class
 WHERE o.relkind <> 'v' OR r.rulename <> '_RETURN'
UNION ALL
SELECT 'no row security', o.oid::regclass::text FROM ours o
 WHERE o.relrowsecurity OR o.relforcerowsecurity OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = o.oid)
UNION ALL
SELECT 'no table of others in the tree', format('%s of %s', i.inhrelid::regclass, i.inhparent::regclass)
  FROM pg_inherits i
 WHERE (i.inhrelid IN (SELECT oid FROM ours) OR i.inhparent IN (SELECT oid FROM ours))
   AND (i.inhparent <> 'eventsource.event'::regclass OR i.inhdetachpending OR i.inhrelid NOT IN (SELECT oid FROM ours))
UNION ALL
SELECT 'segments are attached', s.table_name::text FROM eventsource.segments s WHERE NOT s.is_attached
UNION ALL
SELECT 'tables as they were made', o.oid::regclass::text FROM ours o LEFT JOIN pg_am a ON a.oid = o.relam
 WHERE (o.relkind = 'r' AND (a.amname <> 'heap' OR o.relpersistence <> 'p' OR NOT o.relhastriggers))
	OR (o.relkind = 'p' AND NOT o.relhastriggers)
	OR o.relkind NOT IN ('r', 'p', 'i', 'I', 'S', 'v', 'c')
UNION ALL
SELECT 'indexes', i.indexrelid::regclass::text FROM pg_index i JOIN ours o ON o.oid = i.indrelid
 WHERE NOT (i.indisvalid AND i.indisready AND i.indislive)
UNION ALL
SELECT 'indexes', format('%s lacks one of its two', l.relid::regclass) FROM logged l
 WHERE 2 > (SELECT count(*) FROM pg_index i WHERE i.indrelid = l.relid AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL)
UNION ALL
SELECT 'ownership', format('%s belongs to %s', o.oid::regclass, o.relowner::regrole) FROM ours o, owner w
 WHERE o.relowner <> w.role AND o.relkind IN ('r', 'p', 'S')
UNION ALL
SELECT 'ownership', format('%s belongs to %s', p.oid::regprocedure, p.proowner::regrole) FROM pg_proc p, extension e
 WHERE p.pronamespace = 'eventsource'::regnamespace AND p.proowner <> e.extowner
UNION ALL
SELECT 'rights', format('%s for %s on %s', a.privilege_type,
						CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, o.oid::regclass)
  FROM ours o CROSS JOIN LATERAL aclexplode(o.relacl) a
 WHERE a.grantee <> o.relowner AND (a.privilege_type <> 'SELECT' OR o.relname IN ('vault', 'snapshot'))
   AND NOT (o.relkind = 'v' AND a.privilege_type = 'INSERT')
UNION ALL
SELECT 'rights', format('%s for %s on column %s of %s', x.privilege_type,
						CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END, a.attname, o.oid::regclass)
  FROM ours o JOIN pg_attribute a ON a.attrelid = o.oid AND a.attacl IS NOT NULL CROSS JOIN LATERAL aclexplode(a.attacl) x
 WHERE x.grantee <> o.relowner AND (x.privilege_type <> 'SELECT' OR o.relname IN ('vault', 'snapshot'))
UNION ALL
SELECT 'rights', format('%s for %s on the schema', a.privilege_type,
						CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
  FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
 WHERE n.nspname = 'eventsource' AND a.grantee <> n.nspowner AND a.privilege_type <> 'USAGE'
UNION ALL
SELECT 'members of the extension', format('%s is none', o.oid::regclass) FROM ours o, extension e
 WHERE o.relkind IN ('r', 'p', 'S', 'v') AND o.oid NOT IN (SELECT relid FROM logged)
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = o.oid
					  AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e')
UNION ALL
SELECT 'members of the extension', format('%s belongs to extension %s', l.relid::regclass, x.extname)
  FROM logged l JOIN pg_depend d ON d.objid = l.relid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
  JOIN pg_extension x ON x.oid = d.refobjid
UNION ALL
SELECT 'members of the extension', format('%s is none', p.oid::regprocedure) FROM pg_proc p, extension e
 WHERE p.pronamespace = 'eventsource'::regnamespace
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
					  AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e')
UNION ALL
SELECT 'ownership', o.problem FROM other o WHERE o.kind = 'owner'
UNION ALL
SELECT 'columns', o.problem FROM other o WHERE o.kind = 'columns'
UNION ALL
SELECT 'what is built in', o.problem FROM other o WHERE o.kind = 'built-in'
UNION ALL
SELECT 'functions and views', o.problem FROM other o WHERE o.kind IN ('function', 'view')
UNION ALL
SELECT 'columns', format('%s.%s', l.relid::regclass, coalesce(a.attname, p.attname))
  FROM logged l
  CROSS JOIN LATERAL (SELECT x.* FROM pg_attribute x WHERE x.attrelid = l.relid AND x.attnum > 0 AND NOT x.attisdropped) a
  FULL JOIN (SELECT g.relid, x.* FROM logged g JOIN pg_attribute x ON x.attrelid = 'eventsource.event'::regclass
			  WHERE x.attnum > 0 AND NOT x.attisdropped) p
	ON p.relid = l.relid AND (p.attname, p.atttypid, p.attnotnull) = (a.attname, a.atttypid, a.attnotnull)
 WHERE a.attname IS NULL OR p.attname IS NULL
UNION ALL
SELECT 'what is built in', format('function %s is nearer', p.oid::regprocedure) FROM pg_proc p
 WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid >= 16384
   AND EXISTS (SELECT FROM pg_proc b WHERE b.proname = p.proname AND b.pronamespace = p.pronamespace AND b.oid < 12000)
UNION ALL
SELECT 'what is built in', format('operator %s is nearer', p.oid::regoperator) FROM pg_operator p
 WHERE p.oprnamespace = 'pg_catalog'::regnamespace AND p.oid >= 16384
UNION ALL
SELECT 'what is built in', format('%s becomes %s by itself', c.castsource::regtype, c.casttarget::regtype) FROM pg_cast c
 WHERE c.oid >= 16384 AND c.castcontext = 'i' AND c.castsource < 12000 AND c.casttarget < 12000
UNION ALL
SELECT 'event triggers', format('%s %s', t.name, CASE WHEN e.evtname IS NULL THEN 'is missing' ELSE 'is not ENABLE ALWAYS' END)
  FROM (VALUES ('eventsource_guard_ddl'), ('eventsource_guard_partitions')) t (name)
  LEFT JOIN pg_event_trigger e ON e.evtname = t.name AND e.evtfoid = 'eventsource.guard_ddl'::regproc
 WHERE e.evtname IS NULL OR e.evtenabled <> 'A'
UNION ALL
SELECT 'event triggers', 'event_triggers is off' WHERE current_setting('event_triggers', true) = 'off'
UNION ALL
SELECT 'parameters', format('%s is granted to %s', p.parname, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
  FROM pg_parameter_acl p CROSS JOIN LATERAL aclexplode(p.paracl) a
 WHERE p.parname IN ('session_replication_role', 'allow_system_table_mods', 'event_triggers', 'zero_damaged_pages',
					 'shared_preload_libraries', 'ignore_system_indexes')
   AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.grantee AND r.rolsuper)
UNION ALL
SELECT 'parameters', format('%s for %s', c, coalesce(nullif(s.setrole, 0)::regrole::text, 'all roles'))
  FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) c
 WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
   AND split_part(c, '=', 1) IN ('session_replication_role', 'allow_system_table_mods', 'event_triggers', 'zero_damaged_pages')
UNION ALL
SELECT 'parameters', format('%s is %s by %s', s.name, s.reset_val, coalesce(s.sourcefile, s.source)) FROM pg_settings s
 WHERE s.name IN ('session_replication_role', 'allow_system_table_mods', 'event_triggers', 'zero_damaged_pages')
   AND s.reset_val <> s.boot_val AND s.source NOT IN ('database', 'user', 'database user', 'session')
UNION ALL
SELECT 'no replication into the log', r.srrelid::regclass::text FROM pg_subscription_rel r JOIN ours o ON o.oid = r.srrelid
UNION ALL
SELECT 'no publication of the log', format('%s in %s', r.prrelid::regclass, p.pubname)
  FROM pg_publication_rel r JOIN ours o ON o.oid = r.prrelid JOIN pg_publication p ON p.oid = r.prpubid
UNION ALL
SELECT 'no publication of the log', format('the schema in %s', p.pubname)
  FROM pg_publication_namespace n JOIN pg_publication p ON p.oid = n.pnpubid
 WHERE n.pnnspid = 'eventsource'::regnamespace
UNION ALL
SELECT 'no pg_surgery', p.oid::regprocedure::text FROM pg_proc p WHERE p.probin LIKE '%pg\_surgery'
) g (guard, problem) WHERE which IS NULL OR g.guard = which
$$;
COMMENT ON FUNCTION eventsource.guards_of_the_log(text) IS
	'Private, for check_guards(): a row for each thing that is not as it has to be.';

-- The table is nobody's to read; what the install script made is no secret.
CREATE FUNCTION eventsource.manifest_of_the_extension() RETURNS TABLE (kind text, name text, major integer, digest text)
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT m.kind, m.name, m.major, m.digest FROM eventsource.manifest m
$$;
COMMENT ON FUNCTION eventsource.manifest_of_the_extension() IS
	'Private, for check_guards(): functions and views as the install script made them.';

-- What cannot be read may not hide the rest: then the guards are looked at one by one.
CREATE FUNCTION eventsource.check_guards()
	RETURNS TABLE (guard text, protects text, is_intact boolean, detail text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	append_only text[] := '{}';
	every record;
BEGIN
	is_intact := false;
	BEGIN
		append_only := ARRAY(SELECT n FROM eventsource.append_only_names() n);
	EXCEPTION WHEN OTHERS THEN
		guard := 'append-only table';
		protects := 'all of them';
		detail := format('cannot be looked at: %s (%s)', SQLERRM, SQLSTATE);
		RETURN NEXT;
	END;
	BEGIN
		RETURN QUERY SELECT * FROM eventsource.guards_on_tables(append_only);
	EXCEPTION WHEN OTHERS THEN
		guard := 'row and statement guards';
		protects := 'all tables';
		detail := format('cannot be looked at: %s (%s)', SQLERRM, SQLSTATE);
		RETURN NEXT;
	END;
	BEGIN
		RETURN QUERY SELECT 'projection guard', p.name, false, 'the table is a projection and lacks its guard: nothing is folded into it'
		  FROM eventsource.projections p WHERE p.target IS NULL AND to_regclass(p.name) IS NOT NULL;
	EXCEPTION WHEN OTHERS THEN
		guard := 'projection guard';
		protects := 'all projections';
		detail := format('cannot be looked at: %s (%s)', SQLERRM, SQLSTATE);
		RETURN NEXT;
	END;
	BEGIN
		RETURN QUERY SELECT k.guard, 'the log', count(p.problem) = 0, coalesce(string_agg(p.problem, ', ' ORDER BY p.problem), k.detail)
		  FROM eventsource.guards_of_all() k LEFT JOIN eventsource.guards_of_the_log() p ON p.guard = k.guard
		 GROUP BY k.guard, k.detail;
	EXCEPTION WHEN OTHERS THEN
		FOR every IN SELECT * FROM eventsource.guards_of_all() LOOP
			BEGIN
				RETURN QUERY SELECT every.guard, 'the log', count(*) = 0, coalesce(string_agg(p.problem, ', ' ORDER BY p.problem), every.detail)
				  FROM eventsource.guards_of_the_log(every.guard) p;
			EXCEPTION WHEN OTHERS THEN
				guard := every.guard;
				protects := 'the log';
				detail := format('cannot be looked at: %s (%s)', SQLERRM, SQLSTATE);
				RETURN NEXT;
			END;
		END LOOP;
	END;
	RETURN QUERY SELECT 'hooks', 'DDL and catalogs', true,
		CASE WHEN eventsource.is_preloaded() THEN 'in every session: the library is preloaded'
			 ELSE 'in sessions that use the log or run DDL: the library is not preloaded, event triggers load it' END;
END
$$;
COMMENT ON FUNCTION eventsource.check_guards() IS
	'Every guard, what it protects, whether it is intact, and what is wrong with it, or how it is: row and statement guards of each table of the log and of each append-only table, triggers of projections and tracked tables; and for the log as a whole triggers and rules of others, row security, inheritance and partitions, persistence, indexes, ownership, rights (also on columns and the schema), membership of the extension, columns, what functions and views say, and those of PostgreSQL that they are made of, event triggers, granted and stored parameters that turn triggers off, subscriptions, publications, pg_surgery; and where the hooks are. What cannot be read is not intact, with the error, and hides nothing else. Also run by health(). What a superuser changed is found as long as he did not change this, too: keep checkpoints elsewhere.';
