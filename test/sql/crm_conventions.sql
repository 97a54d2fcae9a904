\set own_database crm_conventions
\i test/own_database.sql
-- What the tools of others expect (B items of docs/checklist.md): names of columns and arguments, volatility, and what linters look for.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(31);

CREATE FUNCTION pg_temp.lacks(relation text, wanted text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(w, ' ') FROM regexp_split_to_table(wanted, '\s+') w
	 WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = ('crm.' || relation)::regclass AND a.attname = w AND a.attnum > 0)
$$;
CREATE FUNCTION pg_temp.arguments(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(a, ' ' ORDER BY n) FROM pg_proc p, unnest(p.proargnames, p.proargmodes) WITH ORDINALITY x (a, mode, n) WHERE p.pronamespace = 'crm'::regnamespace AND p.proname = name AND mode = 't'
$$;
CREATE TEMP VIEW crm_table AS SELECT c.oid, c.relname FROM pg_class c WHERE c.relnamespace = 'crm'::regnamespace AND c.relkind = 'r';

-- ---- names ----

SELECT is(pg_temp.lacks('paths_to_conversion', 'cv_id customer_id cv_tstamp cv_type cv_total_revenue channel_transformed_path path_length'), NULL, 'B1: paths to conversion');
SELECT is(pg_temp.lacks('channel_attributions', 'cv_id customer_id cv_tstamp cv_type cv_total_revenue channel source_index path_length first_touch_attribution last_touch_attribution linear_attribution time_decay_attribution position_based_attribution'),
	NULL, 'B1: attribution by touch');
SELECT is(pg_temp.lacks('attribution_overview', 'attribution_type touch_point in_n_conversion_paths attributed_conversions attributed_revenue'), NULL, 'B1: the overview');
SELECT is((SELECT string_agg(model, ' ' ORDER BY display_order) FROM crm.attribution_models()), 'first_touch last_touch linear time_decay position_based', 'B1, B2: models');
SELECT is(pg_temp.arguments('funnel') LIKE '%event_type unique_users pct_conversion pct_of_previous%', true, 'B4: a funnel');
SELECT is(pg_temp.arguments('retention') LIKE '%unique_users pct_users', true, 'B4: retention');
SELECT is((SELECT count(*) FROM pg_proc WHERE pronamespace = 'eventsource'::regnamespace AND proname = 'window_funnel'), 1::bigint, 'B5: window_funnel');
SELECT is(pg_temp.lacks('xes_events', 'case:concept:name concept:name time:timestamp org:resource lifecycle:transition'), NULL, 'B20: XES');
SELECT is(pg_temp.lacks('rfm_segments', 'r_score f_score m_score rfm_score segment'), NULL, 'B32: scores');
SELECT is(pg_temp.lacks('customer_lifetime_values', 'frequency recency t monetary_value'), NULL, 'B32: what models of lifetime value want');
SELECT is((SELECT string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = 'crm.daily_metrics'::regclass AND a.attnum > 0), 'time metric value', 'B30: series');

-- ---- functions ----

SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'crm'::regnamespace AND p.pronargs > 0 AND (p.proargnames IS NULL OR '' = ANY (p.proargnames)) $$, 'B24: each argument has a name, those that go out as well');
SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'crm'::regnamespace AND p.prokind = 'p' $$, 'B24: none is a procedure');
SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'crm'::regnamespace AND p.proname = ANY (crm.reader_functions()) AND p.provolatile = 'v' $$, 'B25: what reads is STABLE or IMMUTABLE');
SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'crm'::regnamespace AND p.proname = ANY (crm.writer_functions()) AND p.provolatile <> 'v' AND p.prosrc ~ 'eventsource\.append' $$, 'B25: what writes is VOLATILE');
SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'crm'::regnamespace AND p.prosqlbody IS NULL AND NOT coalesce(p.proconfig::text LIKE '%search_path=pg_catalog, pg_temp%', p.prokind = 'a') $$, 'B27: search paths are pinned');

-- ---- tables ----

SELECT is_empty($$ SELECT t.relname FROM crm_table t WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = t.oid AND c.contype = 'p') $$, 'B27: each table has a primary key');
SELECT is_empty($$ SELECT c.conrelid::regclass, c.conname FROM pg_constraint c JOIN crm_table t ON t.oid = c.conrelid WHERE c.contype = 'f'
	AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey) $$, 'B27: no foreign key is without an index');
