-- Event types: what is registered about them.

CREATE FUNCTION eventsource.register_event_type(
	type text, category text DEFAULT NULL, schema jsonb DEFAULT NULL, version integer DEFAULT NULL,
	compatibility text DEFAULT 'backward', subject text DEFAULT NULL, description text DEFAULT NULL,
	phase text DEFAULT NULL, pii jsonb DEFAULT NULL)
	RETURNS integer
	AS 'MODULE_PATHNAME', 'eventsource_register_event_type' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.register_event_type(text, text, jsonb, integer, text, text, text, text, jsonb) IS
	'Registers an event type, or a new version of it; returns the version, which is that of events from now on which do not say theirs. category: for events of this one alone; NULL: of every category that has no registration of this type of its own. schema: a JSON Schema that data must match, fill values included (NULL: any data); an event is judged by the schema of its own version. version: greater than those there are (default: the next). With the same schema as the version it names (default: the latest) nothing new is made, but what else it says is said anew, if it differs. compatibility with the version before (with all, by the suffix _transitive): none, backward (what matched the earlier schema matches this one), forward (the reverse), full (both). subject: expression over event that says whom it is about (default: as its category says). phase: free word for reports. pii: which fields are personal, path -> strategy ({"email": "hash", "address.street": "redact", "phones.*.number": "null"}; * stands for all elements of an array): they are kept apart from data, shown to who may see them alone (grant_personal_data), and can be erased; strategies say what anonymizing makes of them: hash, mask_ip, redact, null, keep. NULL: as in the version before; {}: none. Formats are asserted where eventsource.assert_formats was on when the version was registered. Errors: ZE011 lists every problem; nothing is changed then.';

