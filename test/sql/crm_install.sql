\set own_database crm_install
\i test/own_database.sql
-- The second extension: what it makes when, install() once and again, comments, rights, views for BI tools.
CREATE EXTENSION eventsource_crm;
SELECT plan(73);

CREATE TEMP VIEW crm_function AS
SELECT p.*, p.oid::regprocedure::text AS signature FROM pg_proc p WHERE p.pronamespace = 'crm'::regnamespace;
CREATE TEMP VIEW crm_view AS
SELECT c.oid, c.relname FROM pg_class c WHERE c.relnamespace = 'crm'::regnamespace AND c.relkind = 'v';

-- ---- CREATE EXTENSION ----

SELECT is((SELECT extversion FROM pg_extension WHERE extname = 'eventsource_crm'),
	(SELECT default_version FROM pg_available_extensions WHERE name = 'eventsource_crm'), 'it has the version of its control file');
SELECT is((SELECT string_agg(e.extname, ', ') FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
			WHERE d.classid = 'pg_extension'::regclass AND d.refclassid = 'pg_extension'::regclass
			  AND d.objid = (SELECT oid FROM pg_extension WHERE extname = 'eventsource_crm')), 'eventsource', 'it needs eventsource');
SELECT is((SELECT count(*) FROM eventsource.events), 0::bigint, 'its script appends nothing');
SELECT is((SELECT count(*) FROM eventsource.segment), 0::bigint, 'the log is not even opened');
SELECT is((SELECT count(*) FROM pg_class WHERE relnamespace = 'crm'::regnamespace), 0::bigint, 'and makes no relation');
SELECT is((SELECT string_agg(DISTINCT d.classid::regclass::text, ', ') FROM pg_depend d
			WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'eventsource_crm')),
	'pg_proc', 'its members are functions');

-- ---- what holds for all functions ----

SELECT is_empty('SELECT signature FROM crm_function WHERE obj_description(oid, ''pg_proc'') IS NULL', 'each function has a comment');
-- In a body that is parsed at creation no name is left to look up.
SELECT is_empty('SELECT signature FROM crm_function WHERE prokind <> ''a'' AND prosqlbody IS NULL AND NOT coalesce(proconfig, ''{}'') @> ''{"search_path=pg_catalog, pg_temp"}''', 'and a pinned search_path');
SELECT is_empty('SELECT signature FROM crm_function WHERE pronargs > 0 AND (proargnames IS NULL OR '''' = ANY (proargnames[:pronargs]) OR ''position'' = ANY (proargnames))', 'all arguments have names');
SELECT is_empty('SELECT signature FROM crm_function f, aclexplode(coalesce(f.proacl, acldefault(''f'', f.proowner))) a WHERE a.grantee = 0 AND f.proname <> ''expect_installed_again''', 'nothing is granted to PUBLIC but what tells that an update is half done');
SELECT is((SELECT string_agg(DISTINCT split_part(split_part(signature::text, '(', 1), '.', 2), ' ') FROM crm_function WHERE prosecdef),
	'admin_campaign create_integration drop_integration end_campaign install pause_campaign put_own_lead_machine resume_campaign trigger_campaign', 'these alone run with the rights of their owner, and take no code');
SELECT is_empty($$
	SELECT unnest(crm.reader_functions() || crm.writer_functions()) EXCEPT SELECT proname FROM crm_function
$$, 'what readers and writers are granted exists');

SELECT pg_temp.refuses('SELECT crm.expect_installed_again()', '55000', 'eventsource_crm was updated, and is not installed again yet', 'which is what views say then');

-- Rights are the owner's to give, and what is kept for how long his to say.
SELECT is_empty($$ SELECT f.signature FROM crm_function f
	WHERE f.proname <> ALL (crm.reader_functions() || crm.writer_functions() || crm.admin_functions()) AND obj_description(f.oid, 'pg_proc') !~ '^Private[,:]'
	  AND f.proname !~ '^(grant|revoke)_(reader|writer|admin)$' AND f.proname <> 'set_retention_defaults' $$, 'each function is somebody''s, or private');
