-- Erasure: subjects whose data are gone, or hidden; src/trust/erase.c.

-- Marks of erased subjects, one per mode (1 soft, 2 anonymize, 3 hard). Rows are
-- inserted and deleted, never updated.
CREATE TABLE eventsource.erased (
	subject   text        COLLATE "C" NOT NULL,
	mode      smallint    NOT NULL,
	marked_at timestamptz NOT NULL,
	CONSTRAINT erased_pkey PRIMARY KEY (subject, mode)
) USING heap;
COMMENT ON TABLE eventsource.erased IS 'Private: subjects that are erased, and how. Read the view eventsource.erased_subjects.';
SELECT pg_catalog.pg_extension_config_dump('eventsource.erased', '');

-- Tables that held what was erased, or pruned, with the number of the file that they had then:
-- old versions of rows stay in it until the table is written anew. Not dumped, as a
-- copy has none.
CREATE TABLE eventsource.scrub (
	relid     oid         NOT NULL,
	filenode  bigint      NOT NULL,
	erased_at timestamptz NOT NULL
) USING heap;
COMMENT ON TABLE eventsource.scrub IS 'Private: tables that erasures and retention have touched. Not dumped. Read the view eventsource.scrubs_due.';

CREATE FUNCTION eventsource.scrub_is_due(relid oid, filenode bigint, taken_by xid) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_scrub_is_due' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.scrub_is_due(oid, bigint, xid) IS
	'Private, for a view: false once a table is gone, or was written anew without what that transaction took away.';

CREATE FUNCTION eventsource.forget_scrubs() RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_forget_scrubs' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.forget_scrubs() IS
	'Private, run by scrub_statements(): takes away the notes of tables that were written anew. Returns how many.';

CREATE VIEW eventsource.scrubs_due AS
SELECT pg_catalog.format('%I.%I', n.nspname, k.relname) AS table_name,
	   min(s.erased_at) AS erased_at,
	   pg_catalog.min(pg_catalog.age(s.xmin)) AS age
  FROM eventsource.scrub s
  JOIN pg_catalog.pg_class k ON k.oid = s.relid
  JOIN pg_catalog.pg_namespace n ON n.oid = k.relnamespace
 WHERE eventsource.scrub_is_due(s.relid, s.filenode, s.xmin)
 GROUP BY n.nspname, k.relname;
COMMENT ON VIEW eventsource.scrubs_due IS 'Tables whose files still hold what was erased or pruned: see scrub_statements().';
COMMENT ON COLUMN eventsource.scrubs_due.table_name IS 'The table, with its schema.';
COMMENT ON COLUMN eventsource.scrubs_due.erased_at IS 'When something was taken away from it first that is in its file still.';
COMMENT ON COLUMN eventsource.scrubs_due.age IS 'How many transactions ago the last one did.';

