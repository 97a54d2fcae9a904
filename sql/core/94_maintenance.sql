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
