-- What refuses DDL on all this is the hooks of the library; the event triggers of
-- 95_guards.sql see to it that the library is there.

CREATE FUNCTION eventsource.guard_ddl() RETURNS event_trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'eventsource_guard_ddl';
COMMENT ON FUNCTION eventsource.guard_ddl() IS
	'Private: event trigger that refuses DDL on what is guarded.';

CREATE FUNCTION eventsource.allow_maintenance(reason text) RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'eventsource_allow_maintenance';
COMMENT ON FUNCTION eventsource.allow_maintenance(text) IS
	'Until the transaction ends (or the savepoint under which it was called is rolled back to), lets it change what is guarded: upgrade or drop the extension, change its objects, put up what was taken down. Appends an event maintenance_allowed, with the reason and the session user, to stream $config-maintenance.guards, and writes a line into the server''s log. Rows stay append-only. For the owner of the extension and superusers. Errors: 42501; 22023 without a reason.';

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
	'Takes the guards of a table away again that make_append_only() put up, by the name it had then ("schema.table"); the table may be gone. Only after allow_maintenance(), in the same transaction. Errors: ZE001; 42704 if there is no such table.';