-- Whoever may still see what was there keeps VACUUM from leaving it out; who is in
-- another database sees nothing of this one (NULL: in none, as a replica's sender).
CREATE FUNCTION eventsource.scrub_statements() RETURNS SETOF text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	youngest integer := (SELECT min(d.age) FROM eventsource.scrubs_due d);
	holder text;
BEGIN
	IF youngest IS NULL THEN
		RETURN;
	END IF;
	SELECT h.what INTO holder
	  FROM (SELECT format('session %s', a.pid) AS what, age(a.backend_xmin) AS age FROM pg_stat_activity a
		   WHERE a.pid <> pg_backend_pid() AND coalesce(a.datname = current_database(), true)
			UNION ALL SELECT format('prepared transaction %L', p.gid), age(p.transaction) FROM pg_prepared_xacts p
					   WHERE p.database = current_database()
			UNION ALL SELECT format('replication slot %L', r.slot_name), greatest(age(r.xmin), age(r.catalog_xmin)) FROM pg_replication_slots r) h
	 WHERE h.age >= youngest
	 ORDER BY h.age DESC LIMIT 1;
	IF holder IS NOT NULL THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = 'what was erased can still be seen',
			DETAIL = format('By %s, whose snapshot is older than an erasure: a table written anew now would keep it.', holder),
			HINT = 'Try again when that has ended.';
	END IF;
	-- Statistics first: ANALYZE would leave those of a table that is empty now, and
	-- those of the log as a whole are not made with a segment's.
	RETURN QUERY SELECT format(
		'DELETE FROM pg_catalog.pg_statistic WHERE starelid IN (SELECT %1$L::regclass UNION ALL SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid = %1$L::regclass)',
		t.name)
				   FROM (SELECT d.table_name AS name FROM eventsource.scrubs_due d UNION ALL SELECT 'eventsource.event') t ORDER BY t.name;
	RETURN QUERY SELECT format(
		'DELETE FROM pg_catalog.pg_statistic_ext_data WHERE stxoid IN (SELECT oid FROM pg_catalog.pg_statistic_ext WHERE stxrelid = %L::regclass)',
		d.table_name)
				   FROM eventsource.scrubs_due d ORDER BY d.table_name;
	RETURN QUERY SELECT format('VACUUM (FULL, ANALYZE) %s', d.table_name) FROM eventsource.scrubs_due d ORDER BY d.table_name;
	RETURN NEXT 'VACUUM (FULL) pg_catalog.pg_statistic';
	RETURN NEXT 'VACUUM (FULL) pg_catalog.pg_statistic_ext_data';
	RETURN NEXT 'DO $do$ BEGIN PERFORM eventsource.forget_scrubs(); END $do$';
	RETURN NEXT 'CHECKPOINT';
END
$$;
COMMENT ON FUNCTION eventsource.scrub_statements() IS
	'What is to be run, by a superuser, so that no file of the database holds what was erased: in psql, SELECT eventsource.scrub_statements() \gexec. Each table is locked while it is written anew. No rows: nothing is due. Nothing is said of WAL, its archive, replicas before they have replayed it, and backups. Errors: 55000 if a transaction, prepared or not, or a replication slot can still see it.';

-- Three rights: to execute these.
CREATE FUNCTION eventsource.may_erase_softly() RETURNS boolean
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp RETURN true;
CREATE FUNCTION eventsource.may_anonymize() RETURNS boolean
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp RETURN true;
CREATE FUNCTION eventsource.may_erase_hard() RETURNS boolean
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp RETURN true;
COMMENT ON FUNCTION eventsource.may_erase_softly() IS 'Private: who may execute it may erase in mode soft, and revert that. See grant_eraser().';
COMMENT ON FUNCTION eventsource.may_anonymize() IS 'Private: who may execute it may erase in mode anonymize. See grant_eraser().';
COMMENT ON FUNCTION eventsource.may_erase_hard() IS 'Private: who may execute it may erase in mode hard. See grant_eraser().';

CREATE FUNCTION eventsource.request_erasure(
	subject text, mode text DEFAULT 'anonymize', reason text DEFAULT 'gdpr-request', actor text DEFAULT NULL,
	deadline interval DEFAULT '1 month') RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_request_erasure' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.request_erasure(text, text, text, text, interval) IS
	'Opens a case: records that a subject is to be erased in this mode (soft, anonymize, hard), why, and within what time. Nothing is erased yet. Returns the position of the event. The view erasure_requests lists cases. Errors: 55000 if it is erased so already, or requested; 22004 for a missing subject, mode, reason or deadline; 22023 unknown mode; 42939 for a subject that begins with $.';

CREATE FUNCTION eventsource.close_erasure_request(subject text, reason text, actor text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_close_erasure_request' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.close_erasure_request(text, text, text) IS
	'Ends what was requested about a subject though it was not done: nothing is known about it, it was withdrawn, the law says otherwise. All requests about it that are open are closed, past their deadlines or not; nothing is erased, and another may follow. Returns the position of the event, which says why and who. Errors: 55000 if none is open; 22004 for a missing subject or reason; 42939 for a subject that begins with $.';

CREATE FUNCTION eventsource.erase_subject(subject text, mode text, reason text, actor text DEFAULT NULL)
	RETURNS TABLE (target text, affected bigint)
	AS 'MODULE_PATHNAME', 'eventsource_erase_subject' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.erase_subject(text, text, text, text) IS
	'Erases what is known about a subject, in this transaction: soft hides it and can be reverted, anonymize replaces personal fields for good, hard takes their events'' data and metadata as well, leaving tombstones (version, type, states, hash). Projection rows are folded anew from what is left; no event about the subject is recorded afterwards (ZE009). Waits for transactions that have appended; call it once in a transaction. One row for each target: how much was cleared. Errors: 42501 without the right to this mode (grant_eraser), 55000 if it is erased so already, P0002 if nothing is known about it, 0A000 above READ COMMITTED, 40P01 if a transaction it waits for waits for this one, 22004, 22023, 42939; what a registered eraser or a constraint of a projection raises.';

CREATE FUNCTION eventsource.revert_erasure(subject text, reason text, actor text DEFAULT NULL)
	RETURNS TABLE (target text, affected bigint)
	AS 'MODULE_PATHNAME', 'eventsource_revert_erasure' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.revert_erasure(text, text, text) IS
	'Restores a subject that was erased in mode soft: what was hidden is there again, and events about it can be recorded. Errors: 55000 if it is not erased, or in another mode; 42501, 0A000, 22004, 42939.';

CREATE FUNCTION eventsource.register_eraser(eraser regprocedure) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_register_eraser' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.register_eraser(regprocedure) IS
	'Has a function f(subject text, mode text) RETURNS bigint take part whenever a subject is erased (soft ones too; not when that is reverted), in the same transaction and with your rights: it clears what is kept elsewhere and returns how much. What it appends about the subject is erased with the rest. Returns the version of the definition. Errors: 42883 for a function of another kind, 42501 if you may not execute it.';

CREATE FUNCTION eventsource.drop_eraser(eraser text) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_drop_eraser' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.drop_eraser(text) IS
	'A registered eraser takes part no more; named as for register_eraser(), or as the view erasers has it, if the function is gone. Errors: 42704.';

CREATE FUNCTION eventsource.subject_events(subject text) RETURNS SETOF bigint
	AS 'MODULE_PATHNAME', 'eventsource_subject_events' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.subject_events(text) IS
	'Positions of all events about a subject, in order. Goes through the whole log.';

CREATE VIEW eventsource.erased_subjects AS
SELECT e.subject,
	   (ARRAY['soft', 'anonymize', 'hard'])[max(e.mode)] AS mode,
	   max(e.marked_at) AS erased_at
  FROM eventsource.erased e
 GROUP BY e.subject;
COMMENT ON VIEW eventsource.erased_subjects IS 'Subjects that are erased: appending to them is ZE009.';
COMMENT ON COLUMN eventsource.erased_subjects.subject IS 'Its name, as events have it.';
COMMENT ON COLUMN eventsource.erased_subjects.mode IS 'soft, anonymize or hard: the strongest so far.';
COMMENT ON COLUMN eventsource.erased_subjects.erased_at IS 'When that was done.';

-- Events about erasures, found by the names of their streams; what follows reads it, too.
CREATE VIEW eventsource.erasures AS
SELECT e.position,
	   e.subject,
	   t.word AS type,
	   e.data - 'left' AS data,
	   r.word AS reason,
	   a.word AS actor,
	   e.recorded_at
  FROM eventsource.stream s
  JOIN eventsource.event e ON e.stream = s.id
  LEFT JOIN eventsource.word t ON t.id = e.type
  LEFT JOIN eventsource.word r ON r.id = e.reason
  LEFT JOIN eventsource.word a ON a.id = e.actor
 WHERE s.name >= '$erasure-' AND s.name < '$erasure.' AND eventsource.may_read_categories(NULL);
COMMENT ON VIEW eventsource.erasures IS
	'What was recorded about erasures: events of the category $erasure, none of which holds personal data but the subject''s name.';
COMMENT ON COLUMN eventsource.erasures.position IS 'Position of the event.';
COMMENT ON COLUMN eventsource.erasures.subject IS 'Whom it is about.';
COMMENT ON COLUMN eventsource.erasures.type IS
	'erasure_requested, erasure_closed, erasure_completed or erasure_reverted; erasure_part before a completion that one event could not hold.';
COMMENT ON COLUMN eventsource.erasures.data IS
	'Of a request: mode, deadline. Of one that was closed: mode, request (its position). Of a completion: mode, found (events about the subject), upto (the last one''s position), request (position of the one it meets), targets (name: how much was cleared).';
COMMENT ON COLUMN eventsource.erasures.reason IS 'Why.';
COMMENT ON COLUMN eventsource.erasures.actor IS 'Who asked for it, or did it.';
COMMENT ON COLUMN eventsource.erasures.recorded_at IS 'When.';

-- By a window, and not by asking for each request anew: there may be many.
CREATE VIEW eventsource.erasure_requests AS
SELECT q.position,
	   q.subject,
	   q.data ->> 'mode' AS mode,
	   q.reason,
	   q.actor,
	   q.recorded_at AS requested_at,
	   (q.data ->> 'deadline')::timestamptz AS deadline,
	   CASE WHEN c.position IS NOT NULL THEN 'completed'
			WHEN d.position IS NOT NULL THEN 'closed'
			WHEN (q.data ->> 'deadline')::timestamptz < clock_timestamp() THEN 'overdue'
			ELSE 'open' END AS status,
	   c.recorded_at AS completed_at,
	   c.data ->> 'mode' AS completed_mode,
	   d.recorded_at AS closed_at,
	   a.word AS closed_by,
	   r.word AS closing_reason
  FROM (SELECT e.*,
			   CASE e.data ->> 'mode'
				   WHEN 'soft' THEN min(e.position) FILTER (WHERE e.type = 'erasure_completed') OVER w
				   WHEN 'anonymize' THEN min(e.position) FILTER (WHERE e.type = 'erasure_completed' AND e.data ->> 'mode' <> 'soft') OVER w
				   ELSE min(e.position) FILTER (WHERE e.type = 'erasure_completed' AND e.data ->> 'mode' = 'hard') OVER w END AS met_at,
			   min(e.position) FILTER (WHERE e.type = 'erasure_closed') OVER w AS closed_at
		  FROM eventsource.erasures e
		WINDOW w AS (PARTITION BY e.subject ORDER BY e.position ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)) q
  LEFT JOIN eventsource.event c ON c.position = q.met_at AND q.met_at = least(q.met_at, q.closed_at)
  LEFT JOIN eventsource.event d ON d.position = q.closed_at AND q.closed_at = least(q.met_at, q.closed_at)
  LEFT JOIN eventsource.word a ON a.id = d.actor
  LEFT JOIN eventsource.word r ON r.id = d.reason
 WHERE q.type = 'erasure_requested' AND eventsource.may_read_categories(NULL);
COMMENT ON VIEW eventsource.erasure_requests IS 'Cases: requests to erase a subject, and whether they were met, or closed.';
COMMENT ON COLUMN eventsource.erasure_requests.position IS 'Position of the request.';
COMMENT ON COLUMN eventsource.erasure_requests.subject IS 'Who is to be erased.';
COMMENT ON COLUMN eventsource.erasure_requests.mode IS 'How: soft, anonymize or hard.';
COMMENT ON COLUMN eventsource.erasure_requests.reason IS 'Why.';
COMMENT ON COLUMN eventsource.erasure_requests.actor IS 'Who asked for it.';
COMMENT ON COLUMN eventsource.erasure_requests.requested_at IS 'When.';
COMMENT ON COLUMN eventsource.erasure_requests.deadline IS 'Until when it is to be done.';
COMMENT ON COLUMN eventsource.erasure_requests.status IS 'open, overdue (open, past its deadline), completed or closed.';
COMMENT ON COLUMN eventsource.erasure_requests.completed_at IS 'When it was done; NULL if it was not.';
COMMENT ON COLUMN eventsource.erasure_requests.completed_mode IS 'How it was done: as strongly as was asked for, or more so.';
COMMENT ON COLUMN eventsource.erasure_requests.closed_at IS 'When it was closed without being met; NULL if it was not.';
COMMENT ON COLUMN eventsource.erasure_requests.closed_by IS 'Who closed it.';
COMMENT ON COLUMN eventsource.erasure_requests.closing_reason IS 'Why.';

CREATE FUNCTION eventsource.erasure_report(subject text)
	RETURNS TABLE (event_position bigint, what text, mode text, target text, affected bigint, reason text, actor text, recorded_at timestamptz)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT e.position, e.type, e.data ->> 'mode', t.key, t.value::bigint, e.reason, e.actor, e.recorded_at
  FROM eventsource.erasures e
  LEFT JOIN LATERAL jsonb_each_text(e.data -> 'targets') t ON true
 WHERE e.subject = erasure_report.subject AND e.type <> 'erasure_part'
 ORDER BY e.position, t.key COLLATE "C"
$$;
COMMENT ON FUNCTION eventsource.erasure_report(text) IS
	'All that was asked for and done to erase a subject, in order: one row for each target of an erasure, or of its reversal, with how much was cleared there; one for a request, or its closing.';

CREATE FUNCTION eventsource.eraser_definitions()
	RETURNS TABLE (name text, version bigint, event_position bigint, definition jsonb)
	AS 'MODULE_PATHNAME', 'eventsource_eraser_definitions' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.eraser_definitions() IS
	'Private, for views: the current definition of each eraser.';

-- Streams that a subject's events are in, which the caller has found.
CREATE FUNCTION eventsource.subject_rows(subject text, streams text[])
	RETURNS TABLE (target regclass, row_key jsonb, is_shared boolean, row_data jsonb, withheld text)
	AS 'MODULE_PATHNAME', 'eventsource_subject_rows' LANGUAGE C STABLE STRICT PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.subject_rows(text, text[]) IS
	'Private, for export_subject(): rows of projections that the subject''s events in these streams are in, by the rules of now; personal columns masked to who may not see personal data. withheld: why row_data is NULL.';

CREATE FUNCTION eventsource.subject_tracked_rows(subject text, streams text[])
	RETURNS TABLE (target regclass, stream text, row_data jsonb, withheld text)
	AS 'MODULE_PATHNAME', 'eventsource_subject_tracked_rows' LANGUAGE C STABLE STRICT PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.subject_tracked_rows(text, text[]) IS
	'Private, for export_subject(): rows of tracked tables whose streams these are and that were about the subject when they were captured last; personal columns masked to who may not see personal data. withheld: why row_data is NULL.';

-- Each member is of the targets of an erasure, or of where they lie: see
-- test/sql/export_subject.sql, which knows of every table.
CREATE FUNCTION eventsource.export_subject(subject text) RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
WITH event AS MATERIALIZED (
	SELECT e.* FROM eventsource.subject_events(export_subject.subject) p JOIN eventsource.events e ON e.position = p),
streams AS MATERIALIZED (
	SELECT coalesce(array_agg(DISTINCT e.stream), '{}') AS names FROM event e)
SELECT jsonb_build_object(
	'subject', export_subject.subject,
	'log', eventsource.log_id(),
	'erased', (SELECT s.mode FROM eventsource.erased_subjects s WHERE s.subject = export_subject.subject),
	'events', (SELECT coalesce(jsonb_agg(to_jsonb(e) - '{is_upcast}'::text[] ORDER BY e.position), '[]') FROM event e),
	'projection_rows', (SELECT coalesce(jsonb_agg(DISTINCT to_jsonb(r)), '[]')
						  FROM streams s, eventsource.subject_rows(export_subject.subject, s.names) r),
	'tracked_rows', (SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.stream), '[]')
					   FROM streams s, eventsource.subject_tracked_rows(export_subject.subject, s.names) r),
	'snapshots', (SELECT coalesce(jsonb_agg(to_jsonb(n) - 'row_data' ORDER BY n.stream, n.projection, n.version), '[]')
					FROM streams s, eventsource.snapshots n WHERE n.stream = ANY (s.names)),
	'parked_events', (SELECT coalesce(jsonb_agg(jsonb_build_object('subscription', k.subscription, 'position', k.position,
								'state', k.state, 'attempts', k.attempts, 'error', k.error, 'parked_at', k.parked_at)
								ORDER BY k.subscription, k.position), '[]')
						FROM eventsource.parked_events k WHERE k.position IN (SELECT e.position FROM event e)),
	'failures', (SELECT coalesce(jsonb_agg(jsonb_build_object('follower', f.name, 'position', f.failed_position,
						   'sqlstate', f.sqlstate, 'error', f.error, 'detail', f.detail) ORDER BY f.name, f.failed_position), '[]')
				   FROM (SELECT a.name, a.failed_position, a.sqlstate, a.error, a.detail FROM eventsource.follower_states() a
						 UNION ALL
						 SELECT b.subscription, b.failing_position, NULL, b.error, NULL FROM eventsource.subscription_partitions b) f
				  WHERE f.failed_position IN (SELECT e.position FROM event e)),
	'event_summaries', (SELECT coalesce(jsonb_agg(to_jsonb(m) - 'subject' ORDER BY m.category), '[]')
						  FROM eventsource.event_summaries m WHERE m.subject = export_subject.subject),
	'jobs', (SELECT coalesce(jsonb_agg(to_jsonb(j) - 'subject' ORDER BY j.job_id), '[]')
			   FROM streams s, eventsource.jobs j
			  WHERE j.subject = export_subject.subject OR j.stream = ANY (s.names || export_subject.subject)
					AND (j.subject IS NULL OR j.event_position IN (SELECT e.position FROM event e))),
	'holds', (SELECT coalesce(jsonb_agg(to_jsonb(h) ORDER BY h.placed_at, h.stream), '[]')
				FROM streams s, eventsource.holds h WHERE h.subject = export_subject.subject OR h.stream = ANY (s.names)),
	'requests', (SELECT coalesce(jsonb_agg(to_jsonb(q) - 'subject' ORDER BY q.position), '[]')
				   FROM eventsource.erasure_requests q WHERE q.subject = export_subject.subject),
	'erasures', (SELECT coalesce(jsonb_agg(to_jsonb(r) - 'subject' ORDER BY r.position), '[]')
				   FROM eventsource.erasures r WHERE r.subject = export_subject.subject),
	'elsewhere', (SELECT coalesce(jsonb_agg(d.name ORDER BY d.name COLLATE "C"), '[]') FROM eventsource.eraser_definitions() d))