CREATE FUNCTION eventsource.withdraw_event_type(type text, category text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_withdraw_event_type' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.withdraw_event_type(text, text) IS
	'Ends a registration: new events of the type are taken as those of types that are not registered, so refused by strict categories (ZE006); elsewhere any data will do, and the version is the latest there was unless they say another of them; fields that it says are personal (pii) are so still. Withdrawn for a category, the registration for all does not take its place. Events that are stored keep their versions, schemas (for corrections) and upcasters. register_event_type() registers it again, and its versions go on. Errors: 42704 if it is not registered; if it is withdrawn already, nothing happens.';

-- Each registration is a stream of category $config; a version that was said more
-- than once is what was said last.

CREATE VIEW eventsource.event_type_versions AS
SELECT v.type, v.category, v.version,
	   v.version = max(v.version) OVER (PARTITION BY v.stream) AS is_latest,
	   v.schema, v.compatibility, v.assert_formats, v.subject, v.description, v.phase,
	   v.owner, v.registered_by, v.registered_at, v.position, v.pii, v.is_withdrawn
  FROM (SELECT s.id AS stream,
			   e.data ->> 'type' AS type,
			   e.data ->> 'category' AS category,
			   (e.data ->> 'version')::integer AS version,
			   e.data -> 'schema' AS schema,
			   e.data ->> 'compatibility' AS compatibility,
			   (e.data ->> 'assert_formats')::boolean AS assert_formats,
			   e.data ->> 'subject' AS subject,
			   e.data ->> 'description' AS description,
			   e.data ->> 'phase' AS phase,
			   e.data -> 'pii' AS pii,
			   e.data ->> 'owner' AS owner,
			   e.actor AS registered_by,
			   e.recorded_at AS registered_at,
			   e.position,
			   e.type = 'event_type_registered' AS is_version,
			   last_value(e.type) OVER (PARTITION BY s.id ORDER BY e.version
					ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) = 'event_type_withdrawn' AS is_withdrawn,
			   e.version = max(e.version) OVER (PARTITION BY s.id, e.data ->> 'version') AS counts
		  FROM eventsource.stream s
		 CROSS JOIN LATERAL eventsource.read_stream(s.name) e
		 WHERE s.name >= '$config-event_type.' AND s.name < '$config-event_type/') v
 WHERE v.counts AND v.is_version;
COMMENT ON VIEW eventsource.event_type_versions IS
	'Registered event types, one row per version.';
COMMENT ON COLUMN eventsource.event_type_versions.type IS 'The event type.';
COMMENT ON COLUMN eventsource.event_type_versions.category IS
	'Category whose events are meant; NULL: all that have no registration of this type of their own.';
COMMENT ON COLUMN eventsource.event_type_versions.version IS 'Version, as in the schema_version of events.';
COMMENT ON COLUMN eventsource.event_type_versions.is_latest IS 'True for the version that events have which do not say theirs.';
COMMENT ON COLUMN eventsource.event_type_versions.schema IS 'JSON Schema that data must match; NULL: any data.';
COMMENT ON COLUMN eventsource.event_type_versions.compatibility IS 'With earlier versions, as it was asked for and checked when it was registered.';
COMMENT ON COLUMN eventsource.event_type_versions.assert_formats IS 'True if the formats that the schema names are asserted.';
COMMENT ON COLUMN eventsource.event_type_versions.subject IS 'Expression that says whom an event is about; NULL: as its category says.';
COMMENT ON COLUMN eventsource.event_type_versions.description IS 'Text for people.';
COMMENT ON COLUMN eventsource.event_type_versions.phase IS 'Word for reports.';
COMMENT ON COLUMN eventsource.event_type_versions.owner IS 'Role that registered it, whose rights the subject expression has.';
COMMENT ON COLUMN eventsource.event_type_versions.registered_by IS 'Actor who registered it.';
COMMENT ON COLUMN eventsource.event_type_versions.registered_at IS 'When it was registered, or said anew.';
COMMENT ON COLUMN eventsource.event_type_versions.position IS 'Place of the definition in the log.';
COMMENT ON COLUMN eventsource.event_type_versions.pii IS
	'Personal fields of data: path -> what anonymizing makes of it; NULL: none were ever declared.';
COMMENT ON COLUMN eventsource.event_type_versions.is_withdrawn IS
	'True if the registration was withdrawn: these are the versions of stored events alone.';

CREATE VIEW eventsource.event_types AS
SELECT v.type, v.category, v.version, v.schema, v.compatibility, v.assert_formats, v.subject, v.description,
	   v.phase, v.owner, v.registered_by, v.registered_at, v.position, v.pii, v.is_withdrawn
  FROM eventsource.event_type_versions v
 WHERE v.is_latest;
COMMENT ON VIEW eventsource.event_types IS
	'Registered event types as they are now: the latest version of each.';
COMMENT ON COLUMN eventsource.event_types.type IS 'The event type.';
COMMENT ON COLUMN eventsource.event_types.category IS
	'Category whose events are meant; NULL: all that have no registration of this type of their own.';
COMMENT ON COLUMN eventsource.event_types.version IS 'The latest version.';
COMMENT ON COLUMN eventsource.event_types.schema IS 'JSON Schema that data must match; NULL: any data.';
COMMENT ON COLUMN eventsource.event_types.compatibility IS 'With earlier versions, as it was asked for and checked when it was registered.';
COMMENT ON COLUMN eventsource.event_types.assert_formats IS 'True if the formats that the schema names are asserted.';
COMMENT ON COLUMN eventsource.event_types.subject IS 'Expression that says whom an event is about; NULL: as its category says.';
COMMENT ON COLUMN eventsource.event_types.description IS 'Text for people.';
COMMENT ON COLUMN eventsource.event_types.phase IS 'Word for reports.';
COMMENT ON COLUMN eventsource.event_types.owner IS 'Role that registered it, whose rights the subject expression has.';
COMMENT ON COLUMN eventsource.event_types.registered_by IS 'Actor who registered it.';
COMMENT ON COLUMN eventsource.event_types.registered_at IS 'When it was registered, or said anew.';
COMMENT ON COLUMN eventsource.event_types.position IS 'Place of the definition in the log.';
COMMENT ON COLUMN eventsource.event_types.pii IS 'Personal fields of data: path -> what anonymizing makes of it; NULL: none were ever declared.';
COMMENT ON COLUMN eventsource.event_types.is_withdrawn IS 'True if it was withdrawn: new events have no registration.';