SELECT is_empty($$ SELECT f FROM unnest(crm.reader_functions() || crm.writer_functions() || crm.admin_functions()) f GROUP BY f HAVING count(*) > 1 $$,
	'and named once');
SELECT pg_temp.refuses(format('SELECT crm.%s(NULL)', f), '22004', 'role must not be null', f || ' wants a role')
  FROM unnest('{grant_reader,grant_writer,grant_admin,revoke_reader,revoke_writer,revoke_admin}'::text[]) f;
SELECT isnt(obj_description('crm'::regnamespace, 'pg_namespace'), NULL, 'the schema says what it is');

-- ---- before install() ----

SELECT throws_ok(command, '55000', 'the CRM is not installed in this database', 'before install(): ' || command) FROM (VALUES
	('SELECT crm.create_lead(''l'', name => ''Ada'')'), ('SELECT crm.transition_lead(''l'', ''lead_re_engaged'')'), ('SELECT crm.backfill_lead(''l'', ''NEW'', now())'),
	('SELECT crm.add_to_cart(''k'', ''pen'', 1, 1, ''EUR'')'), ('SELECT crm.place_order(''c'', ''[]'', ''EUR'')'),
	('SELECT crm.import_event(''Page Viewed'', ''c'')'), ('SELECT crm.set_setting(''first_contact_sla'', ''1 minute'')')) v (command);
SELECT is((SELECT count(*) FROM eventsource.events), 0::bigint, 'and nothing is recorded without rules');

-- ---- install() ----

BEGIN;
ALTER FUNCTION eventsource.check_definitions() RENAME TO checked_definitions;
SELECT pg_temp.refuses('SELECT crm.install()', '55000', 'eventsource_crm needs a newer eventsource', 'a core that is too old is refused');
ROLLBACK;
SELECT cmp_ok(crm.install(), '>', 90, 'install() defines what there is');
SELECT max(position) AS installed FROM eventsource.events \gset
SELECT is(crm.install(), 0, 'a second time there is nothing to do');
SET intervalstyle = 'iso_8601';
SET datestyle = 'German';
SELECT is(crm.install(), 0, 'nor in a session that writes values otherwise');
RESET intervalstyle;
RESET datestyle;
BEGIN;
SELECT crm.install() AS ok \gset
SELECT is_empty($$ SELECT c.relname, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
	WHERE l.pid = pg_backend_pid() AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
	  AND c.relnamespace = 'crm'::regnamespace AND c.relkind = 'v' AND l.mode <> 'AccessShareLock' $$, 'nor waits for who reads, nor has them wait');
