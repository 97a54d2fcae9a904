\set ECHO none
-- Readers and writers who are limited to categories: what each door shows, and to whom.
-- What they read is committed, so it is in a database of its own.
\set QUIET on
SELECT current_database() AS home \gset
CREATE DATABASE category_rights;
\c category_rights
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION eventsource;
\i test/helpers.sql
-- What is archived, and what is gone from there.
SET eventsource.segment_size = 100;
SELECT count(eventsource.set_retention(c, '0', '0', 'disposable', audit_types => '{kept}')) AS done FROM unnest('{olda,oldb}'::text[]) c \gset
SELECT count(eventsource.append(format('old%s-%s', substr('ab', n % 2 + 1, 1), n % 6), CASE WHEN n % 17 = 16 THEN 'kept' ELSE 'seen' END, jsonb_build_object('n', n))) AS done FROM generate_series(1, 120) n \gset
SELECT eventsource.seal() AS done \gset
SELECT count(*) AS done FROM eventsource.archive_due() \gset
SELECT eventsource.create_state_machine('cr', '{"initial": "OPEN", "states": {"OPEN": {"on": {"shut": "SHUT"}}, "SHUT": {"on": {"open": "OPEN"}}}}') AS done \gset
SELECT count(eventsource.create_category(c, state_machine => 'cr')) AS done FROM unnest('{cra,crb,crc,crd}'::text[]) c \gset
SELECT count(eventsource.set_snapshot_policy(c, 2)) AS done FROM unnest('{cra,crb}'::text[]) c \gset
SELECT count(eventsource.append(format('%s-%s', c, k), CASE n % 2 WHEN 0 THEN 'open' ELSE 'shut' END, jsonb_build_object('secret', c || k || n),
		metadata => jsonb_build_object('correlation_id', 'cr' || k), idempotency_key => n::text)) AS done
  FROM generate_series(1, 3) n, unnest('{cra,crb,crc,crd}'::text[]) c, generate_series(1, 2) k \gset
SELECT count(eventsource.append(e.category || '-9', 'shut', '{}', metadata => jsonb_build_object('causation_id', e.position::text))) AS done
  FROM (SELECT category, position FROM eventsource.events WHERE stream IN ('cra-1', 'crb-1') AND version = 1) e \gset
SELECT count(eventsource.append('crb-8', 'shut', '{}', metadata => jsonb_build_object('causation_id', e.position::text))) AS done
  FROM (SELECT position FROM eventsource.events WHERE stream = 'cra-1' AND version = 1) e \gset
SELECT count(eventsource.correct_event(e.position, '{"secret": "corrected"}', 'typing_error', 'me')) AS done
  FROM (SELECT position FROM eventsource.events WHERE stream IN ('cra-2', 'crb-2') AND version = 1) e \gset
SELECT count(eventsource.void_event(e.position, 'mistake', 'me')) AS done
  FROM (SELECT position FROM eventsource.events WHERE stream IN ('cra-1', 'crb-1') AND version = 3) e \gset
-- Changes of rows that the machine forbids, and that were recorded.
SELECT eventsource.create_state_machine('vio', '{"create": {"made": "OPEN"}, "states": {"OPEN": {"on": {"shut": "SHUT"}}, "SHUT": {"type": "final"}}}') AS done \gset
CREATE TABLE vioa (id integer PRIMARY KEY, status text);
CREATE TABLE viob (LIKE vioa INCLUDING ALL);
SELECT count(eventsource.track_table(c::regclass, c, state_column => 'status', state_machine => 'vio', on_violation => 'record', event_types => '{"->OPEN": "made"}')) AS done FROM unnest('{vioa,viob}'::text[]) c \gset
INSERT INTO vioa VALUES (1, 'OPEN'), (2, 'odd');
INSERT INTO viob VALUES (1, 'SHUT'), (2, 'OPEN');
UPDATE viob SET status = 'odd';
SELECT count(eventsource.create_subscription(s, c, max_attempts => 1)) AS done
  FROM (VALUES ('cr_a', '{cra}'::text[]), ('cr_ab', '{cra,crb}'), ('cr_all', NULL)) s (s, c) \gset
SELECT count(eventsource.nack(s, (SELECT min(position) FROM eventsource.events WHERE category = 'cra'), 'bad cra')) AS done FROM unnest('{cr_a,cr_ab}'::text[]) s \gset

BEGIN;
SELECT plan(163);
SELECT eventsource.request_erasure('crb-7', 'hard', 'asked', actor => 'me') IS NULL AS done \gset

