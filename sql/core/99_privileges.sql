-- Nothing is granted to PUBLIC; these hand out rights, and take them back. Who may
-- call them is checked first: GRANT itself would only warn, once for every object.
-- Rights are PostgreSQL's own, but for the categories of who is limited to some:
-- src/log/rights.h.

CREATE FUNCTION eventsource.set_category_rights(role regrole, reads text[], writes text[]) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_set_category_rights' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.set_category_rights(regrole, text[], text[]) IS
	'Private, for grant_reader() and its kin: the categories that a role was given, all of them.';

CREATE FUNCTION eventsource.category_rights_list() RETURNS TABLE (role oid, category text, is_write boolean)
	AS 'MODULE_PATHNAME', 'eventsource_category_rights_list' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.category_rights_list() IS
	'Private, for views: the categories that roles were given.';

CREATE VIEW eventsource.category_rights AS
SELECT pg_catalog.pg_get_userbyid(r.role) AS role, r.category, bool_or(r.is_write) AS may_append
  FROM eventsource.category_rights_list() r
 GROUP BY r.role, r.category;
COMMENT ON VIEW eventsource.category_rights IS
	'Categories that roles were given one by one, by grant_reader() and grant_writer(). A role has those of roles whose rights it inherits, too; one that reads or appends to every category needs none.';
COMMENT ON COLUMN eventsource.category_rights.role IS 'The role.';
COMMENT ON COLUMN eventsource.category_rights.category IS 'A category that it may read.';
COMMENT ON COLUMN eventsource.category_rights.may_append IS 'May it append to it, too?';

CREATE FUNCTION eventsource.expect_owner() RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	owner regrole := (SELECT e.extowner FROM pg_extension e WHERE e.extname = 'eventsource');
BEGIN
	IF NOT pg_has_role(owner, 'USAGE') THEN
		RAISE insufficient_privilege USING
			MESSAGE = 'permission denied to grant rights on the event store',
			DETAIL = format('Role %I does not have the rights of %s, the owner of the extension.', current_user, owner),
			HINT = 'Let the owner or a superuser call this function.';
	END IF;
END
$$;
COMMENT ON FUNCTION eventsource.expect_owner() IS
	'Private, for grant_reader() and its kin: error unless the current user has the rights of the owner of the extension. Errors: 42501.';

CREATE FUNCTION eventsource.expect_granter(role regrole) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.expect_owner();
	IF role IS NULL THEN
		RAISE null_value_not_allowed USING
			MESSAGE = 'role must not be null',
			DETAIL = 'A right is given to a role, or taken from one.',
			HINT = 'Give its name.';
	ELSIF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = expect_granter.role) THEN
		RAISE undefined_object USING
			MESSAGE = format('there is no role %s', role),
			DETAIL = 'A right is given to a role, or taken from one.',
			HINT = 'The view pg_roles lists those there are.';
	END IF;
END
$$;
COMMENT ON FUNCTION eventsource.expect_granter(regrole) IS
	'Private, for grant_reader() and its kin: error unless the current user may grant, and there is such a role. Errors: 42501, 22004, 42704.';