COMMIT;
SELECT is((SELECT max(position) FROM eventsource.events), :installed::bigint, 'and nothing is appended');
SELECT is_empty('SELECT relname FROM crm_view WHERE obj_description(oid, ''pg_class'') IS NULL', 'each view has a comment');
SELECT is_empty('SELECT v.relname, a.attname FROM crm_view v JOIN pg_attribute a ON a.attrelid = v.oid AND a.attnum > 0
	WHERE col_description(v.oid, a.attnum) IS NULL', 'and each of its columns');
SELECT is_empty($$ SELECT v.relname, a.attname FROM crm_view v JOIN pg_attribute a ON a.attrelid = v.oid AND a.attnum > 0
	JOIN pg_type t ON t.oid = a.atttypid WHERE t.typcategory = 'A' $$, 'no view has arrays');
SELECT is_empty($$ SELECT v.relname, a.attname FROM crm_view v JOIN pg_attribute a ON a.attrelid = v.oid AND a.attnum > 0
	WHERE a.atttypid = 'timestamptz'::regtype AND a.attname NOT LIKE '%\_at' AND a.attname NOT IN ('state_since', 'assigned_until', 'cv_tstamp', 'time', 'time:timestamp', 'ocel_time') $$, 'points in time end in _at');
SELECT is_empty($$ SELECT v.relname, a.attname FROM crm_view v JOIN pg_attribute a ON a.attrelid = v.oid AND a.attnum > 0
	WHERE a.atttypid = 'boolean'::regtype AND a.attname !~ '^(is|has)_' $$, 'what is true or false begins with is_ or has_');
SELECT is_empty('SELECT target FROM eventsource.projections WHERE NOT EXISTS (SELECT FROM pg_description d WHERE d.objoid = target AND d.objsubid = 0)', 'tables have comments, too');
SELECT is((SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = 'crm.lead_metrics'::regclass AND a.attnum > 0),
	'{time,metric,value}', 'the view for dashboards has their columns');

-- A definition that was changed by hand is put right, one of others left alone.
SET client_min_messages = error;
SELECT eventsource.create_state_machine('crm_lead', '{"initial": "NEW", "states": {"NEW": {"on": {"x": "END"}}, "END": {"type": "final"}}}') \g /dev/null
SELECT is(crm.install(), 1, 'what is different is defined anew, and nothing else');
-- How it is written is no difference.
SELECT eventsource.create_state_machine(name, replace(definition::text, ' = ', '\n\t = ')::jsonb) FROM eventsource.state_machines WHERE name = 'crm_order' AND is_current \g /dev/null
SELECT eventsource.create_projection(target, category, replace(rules::text, ' = ', ' =\n    ')::jsonb, key => key, mode => mode)
  FROM eventsource.projections WHERE target = 'crm.setting'::regclass \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.projections WHERE rules::text LIKE '%=\\n    %'), 1::bigint, 'one is written in more lines');
SELECT is(crm.install(), 0, 'which is no difference');
BEGIN;
SELECT eventsource.create_state_machine('mine', '{"initial": "A", "states": {"A": {"on": {"x": "B"}}, "B": {"type": "final"}}}') \g /dev/null
SELECT eventsource.create_category('funnel', 'mine') \g /dev/null
SELECT pg_temp.refuses('SELECT crm.install()', '42710', 'category "funnel" is in use', 'a category of others is not taken away');
ROLLBACK;

-- ---- views of another version ----

CREATE ROLE crm_bi;
CREATE ROLE crm_app;
CREATE ROLE crm_nobody;
SELECT crm.grant_reader('crm_bi'), crm.grant_writer('crm_app') \g /dev/null
SELECT crm.drop_view('leads') \g /dev/null
CREATE VIEW crm.leads AS SELECT 1 AS was_another_column;
SELECT is(crm.install(), 0, 'views are made anew');
SELECT is((SELECT state FROM crm.leads LIMIT 1), NULL, 'also where their columns differ');
RESET client_min_messages;

-- ---- from version to version (t/073_crm_upgrade.pl comes from a real one) ----

-- Who may read a view that has to be made anew, and single columns of it, still may.
GRANT USAGE ON SCHEMA crm TO crm_nobody;
SET client_min_messages = error;
DROP VIEW crm.board_columns;
CREATE VIEW crm.board_columns AS SELECT 1 AS was_another_column, 'NEW'::text AS state;
RESET client_min_messages;
GRANT SELECT ON crm.board_columns TO crm_nobody WITH GRANT OPTION;
SELECT is(crm.install(), 0, 'a view of before is made anew');
SELECT is(has_table_privilege('crm_nobody', 'crm.board_columns', 'SELECT WITH GRANT OPTION'), true, 'and granted to whom it was');
REVOKE ALL ON crm.board_columns FROM crm_nobody;
REVOKE USAGE ON SCHEMA crm FROM crm_nobody;
SELECT is(crm.install(), 0, 'what is taken back');
SELECT is(has_table_privilege('crm_nobody', 'crm.board_columns', 'SELECT'), false, 'stays so');

