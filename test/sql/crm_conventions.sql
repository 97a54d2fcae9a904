\set own_database crm_conventions
\i test/own_database.sql
-- What the tools of others expect (B items of docs/checklist.md): names of columns and arguments, volatility, and what linters look for.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(20);

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
\i test/own_database_end.sql
