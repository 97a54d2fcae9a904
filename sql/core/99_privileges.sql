-- Nothing is granted to PUBLIC; these hand out rights. Each calls the one before
-- it, so that grant_reader checks for all whether the caller may grant: GRANT
-- itself would only warn, once for every object.

CREATE FUNCTION eventsource.grant_reader(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	f regprocedure;
	v regclass;
	owner regrole := (SELECT e.extowner FROM pg_extension e WHERE e.extname = 'eventsource');
BEGIN
	IF NOT pg_has_role(owner, 'USAGE') THEN
		RAISE insufficient_privilege USING
			MESSAGE = 'permission denied to grant rights on the event store',
			DETAIL = format('Role %I does not have the rights of %s, the owner of the extension.', current_user, owner),
			HINT = 'Let the owner or a superuser call this function.';
	END IF;
	EXECUTE format('GRANT USAGE ON SCHEMA eventsource TO %s', role);
	FOR v IN SELECT c.oid FROM pg_class c
			  WHERE c.relnamespace = 'eventsource'::regnamespace AND c.relkind = 'v' LOOP
		EXECUTE format('GRANT SELECT ON %s TO %s', v, role);
	END LOOP;
	FOR f IN SELECT p.oid FROM pg_proc p
			  WHERE p.pronamespace = 'eventsource'::regnamespace AND p.prorettype <> ALL (ARRAY['trigger', 'event_trigger']::regtype[])
				AND p.proname <> ALL (eventsource.writer_functions() || eventsource.admin_functions()
									  || eventsource.eraser_functions() || eventsource.owner_functions()) LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %s', f, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION eventsource.grant_reader(regrole) IS
	'Lets a role read: all views and reading functions. For the owner of the extension and superusers. Errors: 42501.';

CREATE FUNCTION eventsource.grant_writer(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	f regprocedure;
BEGIN
	PERFORM eventsource.grant_reader(role);
	EXECUTE format('GRANT INSERT ON eventsource.events TO %s', role);
	FOR f IN SELECT p.oid FROM pg_proc p
			  WHERE p.pronamespace = 'eventsource'::regnamespace AND p.proname = ANY (eventsource.writer_functions()) LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %s', f, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION eventsource.grant_writer(regrole) IS
	'Lets a role append, and read. For the owner of the extension and superusers. Errors: 42501.';

CREATE FUNCTION eventsource.grant_admin(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	f regprocedure;
BEGIN
	PERFORM eventsource.grant_writer(role);
	FOR f IN SELECT p.oid FROM pg_proc p
			  WHERE p.pronamespace = 'eventsource'::regnamespace AND p.proname = ANY (eventsource.admin_functions()) LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %s', f, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION eventsource.grant_admin(regrole) IS
	'Lets a role define categories, state machines, event types, projections and all the rest, append, and read; not grant these rights to others. For the owner of the extension and superusers. Errors: 42501.';

CREATE FUNCTION eventsource.writer_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
	RETURN ARRAY['append', 'append_events', 'lock_stream', 'correct_event', 'void_event']::name[];
COMMENT ON FUNCTION eventsource.writer_functions() IS
	'Private: functions that grant_writer adds to what a reader may call.';

CREATE FUNCTION eventsource.admin_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
	RETURN ARRAY['create_state_machine', 'create_category', 'register_event_type', 'withdraw_event_type',
				 'create_upcaster', 'drop_upcaster',
				 'create_projection', 'drop_projection', 'create_masked_view', 'make_append_only',
				 'track_table', 'untrack_table', 'backfill', 'backfill_in_batches',
				 'seal', 'rebuild_projection', 'set_snapshot_policy', 'drop_snapshots', 'publish_watermark',
				 'run_projections', 'resume_projection',
				 'create_handler', 'drop_handler', 'resume_handler',
				 'create_subscription', 'drop_subscription', 'reset_subscription',
				 'copy_category', 'copy_category_in_batches', 'drop_category_copy',
				 'set_retention', 'hold', 'release_hold', 'archive_due',
				 'register_eraser', 'drop_eraser']::name[];
COMMENT ON FUNCTION eventsource.admin_functions() IS
	'Private: functions that grant_admin adds to what a writer may call.';

CREATE FUNCTION eventsource.eraser_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
	RETURN ARRAY['request_erasure', 'erase_subject', 'revert_erasure', 'subject_events', 'export_subject',
				 'scrub_statements']::name[];
COMMENT ON FUNCTION eventsource.eraser_functions() IS
	'Private: functions that grant_eraser adds to what a reader may call; each mode is a right besides.';

CREATE FUNCTION eventsource.owner_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
	RETURN ARRAY['grant_reader', 'grant_writer', 'grant_admin', 'grant_eraser',
				 'grant_personal_data', 'personal_data', 'allow_maintenance', 'drop_append_only', 'renew_manifest',
				 'may_erase_softly', 'may_anonymize', 'may_erase_hard',
				 'writer_functions', 'admin_functions', 'eraser_functions', 'owner_functions']::name[];
COMMENT ON FUNCTION eventsource.owner_functions() IS
	'Private: functions that are granted to nobody.';

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