CREATE FUNCTION eventsource.grant_functions(role regrole, names name[], is_grant boolean DEFAULT true) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	f regprocedure;
BEGIN
	FOR f IN SELECT p.oid FROM pg_proc p
			  WHERE p.pronamespace = 'eventsource'::regnamespace AND p.proname = ANY (names) LOOP
		EXECUTE format(CASE WHEN is_grant THEN 'GRANT EXECUTE ON ROUTINE %s TO %s' ELSE 'REVOKE EXECUTE ON ROUTINE %s FROM %s' END, f, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION eventsource.grant_functions(regrole, name[], boolean) IS
	'Private, for grant_reader() and its kin: gives EXECUTE on all functions of these names, or takes it back.';

-- What every reader gets, limited or not.
CREATE FUNCTION eventsource.grant_doors(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v regclass;
BEGIN
	EXECUTE format('GRANT USAGE ON SCHEMA eventsource TO %s', role);
	FOR v IN SELECT c.oid FROM pg_class c
			  WHERE c.relnamespace = 'eventsource'::regnamespace AND c.relkind = 'v'
				AND c.relname <> ALL (eventsource.whole_log_views()) LOOP
		EXECUTE format('GRANT SELECT ON %s TO %s', v, role);
	END LOOP;
	PERFORM eventsource.grant_functions(role, eventsource.reader_functions());
END
$$;
COMMENT ON FUNCTION eventsource.grant_doors(regrole) IS
	'Private, for grant_reader(): views and reading functions that show each what he may read.';

CREATE FUNCTION eventsource.add_categories(role regrole, categories text[], is_write boolean) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	reads text[] := ARRAY(SELECT r.category FROM eventsource.category_rights_list() r WHERE r.role = add_categories.role AND NOT r.is_write);
	writes text[] := ARRAY(SELECT r.category FROM eventsource.category_rights_list() r WHERE r.role = add_categories.role AND r.is_write);
BEGIN
	IF cardinality(categories) = 0 THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'no category is named',
			DETAIL = 'An empty list would give no right.',
			HINT = 'Leave categories out for all of them, those to come included.';
	END IF;
	PERFORM eventsource.set_category_rights(role,
		ARRAY(SELECT c FROM unnest(reads || categories) c GROUP BY c ORDER BY c COLLATE "C"),
		ARRAY(SELECT c FROM unnest(writes || CASE WHEN is_write THEN categories END) c GROUP BY c ORDER BY c COLLATE "C"));
END
$$;
COMMENT ON FUNCTION eventsource.add_categories(regrole, text[], boolean) IS
	'Private, for grant_reader() and grant_writer(). Errors: 22023.';

CREATE FUNCTION eventsource.take_categories(role regrole, categories text[], from_reads boolean) RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	reads text[] := ARRAY(SELECT r.category FROM eventsource.category_rights_list() r
						   WHERE r.role = take_categories.role AND NOT r.is_write ORDER BY r.category COLLATE "C");
	writes text[] := ARRAY(SELECT r.category FROM eventsource.category_rights_list() r
							WHERE r.role = take_categories.role AND r.is_write ORDER BY r.category COLLATE "C");
	reads_then text[] := CASE WHEN NOT from_reads THEN reads WHEN categories IS NOT NULL
							  THEN ARRAY(SELECT c FROM unnest(reads) c WHERE c <> ALL (categories)) ELSE '{}' END;
	writes_then text[] := CASE WHEN categories IS NOT NULL
							   THEN ARRAY(SELECT c FROM unnest(writes) c WHERE c <> ALL (categories)) ELSE '{}' END;
BEGIN
	IF reads_then <> reads OR writes_then <> writes THEN
		PERFORM eventsource.set_category_rights(role, reads_then, writes_then);
	END IF;
	RETURN cardinality(CASE WHEN from_reads THEN reads_then ELSE writes_then END) > 0;
END
$$;
COMMENT ON FUNCTION eventsource.take_categories(regrole, text[], boolean) IS
	'Private, for revoke_reader() and revoke_writer(): does it have any left?';

CREATE FUNCTION eventsource.grant_reader(role regrole, categories text[] DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	view name;
BEGIN
	PERFORM eventsource.expect_granter(role);
	PERFORM eventsource.grant_doors(role);
	IF categories IS NOT NULL THEN
		PERFORM eventsource.add_categories(role, categories, false);
		IF has_function_privilege(role, 'eventsource.reads_all_categories()', 'EXECUTE') THEN
			RAISE WARNING '%', format('role %s reads every category as it is', role) USING
				DETAIL = 'By a right of its own, or of a role whose rights it inherits. Rights add up.',
				HINT = format('To limit it, take that first: SELECT eventsource.revoke_reader(%L).', role);
		END IF;
	ELSE
		FOREACH view IN ARRAY eventsource.whole_log_views() LOOP
			EXECUTE format('GRANT SELECT ON eventsource.%I TO %s', view, role);
		END LOOP;
		PERFORM eventsource.grant_functions(role, eventsource.whole_log_functions() || '{reads_all_categories}'::name[]);
	END IF;
END
$$;
COMMENT ON FUNCTION eventsource.grant_reader(regrole, text[]) IS
	'Lets a role read: all views and reading functions. categories: what it sees there is these categories alone, which need not exist yet (NULL: every category, those to come included). Rights add up: those of several calls, and those of roles whose rights it inherits. For the owner of the extension and superusers. Errors: 42501, 22023.';

CREATE FUNCTION eventsource.grant_writer(role regrole, categories text[] DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.expect_granter(role);
	IF categories IS NULL THEN
		PERFORM eventsource.grant_reader(role);
		PERFORM eventsource.grant_functions(role, '{writes_all_categories}');
	ELSE
		PERFORM eventsource.grant_doors(role);
		PERFORM eventsource.add_categories(role, categories, true);
		IF has_function_privilege(role, 'eventsource.writes_all_categories()', 'EXECUTE') THEN
			RAISE WARNING '%', format('role %s appends to every category as it is', role) USING
				DETAIL = 'By a right of its own, or of a role whose rights it inherits. Rights add up.',
				HINT = format('To limit it, take that first: SELECT eventsource.revoke_writer(%L).', role);
		END IF;
	END IF;
	EXECUTE format('GRANT INSERT ON eventsource.events TO %s', role);
	PERFORM eventsource.grant_functions(role, eventsource.writer_functions());
END
$$;
COMMENT ON FUNCTION eventsource.grant_writer(regrole, text[]) IS
	'Lets a role append, and read. categories: to these alone, and read these, besides what it may read otherwise (NULL: every category). For the owner of the extension and superusers. Errors: 42501, 22023.';

CREATE FUNCTION eventsource.grant_admin(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.grant_writer(role);
	PERFORM eventsource.grant_functions(role, eventsource.admin_functions());
END
$$;
COMMENT ON FUNCTION eventsource.grant_admin(regrole) IS
	'Lets a role define categories, state machines, event types, projections and all the rest, append, and read; not grant these rights to others. For the owner of the extension and superusers. Errors: 42501.';

-- Taking back. What one right stands on takes it along: who does not read does not
-- append, and who does not append does not define.

CREATE FUNCTION eventsource.revoke_admin(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.expect_granter(role);
	PERFORM eventsource.grant_functions(role, eventsource.admin_functions(), false);
END
$$;
COMMENT ON FUNCTION eventsource.revoke_admin(regrole) IS
	'Takes back from a role what grant_admin adds to the rights of a writer, which it keeps. What it inherits it keeps, too. For the owner of the extension and superusers. Errors: 42501.';

CREATE FUNCTION eventsource.revoke_writer(role regrole, categories text[] DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.expect_granter(role);
	IF categories IS NULL THEN
		PERFORM eventsource.revoke_admin(role);
		PERFORM eventsource.grant_functions(role, '{writes_all_categories}', false);
	END IF;
	IF NOT eventsource.take_categories(role, categories, false)
		AND (categories IS NULL OR NOT has_function_privilege(role, 'eventsource.writes_all_categories()', 'EXECUTE')) THEN
		EXECUTE format('REVOKE INSERT ON eventsource.events FROM %s', role);
		PERFORM eventsource.grant_functions(role, eventsource.writer_functions(), false);
	END IF;
END
$$;
COMMENT ON FUNCTION eventsource.revoke_writer(regrole, text[]) IS
	'Takes back from a role the right to append: to these categories, as grant_writer gave it for categories, or (NULL) altogether, and with it what grant_admin gave. It goes on reading what it could. A right to append to every category has no exceptions: take that back, and give others. What it inherits it keeps. For the owner of the extension and superusers. Errors: 42501.';

CREATE FUNCTION eventsource.revoke_reader(role regrole, categories text[] DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.expect_granter(role);
	IF eventsource.take_categories(role, categories, true)
		OR categories IS NOT NULL AND has_function_privilege(role, 'eventsource.reads_all_categories()', 'EXECUTE') THEN
		RETURN;
	END IF;
	EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA eventsource FROM %s', role);
	EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA eventsource FROM %s', role);
	EXECUTE format('REVOKE ALL ON SCHEMA eventsource FROM %s', role);
END
$$;
COMMENT ON FUNCTION eventsource.revoke_reader(regrole, text[]) IS
	'Takes back from a role the right to read: these categories, as grant_reader or grant_writer gave them, or (NULL) everything, and with reading all that stands on it: appending, administration, erasure, personal data. With its last category a limited role loses all that, too. A right to read every category has no exceptions: take that back, and give others. What it inherits it keeps. For the owner of the extension and superusers. Errors: 42501.';

CREATE FUNCTION eventsource.revoke_personal_data(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.expect_granter(role);
	PERFORM eventsource.grant_functions(role, '{personal_data}', false);
END
$$;
COMMENT ON FUNCTION eventsource.revoke_personal_data(regrole) IS
	'Takes back from a role the right to see personal fields, not that to read. What it inherits it keeps. For the owner of the extension and superusers. Errors: 42501.';

CREATE FUNCTION eventsource.revoke_eraser(role regrole, modes text[] DEFAULT '{soft,anonymize,hard}') RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.expect_granter(role);
	IF (modes <@ '{soft,anonymize,hard}'::text[]) IS NOT TRUE THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('unknown mode in %s', coalesce(quote_literal(modes), 'null')),
			DETAIL = 'Modes are soft, anonymize and hard.',
			HINT = format('SELECT eventsource.revoke_eraser(%L, ''{soft,anonymize}'')', role);
	END IF;
	PERFORM eventsource.grant_functions(role, ARRAY(
		SELECT r.name FROM (VALUES ('soft', 'may_erase_softly'), ('anonymize', 'may_anonymize'), ('hard', 'may_erase_hard')) r (mode, name)
		 WHERE r.mode = ANY (modes))::name[], false);
	IF NOT (has_function_privilege(role, 'eventsource.may_erase_softly()', 'EXECUTE')
			OR has_function_privilege(role, 'eventsource.may_anonymize()', 'EXECUTE')
			OR has_function_privilege(role, 'eventsource.may_erase_hard()', 'EXECUTE')) THEN
		PERFORM eventsource.grant_functions(role, eventsource.eraser_functions(), false);
	END IF;
END
$$;
COMMENT ON FUNCTION eventsource.revoke_eraser(regrole, text[]) IS
	'Takes back from a role the right to erase in these modes, and with the last one the rest of what grant_eraser gave but reading. What it inherits it keeps. For the owner of the extension and superusers. Errors: 42501, 22023.';

CREATE FUNCTION eventsource.writer_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
	RETURN ARRAY['append', 'append_events', 'lock_stream', 'correct_event', 'void_event', 'record_delivery']::name[];
COMMENT ON FUNCTION eventsource.writer_functions() IS
	'Private: functions that grant_writer adds to what a reader may call.';

CREATE FUNCTION eventsource.admin_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
	RETURN ARRAY['create_state_machine', 'create_category', 'register_event_type', 'withdraw_event_type',
				 'create_upcaster', 'drop_upcaster',
				 'create_projection', 'drop_projection', 'create_masked_view', 'make_append_only',
				 'schedule_timeouts', 'track_table', 'untrack_table', 'backfill', 'backfill_in_batches',
				 'seal', 'rebuild_projection', 'set_snapshot_policy', 'drop_snapshots', 'publish_watermark',
				 'run_projections', 'resume_projection',
				 'create_handler', 'drop_handler', 'resume_handler',
				 'create_reaction', 'drop_reaction', 'run_due',
				 'create_subscription', 'drop_subscription', 'reset_subscription',
				 'start_publishing', 'stop_publishing', 'publish',
				 'copy_category', 'copy_category_in_batches', 'drop_category_copy',
				 'set_retention', 'hold', 'release_hold', 'archive_due', 'archive_due_in_batches',
				 'create_queue', 'drop_queue', 'set_error_code',
				 'register_eraser', 'drop_eraser']::name[];
COMMENT ON FUNCTION eventsource.admin_functions() IS
	'Private: functions that grant_admin adds to what a writer may call.';

CREATE FUNCTION eventsource.eraser_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
	RETURN ARRAY['request_erasure', 'close_erasure_request', 'erase_subject', 'revert_erasure', 'subject_events',
				 'export_subject', 'subject_rows', 'subject_tracked_rows', 'scrub_statements']::name[];
COMMENT ON FUNCTION eventsource.eraser_functions() IS
	'Private: functions that grant_eraser adds to what a reader may call; each mode is a right besides.';

CREATE FUNCTION eventsource.owner_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
	RETURN ARRAY['grant_reader', 'grant_writer', 'grant_admin', 'grant_eraser', 'grant_personal_data',
				 'revoke_reader', 'revoke_writer', 'revoke_admin', 'revoke_eraser', 'revoke_personal_data',
				 'reads_all_categories', 'writes_all_categories', 'set_category_rights', 'add_categories',
				 'take_categories', 'grant_functions', 'grant_doors', 'reader_functions',
				 'whole_log_functions', 'whole_log_views', 'personal_data', 'allow_maintenance', 'drop_append_only', 'renew_manifest',
				 'may_erase_softly', 'may_anonymize', 'may_erase_hard', 'forget_scrubs',
				 'writer_functions', 'admin_functions', 'eraser_functions', 'owner_functions']::name[];
COMMENT ON FUNCTION eventsource.owner_functions() IS
	'Private: functions that no list of rights gives: for the owner, and those whose EXECUTE is a right that is granted by itself.';

CREATE FUNCTION eventsource.whole_log_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
	RETURN ARRAY['verify_log', 'export_log', 'random_streams']::name[];
COMMENT ON FUNCTION eventsource.whole_log_functions() IS
	'Private: reading functions that cannot show some categories alone: for readers of all.';

CREATE FUNCTION eventsource.whole_log_views() RETURNS name[]
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
	RETURN ARRAY['erased_subjects', 'holds']::name[];
COMMENT ON FUNCTION eventsource.whole_log_views() IS
	'Private: views that cannot show some categories alone: for readers of all.';

CREATE FUNCTION eventsource.reader_functions() RETURNS name[]
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	RETURN (SELECT array_agg(DISTINCT p.proname) FROM pg_proc p
			 WHERE p.pronamespace = 'eventsource'::regnamespace
			   AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
			   AND p.proname <> ALL (eventsource.writer_functions() || eventsource.admin_functions()
									 || eventsource.eraser_functions() || eventsource.owner_functions()
									 || eventsource.whole_log_functions()));
COMMENT ON FUNCTION eventsource.reader_functions() IS
	'Private: functions that every reader may call; what is in none of the other lists.';

REVOKE ALL ON ALL TABLES IN SCHEMA eventsource FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA eventsource FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA eventsource FROM PUBLIC;
REVOKE ALL ON SCHEMA eventsource FROM PUBLIC;

-- Nor to those whom default privileges of the installing role favour.
DO $$
DECLARE
	r name;
BEGIN
	FOR r IN SELECT DISTINCT pg_catalog.pg_get_userbyid(a.grantee)
			   FROM (SELECT c.relacl, c.relowner FROM pg_catalog.pg_class c
					  WHERE c.relnamespace = 'eventsource'::pg_catalog.regnamespace
					 UNION ALL
					 SELECT p.proacl, p.proowner FROM pg_catalog.pg_proc p
					  WHERE p.pronamespace = 'eventsource'::pg_catalog.regnamespace
					 UNION ALL
					 SELECT n.nspacl, n.nspowner FROM pg_catalog.pg_namespace n WHERE n.nspname = 'eventsource') o (acl, owner)
			  CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) a
			  WHERE a.grantee <> o.owner AND a.grantee <> 0 LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON ALL TABLES IN SCHEMA eventsource FROM %I', r);
		EXECUTE pg_catalog.format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA eventsource FROM %I', r);
		EXECUTE pg_catalog.format('REVOKE ALL ON ALL ROUTINES IN SCHEMA eventsource FROM %I', r);
		EXECUTE pg_catalog.format('REVOKE ALL ON SCHEMA eventsource FROM %I', r);
	END LOOP;
END
$$;

-- Last of all: what has been made. Until the log is opened the owner may insert.
INSERT INTO eventsource.manifest (kind, name, major, digest)
SELECT m.kind, m.name, pg_catalog.current_setting('server_version_num')::integer / 10000, m.digest
  FROM eventsource.manifest_now() m;