$$;
COMMENT ON FUNCTION eventsource.export_subject(text) IS
	'All that the log holds about one subject, as one JSON document, with the fields that you may see: its events in order (idempotency keys and personal fields in them), the rows of projections and tracked tables that come from them, snapshots taken of their streams, events that are parked and errors about them, summaries of archived events, jobs, legal holds, requests and erasures; elsewhere: functions that clear what is kept where the log does not look. A row of others, too, is named by its key alone, and what you have no SELECT on is said to be there (withheld). Goes through the whole log.';

CREATE VIEW eventsource.erasers AS
SELECT d.name AS eraser, d.version, d.definition ->> 'owner' AS owner
  FROM eventsource.eraser_definitions() d;
COMMENT ON VIEW eventsource.erasers IS 'Functions of users that take part when a subject is erased.';
COMMENT ON COLUMN eventsource.erasers.eraser IS 'The function.';
COMMENT ON COLUMN eventsource.erasers.version IS 'Version of the definition.';
COMMENT ON COLUMN eventsource.erasers.owner IS 'Role whose rights it has.';

CREATE FUNCTION eventsource.grant_eraser(role regrole, modes text[]) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	mode text;
BEGIN
	PERFORM eventsource.grant_reader(role);
	PERFORM eventsource.grant_functions(role, eventsource.eraser_functions());
	FOREACH mode IN ARRAY modes LOOP
		IF mode IS NULL OR mode <> ALL ('{soft,anonymize,hard}') THEN
			RAISE invalid_parameter_value USING
				MESSAGE = format('unknown mode %s', coalesce(quote_literal(mode), 'null')),
				DETAIL = 'Modes are soft, anonymize and hard.',
				HINT = format('SELECT eventsource.grant_eraser(%L, ''{soft,anonymize}'')', role);
		END IF;
		EXECUTE format('GRANT EXECUTE ON FUNCTION eventsource.%I() TO %s',
					   CASE mode WHEN 'soft' THEN 'may_erase_softly' WHEN 'anonymize' THEN 'may_anonymize' ELSE 'may_erase_hard' END, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION eventsource.grant_eraser(regrole, text[]) IS
	'Lets a role erase subjects in these modes (soft, anonymize, hard: each is a right of its own), request that, export a subject, and read. For the owner of the extension and superusers. Errors: 42501, 22023.';