SELECT is_empty($$ SELECT i.indrelid::regclass, array_agg(i.indexrelid::regclass) FROM pg_index i JOIN crm_table t ON t.oid = i.indrelid GROUP BY i.indrelid, i.indkey, i.indclass, i.indoption, i.indpred::text, i.indexprs::text HAVING count(*) > 1 $$, 'B27: no index is there twice');
SELECT is_empty($$ SELECT t.relname, a.grantee::regrole FROM crm_table t JOIN pg_class c ON c.oid = t.oid, aclexplode(c.relacl) a WHERE a.grantee <> c.relowner $$, 'B24: tables are private');

-- ---- keys of views, and comments that pg_graphql reads ----

SELECT is_empty($$ SELECT k.view_name, c FROM crm.view_keys() k, unnest(k.key_columns) c
	WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass('crm.' || k.view_name) AND a.attname = c) $$, 'B26: keys are columns of views');
SELECT set_eq($$ SELECT relname::text COLLATE "C" FROM pg_class WHERE relnamespace = 'crm'::regnamespace AND relkind = 'v' EXCEPT SELECT view_name FROM crm.view_keys() $$,
	'{attribution_overview,channel_attributions,collapse_stage_rates,deal_collapses,lead_event_reasons,ocel_event_object,ocel_object_object,pipeline_health,rfm_segments,xes_events}'::text[],
	'B26: but for reports and lists of pairs each view has one');
CREATE TEMP TABLE plain AS SELECT c.oid, c.relname, obj_description(c.oid, 'pg_class') AS comment FROM pg_class c WHERE c.relnamespace = 'crm'::regnamespace AND c.relkind = 'v';
SELECT is((SELECT count(*) FROM plain WHERE comment ~ '@graphql'), 0::bigint, 'B26: comments are for people unless a setting says so');
SELECT pg_temp.refused($$ SELECT crm.set_setting('graphql_comments', 'yes') $$, '22023 invalid value for setting "graphql_comments"', 'which is on or off');
SELECT crm.set_setting('graphql_comments', 'on') \g /dev/null
SELECT crm.install() \g /dev/null
-- As pg_graphql looks for it, and as it did before.
CREATE TEMP VIEW directive AS SELECT p.relname, p.comment, obj_description(p.oid, 'pg_class') AS now, d.directive, d.lazy
  FROM plain p, LATERAL (SELECT (regexp_match(obj_description(p.oid, 'pg_class'), '@graphql\((.+)\)'))[1]::jsonb AS directive, (regexp_match(obj_description(p.oid, 'pg_class'), '@graphql\((.+?)\)'))[1]::jsonb AS lazy) d;
SELECT is_empty($$ SELECT k.view_name FROM crm.view_keys() k JOIN directive d ON d.relname = k.view_name
	WHERE to_jsonb(k.key_columns) IS DISTINCT FROM d.directive->'primary_key_columns' OR d.lazy <> d.directive $$, 'B26: then each tells its key');
SELECT is((SELECT now FROM directive WHERE relname = 'carts'), E'Carts, one row each.\n@graphql({"foreign_keys": [{"foreign_table": "customers", "local_columns": ["customer_id"], "foreign_schema": "crm", "foreign_columns": ["customer_id"]}, '
	'{"foreign_table": "sessions", "local_columns": ["session_id"], "foreign_schema": "crm", "foreign_columns": ["session_id"]}, {"foreign_table": "orders", "local_columns": ["order_id"], "foreign_schema": "crm", "foreign_columns": ["order_id"]}], "primary_key_columns": ["cart_id"]})',
	'B26: and what it refers to');
SELECT is_empty($$ SELECT d.relname, f FROM directive d, jsonb_array_elements(d.directive->'foreign_keys') f
	WHERE NOT EXISTS (SELECT FROM crm.view_keys() k WHERE k.view_name = f->>'foreign_table' AND to_jsonb(k.key_columns) = f->'foreign_columns')
	   OR NOT EXISTS (SELECT FROM pg_attribute a, pg_attribute b WHERE a.attrelid = to_regclass('crm.' || d.relname) AND a.attname = f #>> '{local_columns,0}'
			AND b.attrelid = to_regclass('crm.' || (f->>'foreign_table')) AND b.attname = f #>> '{foreign_columns,0}' AND a.atttypid = b.atttypid) $$, 'which is the key of another view, of the same type');
SELECT is_empty($$ SELECT relname FROM directive WHERE NOT starts_with(now, comment) $$, 'after what it says to people');
SELECT is(crm.install(), 0, 'install() leaves them as they are');
SELECT is((SELECT count(*) FROM directive WHERE directive IS NOT NULL), (SELECT count(*) FROM crm.view_keys()), 'all of them');
SELECT crm.set_setting('graphql_comments', NULL) \g /dev/null
SELECT crm.install() \g /dev/null
SELECT is_empty($$ SELECT relname FROM directive WHERE now <> comment $$, 'and takes them away again');
\i test/own_database_end.sql