CREATE FUNCTION pg_temp.as_role(role text, command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	BEGIN
		EXECUTE command;
		RAISE 'undo' USING ERRCODE = 'ZZ999';
	EXCEPTION WHEN SQLSTATE 'ZZ999' THEN
		RESET ROLE;
		RETURN 'done';
	WHEN OTHERS THEN
		RESET ROLE;
		RETURN SQLSTATE;
	END;
END
$$;

-- ---- every door is known ----

CREATE ROLE cr_all;
CREATE ROLE cr_a;
SELECT eventsource.grant_reader('cr_all') IS NULL AS done \gset
SELECT eventsource.grant_reader('cr_a', '{cra}') IS NULL AS done \gset

-- filtered: shows rows of what one may read. named: refuses a category, stream or table that one may not.
-- definition: shows definitions. silent: tells of no event. totals: tells how many or how far, of all together.
CREATE TEMP TABLE door (kind text, name text COLLATE "C");
INSERT INTO door SELECT 'filtered', unnest('{events,outbox,streams,correlations,causations,corrections,transitions,state_periods,step,snapshots,
	violations,event_summaries,archived_events,pruned_streams,parked_events,subscriptions,subscription_partitions,category_copies,erasures,erasure_requests,
	read_all,stored_data,stream_head,corrected_state,read_data,verify_chain,verify_transitions,verify_upcasters,subscription_pending,
	erasure_report,inclusion_proof,event_catalog,catalog_example,catalog_category,catalog_type,catalog_users}'::text[]);
INSERT INTO door SELECT 'named', unnest('{read_stream,read_category,stream_version,event_marks,timeline,current_state,state_at,allowed_transitions,
	can_append,compare_machine,verify_projection,compare_projection,as_of,row_history,attribute_periods,replay,
	poll,ack,nack,redrive,redrive_all,discard,wait_for_events,expect_category,sample_projection}'::text[]);
INSERT INTO door SELECT 'definition', unnest('{state_machines,state_machine_transitions,state_machine_edges,state_machine_timeouts,state_machine_after,
	state_machine_diagram,reason_codes,categories,
	event_types,event_type_versions,upcasters,upcaster_list,projections,projection_definitions,handlers,handler_definitions,reactions,reaction_definitions,publications,publication_definitions,follower_states,
	subscription_definitions,tracked_tables,list_tracked_tables,category_copy_definitions,erasers,eraser_definitions,retention_policies,
	category_rights,category_rights_list,personal_columns,queues,queue_definitions,error_codes,error_code_list}'::text[]);
INSERT INTO door SELECT 'totals', unnest('{segments,feed,open_appenders,seals,checkpoint,consistency_proof,watermark,published_row,log_id,
	feed_lag,seal_lag,job_lag,health_jobs,health,health_status,metrics,health_feed,health_guards,health_segments,health_sample,health_worker,health_projections,
	health_subscriptions,health_parked,health_sealing,retention_lag,health_retention,health_erasure,cursor_of_projection,progress,progress_reports,workers,worker_slots,scrubs_due,check_guards,check_definitions,health_definitions,
	append_only_names,guards_of_all,guards_on_tables,guards_of_the_log,manifest_now,manifest_of_the_extension}'::text[]);
INSERT INTO door SELECT 'silent', unnest('{occurred_at,event_id,event_position,to_cloudevent,has_upcaster,has_upcaster_support,may_read_support,may_read_stream,may_read_category,may_read_categories,
	may_read_subscription,includes_synthetic,run_machine,run_machine_step,run_machine_result,jsonb_matches_schema,jsonschema_is_valid,
	jsonschema_validation_errors,schema_compatibility,sum_products,event_field,create_event_view,words,short_value,event_detail,markdown,markdown_code,
	markdown_block,position_by_trigger,schema_resolve,schema_type,schema_fields,schema_sample,catalog_edges,sees_personal_data,sample_key_type,hold_log,is_preloaded,expect_owner,expect_granter,scrub_is_due,
	window_funnel,window_funnel_step,window_funnel_combine,window_funnel_serialize,window_funnel_deserialize,window_funnel_result,
	state_agg,state_agg_step,state_agg_result,duration_in,state_timeline,into_values,interpolated_state_timeline,interpolated_state_periods,interpolated_duration_in}'::text[]);
-- Goes by the rights of a queue, not of a category.
INSERT INTO door SELECT 'queue', unnest('{enqueue,claim,complete,fail,heartbeat,jobs,dead_letters,queue_metrics,cancel_job,cancel_jobs,may_work_in,queue_attempts,has_rights_of_reaction,reads_everything,alerts,close_alert}'::text[]);
INSERT INTO door SELECT 'whole log', unnest('{verify_log,export_log,random_streams,erased_subjects,holds}'::text[]);

CREATE TEMP VIEW has AS
SELECT r.role, o.name
  FROM unnest('{cr_all,cr_a}'::name[]) r (role),
	   (SELECT c.oid, c.relname AS name, 'v' AS kind FROM pg_class c WHERE c.relnamespace = 'eventsource'::regnamespace AND c.relkind = 'v'
		UNION ALL SELECT p.oid, p.proname, 'f' FROM pg_proc p WHERE p.pronamespace = 'eventsource'::regnamespace) o
 WHERE CASE o.kind WHEN 'v' THEN has_table_privilege(r.role, o.oid, 'SELECT') ELSE has_function_privilege(r.role, o.oid, 'EXECUTE') END
   AND o.name NOT IN ('reads_all_categories');
SELECT is_empty($$ SELECT name FROM has WHERE role = 'cr_all' EXCEPT SELECT name::name FROM door $$,
	'every function and view of a reader is one whose relation to categories is declared here');
SELECT is_empty($$ SELECT name::name FROM door EXCEPT SELECT name FROM has WHERE role = 'cr_all' $$, 'and there is each that is declared');
SELECT is_empty($$ SELECT name::name FROM door WHERE kind <> 'whole log' EXCEPT SELECT name FROM has WHERE role = 'cr_a' $$, 'a limited reader has them, too');
SELECT is_empty($$ SELECT name::name FROM door WHERE kind = 'whole log' INTERSECT SELECT name FROM has WHERE role = 'cr_a' $$, 'but for those about the whole log');

-- ---- doors that show what one may read, against an oracle ----

CREATE TEMP TABLE shown (door text, query text);
INSERT INTO shown VALUES
	('events', $$ SELECT e::text, ARRAY[e.category] FROM eventsource.events e $$),
	('outbox', $$ SELECT e::text, ARRAY[e.aggregatetype] FROM eventsource.outbox e $$),
	('streams', $$ SELECT e::text, ARRAY[e.category] FROM eventsource.streams e $$),
	('correlations', $$ SELECT e::text, ARRAY[split_part(e.stream, '-', 1)] FROM eventsource.correlations e $$),
	('causations', $$ SELECT e::text, ARRAY[split_part(e.cause_stream, '-', 1), split_part(e.effect_stream, '-', 1)] FROM eventsource.causations e $$),
	('corrections', $$ SELECT e::text, ARRAY[split_part(e.stream, '-', 1)] FROM eventsource.corrections e $$),
	('transitions', $$ SELECT e::text, ARRAY[e.category] FROM eventsource.transitions e $$),
	('state_periods', $$ SELECT e::text, ARRAY[e.category] FROM eventsource.state_periods e $$),
	('step', $$ SELECT e::text, ARRAY[e.category] FROM eventsource.step e $$),
	('snapshots', $$ SELECT e::text, ARRAY[e.category] FROM eventsource.snapshots e $$),
	('event_summaries', $$ SELECT e::text, ARRAY[e.category] FROM eventsource.event_summaries e $$),
	('archived_events', $$ SELECT e::text, ARRAY[e.category] FROM eventsource.archived_events e $$),
	('pruned_streams', $$ SELECT e::text, ARRAY[e.category] FROM eventsource.pruned_streams e $$),
	('violations', $$ SELECT e::text, ARRAY[e.category] FROM eventsource.violations e $$),
	('parked_events', $$ SELECT e::text, ARRAY[e.category] FROM eventsource.parked_events e $$),
	('subscriptions', $$ SELECT e.name, e.category FROM eventsource.subscriptions e $$),
	('subscription_partitions', $$ SELECT e::text, CASE e.subscription WHEN 'cr_a' THEN '{cra}'::text[] WHEN 'cr_ab' THEN '{cra,crb}' END FROM eventsource.subscription_partitions e $$),
	('read_all', $$ SELECT e::text, ARRAY[e.category] FROM eventsource.read_all(0, NULL) e $$),
	('read_all, a few', $$ SELECT e::text, ARRAY[e.category] FROM eventsource.read_all((SELECT min(position) - 1 FROM every), 40) e $$),
	('stored_data', $$ SELECT p.position || ' ' || eventsource.stored_data(p.position), ARRAY[p.category] FROM every p WHERE eventsource.stored_data(p.position) IS NOT NULL $$),
	('stream_head', $$ SELECT p.id || ' ' || h::text, ARRAY[p.category] FROM every_stream p, eventsource.stream_head(p.id) h WHERE h.version IS NOT NULL $$),
	('corrected_state', $$ SELECT e.position::text, ARRAY[e.category] FROM every e JOIN every_stream p ON p.name = e.stream WHERE eventsource.corrected_state(p.id, e.position, -7, false) <> -7 $$),
	('subscription_pending', $$ SELECT p::text, s.categories FROM (VALUES ('cr_a', '{cra}'::text[]), ('cr_ab', '{cra,crb}')) s (name, categories), eventsource.subscription_pending(s.name, 0) p WHERE p.event_position IS NOT NULL $$);

CREATE TEMP TABLE every AS SELECT position, category, stream FROM eventsource.events WHERE category ~ '^(cr|old|vio).$';
CREATE TEMP TABLE every_stream AS SELECT s.id, s.name, split_part(s.name, '-', 1) AS category FROM eventsource.stream s WHERE s.name ~ '^(cr|old|vio).-';
CREATE TEMP TABLE truth (door text, shown text COLLATE "C", categories text[]);
GRANT SELECT ON every, every_stream, truth, shown TO PUBLIC;
DO $$
DECLARE
	s record;
BEGIN
	FOR s IN SELECT * FROM shown LOOP
		EXECUTE format('INSERT INTO truth SELECT %L, x.shown, x.categories FROM (%s) x (shown, categories) WHERE x.categories <@ %L::text[]',
					   s.door, s.query, '{cra,crb,crc,crd,olda,oldb,vioa,viob}');
	END LOOP;
END
$$;
SELECT is_empty($$ SELECT door FROM shown EXCEPT SELECT door FROM truth $$, 'each of these doors has something to show');

-- Roles, who is a member of whom, and what each was given: NULL, everything.
CREATE TEMP TABLE given (role name, category text);
CREATE FUNCTION pg_temp.throw(n integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	this text;
	inherits text;
BEGIN
	FOR i IN 1 .. 8 LOOP
		inherits := CASE WHEN random() < 0.15 THEN 'NOINHERIT' ELSE 'INHERIT' END;
		EXECUTE format('CREATE ROLE cr_%s_%s %s', n, i, inherits);
		FOR k IN 1 .. i - 1 LOOP
			IF random() < 0.25 THEN
				EXECUTE format('GRANT cr_%1$s_%2$s TO cr_%1$s_%3$s', n, k, i);
			END IF;
		END LOOP;
		-- So that it finds the schema, whatever it sees there.
		PERFORM eventsource.grant_doors(format('cr_%s_%s', n, i)::regrole);
		FOREACH this IN ARRAY '{cra,crb,crc,crd,olda,oldb,vioa,viob,NULL}'::text[] LOOP
			CONTINUE WHEN random() > CASE WHEN this IS NULL THEN 0.1 ELSE 0.3 END;
			PERFORM eventsource.grant_reader(format('cr_%s_%s', n, i)::regrole, CASE WHEN this IS NOT NULL THEN ARRAY[this] END);
			INSERT INTO given VALUES (format('cr_%s_%s', n, i), this);
		END LOOP;
		CONTINUE WHEN random() > 0.3;
		this := (ARRAY['cra', 'crb', 'crc'])[ceil(random() * 3)];
		PERFORM eventsource.revoke_reader(format('cr_%s_%s', n, i)::regrole, ARRAY[this]);
		PERFORM eventsource.grant_doors(format('cr_%s_%s', n, i)::regrole);
		DELETE FROM given g WHERE g.role = format('cr_%s_%s', n, i) AND g.category = this;
	END LOOP;
END
$$;
SET LOCAL client_min_messages = error;
SELECT setseed(0.42) IS NULL AS done \gset
SELECT count(pg_temp.throw(n)) AS done FROM generate_series(1, 2) n \gset
RESET client_min_messages;

CREATE TEMP TABLE found (role name, door text, shown text COLLATE "C");
GRANT INSERT ON found TO PUBLIC;
CREATE FUNCTION pg_temp.look(role name) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	s record;
	is_limited boolean := NOT has_function_privilege(role, 'eventsource.reads_all_categories()', 'EXECUTE');
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	FOR s IN SELECT * FROM shown LOOP
		EXECUTE format('INSERT INTO found SELECT %L, %L, x.shown FROM (%s) x (shown, categories) WHERE %L OR x.categories <@ %L::text[]',
					   role, s.door, s.query, is_limited, '{cra,crb,crc,crd,olda,oldb,vioa,viob}');
	END LOOP;
	RESET ROLE;
END
$$;
SELECT count(pg_temp.look(rolname)) AS done FROM pg_roles WHERE rolname ~ '^cr_\d_\d$' \gset

-- The oracle: plain SQL over what was given, and who inherits from whom.
CREATE TEMP VIEW may AS
WITH RECURSIVE has (role, of) AS (
	SELECT r.rolname, r.oid FROM pg_roles r WHERE r.rolname ~ '^cr_\d_\d$'
	UNION
	SELECT h.role, m.roleid FROM has h JOIN pg_auth_members m ON m.member = h.of JOIN pg_roles r ON r.oid = m.member AND r.rolinherit)
SELECT h.role, g.category FROM has h JOIN pg_roles r ON r.oid = h.of JOIN given g ON g.role = r.rolname;
CREATE TEMP VIEW expected AS
SELECT r.rolname AS role, t.door, t.shown FROM pg_roles r, truth t
 WHERE r.rolname ~ '^cr_\d_\d$'
   AND (EXISTS (SELECT FROM may m WHERE m.role = r.rolname AND m.category IS NULL)
		OR t.categories <@ ARRAY(SELECT m.category FROM may m WHERE m.role = r.rolname));
SELECT ok(count(DISTINCT categories) > 5, 'roles of many kinds were thrown')
  FROM (SELECT r.rolname, ARRAY(SELECT DISTINCT m.category FROM may m WHERE m.role = r.rolname ORDER BY 1) AS categories FROM pg_roles r WHERE r.rolname ~ '^cr_\d_\d$') x;
SELECT is_empty(format($$ SELECT * FROM (SELECT role, door, shown FROM found WHERE door = %1$L EXCEPT ALL SELECT role, door, shown FROM expected WHERE door = %1$L) x LIMIT 3 $$, door), door || ': nobody sees more')
  FROM shown WHERE door <> 'read_all, a few';
SELECT is_empty(format($$ SELECT * FROM (SELECT role, door, shown FROM expected WHERE door = %1$L EXCEPT ALL SELECT role, door, shown FROM found WHERE door = %1$L) x LIMIT 3 $$, door), door || ': nor less')
  FROM shown WHERE door <> 'read_all, a few';
SELECT is_empty($$ SELECT role, shown FROM found WHERE door = 'read_all, a few' EXCEPT SELECT role, shown FROM expected WHERE door = 'read_all' $$, 'read_all, a few: nobody sees more');
SELECT is_empty($$ SELECT r.rolname, (SELECT count(*) FROM found f WHERE f.role = r.rolname AND f.door = 'read_all, a few'), least(40, (SELECT count(*) FROM expected e WHERE e.role = r.rolname AND e.door = 'read_all'))
	FROM pg_roles r WHERE r.rolname ~ '^cr_\d_\d$' AND EXISTS (SELECT FROM may m WHERE m.role = r.rolname) AND NOT EXISTS (SELECT FROM may m WHERE m.role = r.rolname AND m.category IS NULL)
	AND (SELECT count(*) FROM found f WHERE f.role = r.rolname AND f.door = 'read_all, a few') <> least(40, (SELECT count(*) FROM expected e WHERE e.role = r.rolname AND e.door = 'read_all')) $$,
	'read_all, a few: as many as there are, up to max_count');
SELECT is_empty($$ SELECT r.rolname, c FROM pg_roles r, unnest('{cra,crb,crc,crd}'::text[]) c WHERE r.rolname ~ '^cr_\d_\d$'
	AND (pg_temp.as_role(r.rolname, format('SELECT * FROM eventsource.read_category(%L)', c)) = 'done')
		<> EXISTS (SELECT FROM may m WHERE m.role = r.rolname AND (m.category = c OR m.category IS NULL)) $$, 'read_category() refuses the others by name');

-- ---- doors that are asked for something by name ----

CREATE TABLE cr_view (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
CREATE TABLE cr_view_ab (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('cr_view', '{crb}', '{"*": "n = row.n + 1"}') AS done \gset
SELECT eventsource.create_projection('cr_view_ab', '{cra,crb}', '{"*": "n = row.n + 1"}', key => '{"key": "event.category"}', mode => 'async') AS done \gset
GRANT SELECT ON cr_view, cr_view_ab TO cr_a;
SELECT set_config('cr.b', (SELECT min(position)::text FROM every WHERE category = 'crb'), true) IS NULL AS done \gset
SELECT set_config('cr.a', (SELECT min(position)::text FROM every WHERE category = 'cra'), true) IS NULL AS done \gset
CREATE TEMP TABLE named (command text, refused text);
INSERT INTO named VALUES
	($$ SELECT * FROM eventsource.read_stream('%s-1') $$, '42501'),
	($$ SELECT * FROM eventsource.read_stream('%s-none') $$, '42501'),
	($$ SELECT * FROM eventsource.read_category('%s') $$, '42501'),
	($$ SELECT eventsource.stream_version('%s-1') $$, '42501'),
	($$ SELECT * FROM eventsource.event_marks('%s-1') $$, '42501'),
	($$ SELECT * FROM eventsource.timeline('%s-1') $$, '42501'),
	($$ SELECT eventsource.current_state('%s-1') $$, '42501'),
	($$ SELECT eventsource.state_at('%s-1', now()) $$, '42501'),
	($$ SELECT eventsource.state_at('%s-1', now(), 'occurred') $$, '42501'),
	($$ SELECT * FROM eventsource.allowed_transitions('%s-1') $$, '42501'),
	($$ SELECT * FROM eventsource.can_append('%s-1', 'open') $$, '42501'),
	($$ SELECT * FROM eventsource.compare_machine('%s', (SELECT definition FROM eventsource.state_machines WHERE name = 'cr')) $$, '42501'),
	($$ SELECT * FROM eventsource.verify_chain('%s-1') $$, '42501'),
	($$ SELECT * FROM eventsource.verify_transitions('%s-1') $$, '42501'),
	($$ SELECT * FROM eventsource.verify_upcasters(NULL, '%s') $$, '42501'),
	($$ SELECT * FROM eventsource.replay('%s-1') $$, '42501'),
	($$ SELECT eventsource.event_catalog('%s') $$, '42501'),
	($$ SELECT eventsource.expect_category('%s') $$, '42501');
SELECT is(pg_temp.as_role('cr_a', format(command, 'cra')) || ' ' || pg_temp.as_role('cr_a', format(command, 'crb')), 'done ' || refused, 'named:' || command) FROM named;
SELECT is(pg_temp.as_role('cr_a', command), '42501', 'made of a category that one may not read:' || command)
  FROM unnest(ARRAY[$$ SELECT * FROM eventsource.as_of(NULL::cr_view, 'infinity') $$,
					$$ SELECT * FROM eventsource.as_of(NULL::cr_view_ab, 'infinity') $$,
					$$ SELECT * FROM eventsource.row_history('cr_view', '1') $$,
					$$ SELECT * FROM eventsource.attribute_periods('cr_view', 'n') $$,
					$$ SELECT * FROM eventsource.replay('cra-1', target => 'cr_view_ab') $$,
					$$ SELECT * FROM eventsource.verify_projection('cr_view_ab') $$,
					$$ SELECT * FROM eventsource.compare_projection('cr_view', '{"*": "n = 1"}') $$,
					$$ SELECT * FROM eventsource.poll('cr_ab') $$,
					$$ SELECT * FROM eventsource.verify_log() $$,
					$$ SELECT * FROM eventsource.export_log() $$]) command;
SELECT is(pg_temp.as_role('cr_a', 'SELECT * FROM cr_view'), 'done', 'whereas the rows of a projection are for whom its owner lets read them');
SELECT is(pg_temp.as_role('cr_a', $$ SELECT eventsource.inclusion_proof(current_setting('cr.b')::bigint) $$), 'P0002', 'an event one may not read is not there, for a proof');
SELECT eventsource.seal() AS done \gset
SET LOCAL ROLE cr_a;
SELECT pg_temp.refuses('SELECT eventsource.inclusion_proof(' || current_setting('cr.' || c) || ', 0)', 'P0002',
	'no event at position ' || current_setting('cr.' || c) || ' is in the tree of 0 events', 'asked of a tree before it, ' || c) FROM unnest('{a,b}'::text[]) c;
SELECT alike(pg_temp.refusal('SELECT eventsource.inclusion_proof(' || current_setting('cr.b') || ', 0)'), '%There is no event at this position%', 'which does not tell of it either');
RESET ROLE;
SELECT is(pg_temp.as_role('cr_a', 'SELECT eventsource.event_catalog()'), 'done', 'the catalogue of all');
SELECT is(pg_temp.as_role('cr_a', format('SELECT * FROM eventsource.%I', name)), 'done', 'definitions: ' || name)
  FROM unnest('{state_machines,categories,event_types,projections,handlers,tracked_tables,retention_policies,upcasters}'::text[]) name;
SELECT is(pg_temp.as_role(role, format('SELECT 1 / count(*) FROM eventsource.%s', door)), state, role || ' asks who was erased: ' || door)
  FROM unnest('{erasures,erasure_report(''crb-7'')}'::text[]) door, (VALUES ('cr_all', 'done'), ('cr_a', '22012')) x (role, state);
SELECT is(pg_temp.as_role('cr_a', $$ SELECT * FROM eventsource.read_stream('$config-hold.x') $$), '42501', 'but not those that name streams or subjects');
SELECT is(pg_temp.as_role('cr_a', $$ SELECT 1 / (count(*) FILTER (WHERE status = 'unknown') = 0)::int FROM eventsource.health() $$), 'done', 'health() can look at everything');

-- ---- writers ----

CREATE ROLE cr_writer;
SELECT eventsource.grant_writer('cr_writer', '{cra}') IS NULL AS done \gset
SELECT eventsource.grant_reader('cr_writer', '{crc}') IS NULL AS done \gset
CREATE TEMP TABLE writing (command text);
INSERT INTO writing VALUES
	($$ SELECT eventsource.append('%s-1', 'shut') $$),
	($$ SELECT eventsource.append('%s-new', 'shut') $$),
	($$ SELECT eventsource.append_events('[{"stream": "%s-1", "type": "shut"}]') $$),
	($$ INSERT INTO eventsource.events (stream, type) VALUES ('%s-1', 'shut') $$),
	($$ SELECT eventsource.lock_stream('%s-1') $$);
SELECT is(pg_temp.as_role('cr_writer', format(command, 'cra')) || ' ' || pg_temp.as_role('cr_writer', format(command, 'crb')) || ' ' || pg_temp.as_role('cr_writer', format(command, 'crc')),
	'done 42501 42501', 'a limited writer:' || command) FROM writing;
SELECT is(pg_temp.as_role('cr_writer', $$ SELECT eventsource.append_events('[{"stream": "cra-1", "type": "shut"}, {"stream": "crb-1", "type": "shut"}]') $$), '42501', 'one event of another category refuses the batch');
SELECT is(pg_temp.as_role('cr_writer', format($$ SELECT eventsource.correct_event((SELECT min(position) FROM every WHERE category = %L), '{}', 'r', 'a') $$, c)), state, 'correcting an event of ' || c)
  FROM (VALUES ('cra', 'done'), ('crb', 'P0002'), ('crc', '42501')) x (c, state);
SELECT is(pg_temp.as_role('cr_writer', $$ SELECT eventsource.append('crb-1', 'shut', idempotency_key => '1') $$), '42501', 'keys of others cannot be tried');
SELECT is(pg_temp.as_role('cr_writer', $$ SELECT eventsource.append('crb-1', 'shut', expected_version => 77) $$), '42501', 'nor versions');
SET LOCAL ROLE cr_writer;
SELECT pg_temp.refuses($$ SELECT eventsource.append('crb-1', 'shut') $$, '42501', 'permission denied for category "crb"', 'it says so, and how to get the right');
RESET ROLE;

-- A rule that fails on what another category wrote into the row says nothing of it.
CREATE ROLE cr_sharer;
SELECT eventsource.grant_writer('cr_sharer', '{shared_a}') AS done \gset
CREATE TABLE cr_shared (key text PRIMARY KEY, n bigint CHECK (n < 100), said text UNIQUE, made bigint GENERATED ALWAYS AS (CASE n WHEN 99 THEN said::bigint END) STORED);
SELECT eventsource.create_projection('cr_shared', '{shared_a,shared_b}', '{"told": "n = (event.data->>''n'')::bigint, said = coalesce(event.data->>''said'', row.said)", "cast": "n = row.said::bigint"}',
	key => '{"key": "event.data->>''k''"}', mode => 'inline') AS done \gset
SELECT eventsource.append('shared_b-20', 'told', '{"k": "x", "said": "hidden"}') AS done \gset
CREATE FUNCTION pg_temp.refusal_of(role text, command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	result := pg_temp.refusal(command);
	RESET ROLE;
	RETURN result;
END
$$;
SELECT eventsource.append('shared_a-20', 'told', '{"k": "x"}') AS done \gset
SELECT is(pg_temp.refusal_of('cr_sharer', $$ SELECT eventsource.append('shared_a-20', 'cast', '{"k": "x"}') $$), E'22P02: a rule of a projection failed on what you may not see\n'
	'DETAIL: What the error says of values is told to who may see all that the row is made of.\nHINT: ', 'a rule that fails quotes no row of another category');
SELECT unalike(pg_temp.refusal_of('cr_sharer', format($$ SELECT eventsource.append('shared_a-21', 'told', %L) $$, data)), '%hidden%', 'nor does what fails as it is written: ' || data)
  FROM unnest(ARRAY['{"k": "x", "n": 99}', '{"k": "y", "said": "hidden"}', '{"k": "x", "n": 100}']) data;
SELECT eventsource.grant_reader('cr_sharer', '{shared_b}') AS done \gset
SELECT alike(pg_temp.refusal_of('cr_sharer', $$ SELECT eventsource.append('shared_a-20', 'cast', '{"k": "x"}') $$), '22P02: % bigint: "hidden"%', 'who may read both is told');
SELECT eventsource.revoke_reader('cr_sharer', '{shared_b}') AS done \gset

-- What a view calls may be called by hand, with a row that there never was.
SELECT count(eventsource.register_event_type(t, c, pii => jsonb_build_object('at', s))) AS done FROM (VALUES ('strict', 'shared_a', 'null'), ('loose', 'shared_a', 'mask_ip'), ('strict', 'shared_b', 'null')) x (t, c, s) \gset
SELECT count(eventsource.register_event_type(t, c, version => 2, pii => jsonb_build_object('at', s))) AS done FROM (VALUES ('strict', 'shared_a', 'null'), ('loose', 'shared_a', 'mask_ip'), ('strict', 'shared_b', 'null')) x (t, c, s) \gset
SELECT eventsource.create_upcaster('loose', 1, 2, 'event.data || jsonb_build_object(''of'', event.stream, ''by'', event.actor)', category => 'shared_a') AS done \gset
SELECT count(eventsource.append(c || '-30', t, '{"at": "10.9.8.7"}', schema_version => 1, actor => 'actor of ' || c)) AS done FROM (VALUES ('shared_a', 'strict'), ('shared_b', 'strict'), ('shared_a', 'loose')) x (c, t) \gset
CREATE FUNCTION pg_temp.by_hand(of text, as_stream text, as_actor text) RETURNS text LANGUAGE sql AS $$
	SELECT format('SELECT eventsource.read_data(%s, %s, %s, %s, 1::smallint, %s::smallint, %L, %L, %s, %s, %L, %L)', o.position, s.id, o.version,
				  (SELECT id FROM eventsource.word WHERE word = 'loose'), o.flags, o.data, o.metadata, (SELECT id FROM eventsource.word WHERE word = as_actor), o.recorded_by, o.recorded_at, o.extra)
	  FROM eventsource.event o JOIN eventsource.stream n ON n.id = o.stream, eventsource.stream s
	 WHERE n.name = of AND s.name = as_stream AND o.version = 1 $$;
CREATE FUNCTION pg_temp.result_of(role text, command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	EXECUTE command INTO result;
	RESET ROLE;
	RETURN result;
END
$$;
SELECT is(pg_temp.result_of(role, pg_temp.by_hand('shared_a-30', 'shared_a-30', 'actor of shared_a')), '{}', 'another type does not change how a field is masked: ' || role) FROM unnest('{cr_sharer,cr_all}'::text[]) role;
SELECT is(pg_temp.result_of('cr_sharer', pg_temp.by_hand(of, as_stream, as_actor)), '{}', 'nor does an upcaster tell a name: ' || of || ', ' || as_stream || ', ' || as_actor)
  FROM (VALUES ('shared_b-30', 'shared_a-30', 'actor of shared_a'), ('shared_a-30', 'shared_b-30', 'actor of shared_a'), ('shared_a-30', 'shared_a-30', 'actor of shared_b')) x (of, as_stream, as_actor);
SELECT is(pg_temp.result_of(role, $$ SELECT data::text FROM eventsource.events WHERE stream = 'shared_a-30' AND type = 'loose' $$), '{"at": "10.9.0.0", "by": "actor of shared_a", "of": "shared_a-30"}', 'whereas the view shows what there is: ' || role)
  FROM unnest('{cr_sharer,cr_all}'::text[]) role;

-- ---- conditions that leak ----

CREATE TEMP TABLE leaked (what text);
GRANT INSERT ON leaked TO PUBLIC;
CREATE FUNCTION public.cr_leak(anyelement) RETURNS boolean LANGUAGE plpgsql STRICT COST 0.0000001 AS $$
BEGIN
	RAISE NOTICE '%', $1;
	INSERT INTO pg_temp.leaked VALUES ($1::text);
	RETURN true;
END
$$;
CREATE OPERATOR public.<<<% (PROCEDURE = public.cr_leak, RIGHTARG = anyelement);
CREATE FUNCTION pg_temp.sql_events() RETURNS SETOF eventsource.events LANGUAGE sql STABLE AS 'SELECT * FROM eventsource.events';
CREATE VIEW cr_a_view AS SELECT * FROM eventsource.events;
GRANT SELECT ON cr_a_view TO cr_a;
SET LOCAL client_min_messages = warning;
CREATE TEMP TABLE attack (query text);
INSERT INTO attack
SELECT format('SELECT count(*) FROM eventsource.%I v WHERE public.cr_leak(v.%I)', t, c)
  FROM (VALUES ('events', 'data'), ('events', 'stream'), ('events', 'actor'), ('events', 'type'), ('events', 'idempotency_key'), ('events', 'hash'),
			   ('streams', 'stream'), ('streams', 'state'), ('correlations', 'correlation_id'), ('causations', 'cause_stream'), ('causations', 'effect_type'),
			   ('corrections', 'data_after'), ('corrections', 'data_before'), ('corrections', 'reason'), ('transitions', 'stream'), ('state_periods', 'key'),
			   ('step', 'type'), ('snapshots', 'stream'), ('snapshots', 'row_data'), ('parked_events', 'error'), ('parked_events', 'data'), ('subscription_partitions', 'error'),
			   ('subscriptions', 'error'), ('event_summaries', 'subject'), ('violations', 'data'), ('archived_events', 'data'), ('pruned_streams', 'stream'),
			   ('erasures', 'subject'), ('erasures', 'data'), ('erasure_requests', 'completed_mode'), ('erasure_requests', 'completed_at'), ('erasure_requests', 'closed_by'), ('erasure_requests', 'closing_reason'), ('projections', 'defined_at'), ('handlers', 'defined_at'), ('reactions', 'defined_at')) x (t, c);
INSERT INTO attack VALUES
	('SELECT count(*) FROM pg_temp.sql_events() v WHERE public.cr_leak(v.data)'),
	('SELECT count(*) FROM cr_a_view v WHERE public.cr_leak(v.data)'),
	('SELECT count(*) FROM (SELECT * FROM eventsource.events OFFSET 0) v WHERE public.cr_leak(v.data)'),
	('WITH v AS (SELECT * FROM eventsource.events) SELECT count(*) FROM v WHERE public.cr_leak(v.data)'),
	('SELECT (SELECT count(*) FROM eventsource.events v WHERE public.cr_leak(v.data) AND v.position = x) FROM generate_series(1, 3) x'),
	('SELECT count(*) FROM eventsource.events v WHERE EXISTS (SELECT FROM eventsource.events w WHERE w.position = v.position AND public.cr_leak(w.stream))'),
	('SELECT count(*) FROM generate_series(1, 3) x LEFT JOIN eventsource.events v ON v.position > x AND public.cr_leak(v.stream)'),
	('SELECT count(*) FROM eventsource.streams s JOIN eventsource.events v USING (stream) WHERE public.cr_leak(s.stream || v.type)'),
	('SELECT count(*) FROM eventsource.events v GROUP BY v.stream HAVING public.cr_leak(v.stream)'),
	('SELECT count(*) FROM eventsource.events v WHERE operator(public.<<<%) v.data'),
	('SELECT count(*) FROM eventsource.events v WHERE CASE WHEN public.cr_leak(v.data) THEN 1 ELSE 0 END = 1'),
	('SELECT count(*) FROM eventsource.events v WHERE (v.data ->> ''secret'')::text ~ ''.'' AND public.cr_leak(v.metadata)'),
	('SELECT position FROM eventsource.events v ORDER BY public.cr_leak(v.data), position LIMIT 1'),
	('PREPARE cr_p AS SELECT count(*) FROM eventsource.events v WHERE public.cr_leak(v.data)'),
	('EXECUTE cr_p'),
	('DO $x$ BEGIN PERFORM FROM eventsource.events v WHERE public.cr_leak(v.data); END $x$');
CREATE FUNCTION pg_temp.attack(query text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL ROLE cr_a;
	EXECUTE query;
	RESET ROLE;
	RETURN (SELECT count(*) FROM leaked WHERE what ~ 'cr[bcd]' OR what ~ '\$config');
END
$$;
SELECT is_empty($$ SELECT query FROM attack WHERE pg_temp.attack(query) > 0 $$, 'conditions that tell what they see, see nothing that the view does not show');
SET LOCAL enable_nestloop = off;
SET LOCAL jit = off;
SELECT is_empty($$ SELECT query FROM attack WHERE query !~ '^PREPARE' AND pg_temp.attack(query) > 0 $$, 'nor where nothing is looked up row by row');
RESET enable_nestloop;
SELECT ok(count(*) > 100, 'whereas they see the rest') FROM leaked;

-- ---- plans, roles, savepoints ----

PREPARE cr_count AS SELECT count(DISTINCT category) FROM eventsource.events WHERE category LIKE 'cr_';
CREATE FUNCTION pg_temp.count_of() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(DISTINCT category) FROM eventsource.events WHERE category LIKE 'cr_'); END $$;
CREATE FUNCTION public.cr_definer() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT count(DISTINCT category) FROM eventsource.events WHERE category LIKE 'cr_' $$;
CREATE FUNCTION pg_temp.plans(role text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	a bigint;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	EXECUTE 'EXECUTE cr_count' INTO a;
	RETURN concat_ws(' ', a, pg_temp.count_of(), public.cr_definer(), (SELECT count(DISTINCT e.category) FROM eventsource.read_all(0, NULL) e WHERE e.category LIKE 'cr_'));
END
$$;
SET LOCAL plan_cache_mode = force_generic_plan;
SELECT is(pg_temp.plans('cr_all'), '4 4 4 4', 'a plan made for who reads everything');
SELECT is(pg_temp.plans('cr_a'), '1 1 4 1', 'is not used for who does not');
SELECT is(pg_temp.plans('cr_all'), '4 4 4 4', 'nor the other way round');
RESET ROLE;
SAVEPOINT s;
SELECT eventsource.revoke_reader('cr_all') IS NULL AS done \gset
SELECT is(pg_temp.as_role('cr_all', 'EXECUTE cr_count'), '42501', 'revoked: a plan that was made before is of no use');
SELECT eventsource.grant_reader('cr_all', '{crb,crc}') IS NULL AS done \gset
SELECT is(pg_temp.plans('cr_all'), '2 2 4 2', 'limited now');
RESET ROLE;
GRANT cr_a TO cr_all;
SELECT is(pg_temp.plans('cr_all'), '3 3 4 3', 'a membership adds what it brings');
RESET ROLE;
ALTER ROLE cr_all RENAME TO cr_renamed;
SELECT is(pg_temp.plans('cr_renamed'), '3 3 4 3', 'a role that is renamed keeps its rights');
RESET ROLE;
CREATE ROLE cr_all;
SELECT eventsource.grant_reader('cr_all', '{crd}') IS NULL AS done \gset
SELECT is(pg_temp.plans('cr_all') || ', ' || pg_temp.plans('cr_renamed'), '1 1 4 1, 3 3 4 3', 'and one that gets the name has its own');
RESET ROLE;
SELECT pg_temp.same_rows($$ SELECT role, category, may_append FROM eventsource.category_rights WHERE role IN ('cr_all', 'cr_renamed', 'cr_writer') ORDER BY 1, 2 $$,
	$$ VALUES ('cr_all', 'crd', false), ('cr_renamed', 'crb', false), ('cr_renamed', 'crc', false), ('cr_writer', 'cra', true), ('cr_writer', 'crc', false) $$, 'the view category_rights');
ROLLBACK TO s;
SELECT is(pg_temp.plans('cr_all'), '4 4 4 4', 'rolled back, it is as it was');
RESET ROLE;

-- A query and a function of another's in it take turns.
CREATE FUNCTION public.cr_version() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT eventsource.stream_version('crb-1') $$;
SELECT count(*) AS before FROM pg_backend_memory_contexts WHERE name = 'eventsource rights' \gset
SET LOCAL ROLE cr_a;
SELECT count(*) AS done FROM generate_series(1, 100) i WHERE eventsource.may_read_category(left('cra', i)) AND public.cr_version() > 0 \gset
RESET ROLE;
SELECT ok(count(*) - :before < 10, 'what is known of two users is not looked up again and again') FROM pg_backend_memory_contexts WHERE name = 'eventsource rights';

-- ---- giving and taking back ----

SELECT pg_temp.refuses($$ SELECT eventsource.grant_reader('cr_a', '{}') $$, '22023', 'no category is named', 'an empty list');
SELECT pg_temp.refuses(format($$ SELECT eventsource.grant_reader('cr_a', %L) $$, c), '22023', 'categories cannot be named so', 'a category called ' || c)
  FROM unnest(ARRAY['{a-b}', '{$config}', '{NULL}']) c;
SELECT is(count(*), 0::bigint, 'functions of the owner are for no reader')
  FROM pg_proc p WHERE p.pronamespace = 'eventsource'::regnamespace AND p.proname = ANY (eventsource.owner_functions()) AND has_function_privilege('cr_a', p.oid, 'EXECUTE');
CREATE FUNCTION pg_temp.rights(role text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', CASE WHEN has_schema_privilege(role, 'eventsource', 'USAGE') THEN 'reads' END,
		CASE WHEN has_function_privilege(role, 'eventsource.reads_all_categories()', 'EXECUTE') THEN 'all' END,
		CASE WHEN has_table_privilege(role, 'eventsource.events', 'INSERT') THEN 'writes' END,
		CASE WHEN has_function_privilege(role, 'eventsource.writes_all_categories()', 'EXECUTE') THEN 'all' END,
		CASE WHEN has_function_privilege(role, 'eventsource.seal(bigint)', 'EXECUTE') THEN 'defines' END,
		CASE WHEN has_function_privilege(role, 'eventsource.personal_data()', 'EXECUTE') THEN 'sees' END,
		CASE WHEN has_function_privilege(role, 'eventsource.may_erase_hard()', 'EXECUTE') THEN 'erases' END,
		(SELECT string_agg(r.category || CASE WHEN r.may_append THEN '+' ELSE '' END, ',' ORDER BY r.category) FROM eventsource.category_rights r WHERE r.role = rights.role)) $$;
CREATE ROLE cr_life;
CREATE FUNCTION pg_temp.life(command text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT eventsource.' || command; RETURN pg_temp.rights('cr_life'); END $$;
SET LOCAL client_min_messages = error;
SELECT is(pg_temp.life(command), rights, n || '. ' || command)
  FROM (VALUES (1, 'grant_admin(''cr_life'')', 'reads all writes all defines'),
			   (2, 'grant_personal_data(''cr_life'')', 'reads all writes all defines sees'),
			   (3, 'grant_eraser(''cr_life'', ''{hard}'')', 'reads all writes all defines sees erases'),
			   (4, 'revoke_eraser(''cr_life'')', 'reads all writes all defines sees'),
			   (5, 'revoke_admin(''cr_life'')', 'reads all writes all sees'),
			   (6, 'revoke_personal_data(''cr_life'')', 'reads all writes all'),
			   (7, 'grant_writer(''cr_life'', ''{a,b}'')', 'reads all writes all a+,b+'),
			   (8, 'revoke_writer(''cr_life'', ''{a}'')', 'reads all writes all a,b+'),
			   (9, 'revoke_writer(''cr_life'')', 'reads all a,b'),
			   (10, 'revoke_reader(''cr_life'', ''{a,b}'')', 'reads all'),
			   (11, 'revoke_reader(''cr_life'')', ''),
			   (12, 'grant_writer(''cr_life'', ''{a,b}'')', 'reads writes a+,b+'),
			   (13, 'grant_personal_data(''cr_life'')', 'reads writes sees a+,b+'),
			   (14, 'grant_reader(''cr_life'', ''{c}'')', 'reads writes sees a+,b+,c'),
			   (15, 'revoke_reader(''cr_life'', ''{a,c}'')', 'reads writes sees b+'),
			   (16, 'revoke_writer(''cr_life'', ''{b}'')', 'reads sees b'),
			   (17, 'revoke_reader(''cr_life'', ''{b}'')', '')) x (n, command, rights) ORDER BY n;
DROP ROLE cr_life;
SELECT pass('what revoke_reader leaves keeps no role from being dropped');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() WHERE stream_name LIKE 'cr_-%' $$, 'the chain verifies');
SELECT * FROM finish();
ROLLBACK;
\c :home
DROP DATABASE category_rights;