-- Columns that a table had not.
SELECT crm.put_table('probe', 'probe_id text PRIMARY KEY') \g /dev/null
INSERT INTO crm.probe VALUES ('1');
SELECT crm.put_table('probe', $$ probe_id text PRIMARY KEY, n numeric(10, 2) NOT NULL DEFAULT 1.5, said text, twice numeric GENERATED ALWAYS AS (n * 2) STORED $$) \g /dev/null
SELECT is((SELECT p::text FROM crm.probe p), '(1,1.50,,3.00)', 'a table has the columns that another version of it had not');
SELECT crm.put_table('probe', 'probe_id text PRIMARY KEY, said text') \g /dev/null
SELECT is((SELECT p::text FROM crm.probe p), '(1,1.50,,3.00)', 'and loses none');
SELECT pg_temp.refuses($$ SELECT crm.put_table('probe', 'probe_id text PRIMARY KEY, said integer') $$, '42804',
	'table crm.probe has columns that are not as they should be', 'one of another type is refused');
SELECT pg_temp.refuses($$ SELECT crm.put_table('probe', 'probe_id text PRIMARY KEY, said text NOT NULL') $$, '42804',
	'table crm.probe has columns that are not as they should be', 'and one that may be NULL and is not to be');
CREATE TEMP TABLE crm_table (x integer);
SELECT lives_ok($$ SELECT crm.put_table('probe', 'probe_id text PRIMARY KEY, said text') $$, 'whatever temporary tables the session has');
DROP TABLE crm.probe;
SELECT pg_temp.refuses($$ SELECT crm.put_view('probe', 'A probe.', '{"a": "What it is."}', 'SELECT 1 AS a, 2 AS b') $$, '22023',
	'view crm.probe says nothing of columns of its own', 'a view says what its columns are');

-- Reactions that no version makes any more.
SELECT set_eq($$ SELECT r.name, r.category, r.type FROM eventsource.reactions r $$, 'SELECT r.name, r.category, r.type FROM crm.reactions() r', 'reactions are those of one list');
SELECT eventsource.create_reaction('crm_gone', 'lead', 'lead_assigned', action => '{"enqueue": "gone"}') \g /dev/null
SELECT is(crm.install(), 1, 'a reaction of before is dropped');
SELECT is((SELECT count(*) FROM eventsource.reactions WHERE name = 'crm_gone'), 0::bigint, 'it is gone');
SELECT is(crm.install(), 0, 'and nothing else was');

-- A schema that is stricter than before is a version of its own.
SELECT eventsource.register_event_type('SearchPerformed', 'visit', '{"type": "object"}', compatibility => 'none') \g /dev/null
SELECT is(crm.install(), 1, 'an event type of before is registered anew');
SELECT is((SELECT count(*) FROM crm.event_types WHERE NOT is_registered), 0::bigint, 'as it should be');

-- ---- rights ----

SET ROLE crm_app;
SELECT is(crm.create_lead('rights', name => 'Ada', email => 'ada@example.com', phone => '555', actor => 'agent:joe'), 'rights', 'a writer calls commands');
SELECT is((SELECT (name, email, phone)::text FROM crm.leads WHERE lead_id = 'rights'), '(***,***,***)', 'but sees no personal data unless granted');
RESET ROLE;
SET ROLE crm_bi;
SELECT is((SELECT (name, state)::text FROM crm.leads WHERE lead_id = 'rights'), '(***,NEW)', 'a reader sees the views, even those that were made anew');
SELECT is((SELECT detail::text FROM crm.lead_timeline WHERE lead_id = 'rights'), '{"email": "***"}', 'and personal data in none');
SELECT pg_temp.refused($$ SELECT crm.create_lead('x') $$, '42501 permission denied for function create_lead', 'he appends nothing');
SELECT pg_temp.refused($$ SELECT * FROM crm.lead $$, '42501 permission denied for table lead', 'and reads no table');
RESET ROLE;
SELECT eventsource.grant_personal_data('crm_bi') \g /dev/null
SET ROLE crm_bi;
SELECT is((SELECT (name, email, phone)::text FROM crm.leads WHERE lead_id = 'rights'), '(Ada,ada@example.com,555)', 'with the right to personal data he sees it');
RESET ROLE;
SET ROLE crm_nobody;
SELECT pg_temp.refused($$ SELECT * FROM crm.leads $$, '42501 permission denied for schema crm', 'others see nothing');
RESET ROLE;
\i test/own_database_end.sql
