-- How long events are kept: policies, legal holds, the archive, and what is left of
-- events that are gone.

-- What was found in a full segment, by category (word); written anew when events go.
-- Never dumped: it is found again. looked_at: when it was last looked for what has
-- expired; held_up: what has, and is there still: [{who, events, since}], since: the
-- first of them was recorded; NULL: nothing.
CREATE TABLE eventsource.segment_category (
	lower_bound       bigint      NOT NULL,
	category          integer     NOT NULL,
	events            bigint      NOT NULL,
	first_recorded_at timestamptz NOT NULL,
	last_recorded_at  timestamptz NOT NULL,
	looked_at         timestamptz,
	held_up           jsonb,
	CONSTRAINT segment_category_pkey PRIMARY KEY (lower_bound, category)
) USING heap;
COMMENT ON TABLE eventsource.segment_category IS 'Private: what full segments of the log hold, by category. Not dumped.';

-- Segments that are archived, or that events were taken from. digest: SHA-256 over
-- position (8 bytes) and hash of all that is in it, in order.
CREATE TABLE eventsource.archive (
	lower_bound bigint      NOT NULL CONSTRAINT archive_pkey PRIMARY KEY,
	events      bigint      NOT NULL,
	pruned      bigint      NOT NULL,
	digest      bytea       NOT NULL,
	archived_at timestamptz,
	pruned_at   timestamptz
) USING heap;
COMMENT ON TABLE eventsource.archive IS 'Private: segments of the log that are archived or pruned. Read the view eventsource.segments.';

-- What a subject did in a segment, by category (word).
CREATE TABLE eventsource.summary (
	lower_bound      bigint      NOT NULL,
	category         integer     NOT NULL,
	subject          text        COLLATE "C" NOT NULL,
	total_events     bigint      NOT NULL,
	event_types      jsonb       NOT NULL,
	first_event      timestamptz NOT NULL,
	last_event       timestamptz NOT NULL,
	consent_history  jsonb       NOT NULL,
	gdpr_audit_trail jsonb       NOT NULL,
	CONSTRAINT summary_pkey PRIMARY KEY (lower_bound, category, subject)
) USING heap;
CREATE INDEX summary_subject_idx ON eventsource.summary (subject);
COMMENT ON TABLE eventsource.summary IS 'Private: summaries of archived events. Read the view eventsource.event_summaries.';

-- The last event of a stream that is gone: what is left of the stream follows it.
CREATE TABLE eventsource.pruned_head (
	stream      bigint      NOT NULL CONSTRAINT pruned_head_pkey PRIMARY KEY,
	version     bigint      NOT NULL,
	position    bigint      NOT NULL,
	recorded_at timestamptz NOT NULL,
	state       integer     NOT NULL,
	hash        bytea       NOT NULL
) USING heap;
COMMENT ON TABLE eventsource.pruned_head IS 'Private: streams whose first events are gone, and where what is left begins.';

-- Which of the 32 positions from bucket * 32 on held events that are gone, a bit for
-- each, and the hashes of these, so that the leaves of the log stay what they were.
CREATE TABLE eventsource.pruned_leaf (
	bucket  bigint  NOT NULL CONSTRAINT pruned_leaf_pkey PRIMARY KEY,
	present integer NOT NULL,
	hashes  bytea   NOT NULL
) USING heap;
COMMENT ON TABLE eventsource.pruned_leaf IS 'Private: positions and hashes of events that are gone.';

SELECT pg_catalog.pg_extension_config_dump('eventsource.archive', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.summary', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.pruned_head', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.pruned_leaf', '');

CREATE FUNCTION eventsource.set_retention(category text, detail interval DEFAULT NULL, total interval DEFAULT NULL,
	class text DEFAULT 'ordinary', consent_types text[] DEFAULT NULL, audit_types text[] DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_set_retention' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.set_retention(text, interval, interval, text, text[], text[]) IS
	'How long events of a category are kept, since they were recorded. detail: until they are summarised and go to the archive with their segment, where they stay readable (NULL: no opinion); total: until they go for good (NULL: never). class: ordinary (a stream goes as a whole, once its last event is past total), disposable (its oldest events go one by one), kept (consent, money, audit: no total). Events of consent_types and audit_types never go, and are written into the summaries in full. An event keeps the longest term that was in force since it was recorded: a term is lengthened for all, shortened for events to come. Returns the version of the policy. Errors: ZE011, 22004.';

CREATE FUNCTION eventsource.hold(stream text DEFAULT NULL, subject text DEFAULT NULL, reason text DEFAULT NULL)
	RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_hold' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.hold(text, text, text) IS
	'Legal hold on a stream, or on all events about a subject: none of them goes, whatever its term, until release_hold(). Returns false if it was held already. A NOTICE tells of a stream that has no events yet, and of a subject that neither a stream nor personal fields are known by. Waits for an archive_due() under way. Errors: 22023, 22004.';

CREATE FUNCTION eventsource.release_hold(stream text DEFAULT NULL, subject text DEFAULT NULL, reason text DEFAULT NULL)
	RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_release_hold' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.release_hold(text, text, text) IS
	'Ends a legal hold. Returns false if there was none. Errors: 22023, 22004.';

CREATE FUNCTION eventsource.archive_due(max_segments integer DEFAULT NULL)
	RETURNS TABLE (lower_bound bigint, upper_bound bigint, action text, events bigint)
	AS 'MODULE_PATHNAME', 'eventsource_archive_due' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION eventsource.archive_due(integer) IS
	'Does what retention has due, in one transaction, to at most so many segments (NULL: all): full segments whose events are past their detail are verified, summarised, moved to eventsource.archive_tablespace if that is set, and marked archived; events past their total are taken out of their segments, which are written anew, and projections folded from what is left. A row for each thing done: action archived or pruned, and how many events it was about. The worker calls it. Errors: XX001 if a segment does not verify (nothing is done then), 55P03 if somebody else reads or writes what is to be changed: call it again.';

CREATE PROCEDURE eventsource.archive_due_in_batches(max_segments integer DEFAULT NULL)
	AS 'MODULE_PATHNAME', 'eventsource_archive_due_in_batches' LANGUAGE C;
COMMENT ON PROCEDURE eventsource.archive_due_in_batches(integer) IS
	'As archive_due(), with a commit after each segment, so that whoever reads or appends waits for one of them at most; a segment that somebody is at is left for the next call. Then neighbours that are archived and together hold no more than one segment may (eventsource.segment_size), none of them more than twice what the others do, become one, and a segment that holds nothing goes, its range to a neighbour; each in a transaction of its own that locks the log for a moment, unless somebody has read or written it and goes on. Errors: as archive_due(), but for 55P03; 2D000 inside a transaction block.';

CREATE VIEW eventsource.retention_policies AS
SELECT e.data ->> 'category' AS category,
	   e.version,
	   e.version = max(e.version) OVER (PARTITION BY s.id) AS is_current,
	   e.data ->> 'class' AS class,
	   (e.data ->> 'detail')::interval AS detail,
	   (e.data ->> 'total')::interval AS total,
	   ARRAY(SELECT jsonb_array_elements_text(e.data -> 'consent_types')) AS consent_types,
	   ARRAY(SELECT jsonb_array_elements_text(e.data -> 'audit_types')) AS audit_types,
	   e.actor AS defined_by,
	   e.recorded_at AS defined_at,
	   e.position
  FROM eventsource.stream s
 CROSS JOIN LATERAL eventsource.read_stream(s.name) e
 WHERE s.name >= '$config-retention.' AND s.name < '$config-retention/';
COMMENT ON VIEW eventsource.retention_policies IS
	'How long events are kept, as set_retention said it, all versions. An event keeps the longest total of those in force since it was recorded.';
COMMENT ON COLUMN eventsource.retention_policies.category IS 'Category.';
COMMENT ON COLUMN eventsource.retention_policies.version IS 'Version of its policy: 1, 2, 3 ...';
COMMENT ON COLUMN eventsource.retention_policies.is_current IS 'Is this the latest one?';
COMMENT ON COLUMN eventsource.retention_policies.class IS 'ordinary, disposable or kept.';
COMMENT ON COLUMN eventsource.retention_policies.detail IS 'Age at which events go to the archive; NULL: no opinion.';
COMMENT ON COLUMN eventsource.retention_policies.total IS 'Age at which they go for good; NULL: never.';
COMMENT ON COLUMN eventsource.retention_policies.consent_types IS 'Event types that never go, and make up consent_history.';
COMMENT ON COLUMN eventsource.retention_policies.audit_types IS 'Event types that never go, and make up gdpr_audit_trail.';
COMMENT ON COLUMN eventsource.retention_policies.defined_by IS 'Actor who said so.';
COMMENT ON COLUMN eventsource.retention_policies.defined_at IS 'When.';
COMMENT ON COLUMN eventsource.retention_policies.position IS 'Position of the defining event: it holds for events after it.';

CREATE VIEW eventsource.holds AS
SELECT e.data ->> 'stream' AS stream,
	   e.data ->> 'subject' AS subject,
	   e.data ->> 'reason' AS reason,
	   e.actor AS placed_by,
	   e.recorded_at AS placed_at
  FROM eventsource.stream s
 CROSS JOIN LATERAL eventsource.read_stream(s.name, max_count => 1, backward => true) e
 WHERE s.name >= '$config-hold.' AND s.name < '$config-hold/' AND e.type = 'hold_placed';
COMMENT ON VIEW eventsource.holds IS 'Legal holds in force.';
COMMENT ON COLUMN eventsource.holds.stream IS 'Stream that is held, or NULL.';
COMMENT ON COLUMN eventsource.holds.subject IS 'Subject that is held, or NULL.';
COMMENT ON COLUMN eventsource.holds.reason IS 'Why.';
COMMENT ON COLUMN eventsource.holds.placed_by IS 'Actor who placed it.';
COMMENT ON COLUMN eventsource.holds.placed_at IS 'When.';

CREATE VIEW eventsource.event_summaries AS
SELECT w.word AS category,
	   s.subject,
	   sum(s.total_events)::bigint AS total_events,
	   (SELECT jsonb_object_agg(t.type, t.n)
		  FROM (SELECT k.key AS type, sum(k.value::bigint) AS n
				  FROM jsonb_array_elements(jsonb_agg(s.event_types)) a (types), jsonb_each_text(a.types) k
				 GROUP BY k.key) t) AS event_types,
	   min(s.first_event) AS first_event,
	   max(s.last_event) AS last_event,
	   (SELECT coalesce(jsonb_agg(k.entry ORDER BY (k.entry ->> 'position')::bigint), '[]')
		  FROM jsonb_array_elements(jsonb_agg(s.consent_history)) a (entries), jsonb_array_elements(a.entries) k (entry))
		   AS consent_history,
	   (SELECT coalesce(jsonb_agg(k.entry ORDER BY (k.entry ->> 'position')::bigint), '[]')
		  FROM jsonb_array_elements(jsonb_agg(s.gdpr_audit_trail)) a (entries), jsonb_array_elements(a.entries) k (entry))
		   AS gdpr_audit_trail
  FROM eventsource.summary s
  JOIN eventsource.word w ON w.id = s.category
 WHERE eventsource.may_read_category(w.word)
 GROUP BY w.word, s.subject;
COMMENT ON VIEW eventsource.event_summaries IS
	'What is kept of archived events after they have gone, one row for each category and subject.';
COMMENT ON COLUMN eventsource.event_summaries.category IS 'Category of the events.';
COMMENT ON COLUMN eventsource.event_summaries.subject IS 'Whom they are about.';
COMMENT ON COLUMN eventsource.event_summaries.total_events IS 'How many were archived.';
COMMENT ON COLUMN eventsource.event_summaries.event_types IS 'How many of each type.';
COMMENT ON COLUMN eventsource.event_summaries.first_event IS 'When the first of them occurred.';
COMMENT ON COLUMN eventsource.event_summaries.last_event IS 'When the last of them occurred.';
COMMENT ON COLUMN eventsource.event_summaries.consent_history IS 'Those of the policy''s consent_types, in full, in order.';
COMMENT ON COLUMN eventsource.event_summaries.gdpr_audit_trail IS 'Those of its audit_types, likewise.';

-- What becomes of the segments of the log.
CREATE VIEW eventsource.segments AS
SELECT g.lower_bound, g.upper_bound, g.table_name,
	   pg_catalog.pg_total_relation_size(k.oid) AS bytes,
	   EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = k.oid) AS is_attached,
	   CASE WHEN a.archived_at IS NOT NULL THEN 'archived'
			WHEN g.upper_bound <= m.position + 1 THEN 'full'
			ELSE 'open' END AS state,
	   a.archived_at,
	   a.pruned_at,
	   coalesce(a.pruned, 0) AS pruned_events
  FROM eventsource.segment g
 CROSS JOIN (SELECT eventsource.watermark() AS position) m
  LEFT JOIN eventsource.archive a ON a.lower_bound = g.lower_bound
  LEFT JOIN pg_catalog.pg_class k
	ON k.relname = g.table_name
   AND k.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'eventsource')
 ORDER BY g.lower_bound;
COMMENT ON VIEW eventsource.segments IS
	'The segments of the log: positions from lower_bound up to, not including, upper_bound.';
COMMENT ON COLUMN eventsource.segments.lower_bound IS 'First position it can hold.';
COMMENT ON COLUMN eventsource.segments.upper_bound IS 'First position it can no longer hold.';
COMMENT ON COLUMN eventsource.segments.table_name IS 'Its table in schema eventsource, named after the first position that it was made for.';
COMMENT ON COLUMN eventsource.segments.bytes IS 'Size in bytes with indexes and TOAST.';
COMMENT ON COLUMN eventsource.segments.is_attached IS 'True if it is part of the log.';
COMMENT ON COLUMN eventsource.segments.state IS
	'open; full (the watermark has passed it: nothing is written into it any more); archived (it was verified and summarised).';
COMMENT ON COLUMN eventsource.segments.archived_at IS 'When it was archived.';
COMMENT ON COLUMN eventsource.segments.pruned_at IS 'When events were last taken out of it.';
COMMENT ON COLUMN eventsource.segments.pruned_events IS 'How many events were, in all.';

CREATE VIEW eventsource.archived_events AS
SELECT e.*
  FROM eventsource.archive a
  JOIN eventsource.segment g ON g.lower_bound = a.lower_bound
  JOIN eventsource.events e ON e.position >= g.lower_bound AND e.position < g.upper_bound
 WHERE a.archived_at IS NOT NULL;
COMMENT ON VIEW eventsource.archived_events IS
	'The events that are in the archive, with the columns of eventsource.events, which shows them as well.';

CREATE VIEW eventsource.pruned_streams AS
SELECT n.name AS stream,
	   w.word AS category,
	   substr(n.name, length(w.word) + 2) AS key,
	   p.version AS pruned_events,
	   h.version - p.version AS events_left,
	   h.version,
	   h.state,
	   n.first_position,
	   p.position AS last_pruned_position,
	   p.recorded_at AS last_pruned_recorded_at
  FROM eventsource.pruned_head p
  JOIN eventsource.stream n ON n.id = p.stream
  LEFT JOIN eventsource.word w ON w.id = (n.id >> 40)::integer
 CROSS JOIN LATERAL eventsource.stream_head(n.id) h
 WHERE eventsource.may_read_stream(p.stream);
COMMENT ON VIEW eventsource.pruned_streams IS
	'The streams whose first events are gone, past their term of retention, one row each.';
COMMENT ON COLUMN eventsource.pruned_streams.stream IS 'Name of the stream.';
COMMENT ON COLUMN eventsource.pruned_streams.category IS 'Its category.';
COMMENT ON COLUMN eventsource.pruned_streams.key IS 'What follows that in the name.';
COMMENT ON COLUMN eventsource.pruned_streams.pruned_events IS 'How many events are gone: versions 1 to this.';
COMMENT ON COLUMN eventsource.pruned_streams.events_left IS 'How many follow them; 0: the whole stream is gone.';
COMMENT ON COLUMN eventsource.pruned_streams.version IS 'Version of the stream, which counts on.';
COMMENT ON COLUMN eventsource.pruned_streams.state IS 'State of its machine, which stays; NULL: it has none.';
COMMENT ON COLUMN eventsource.pruned_streams.first_position IS 'Where its first event stood.';
COMMENT ON COLUMN eventsource.pruned_streams.last_pruned_position IS 'Where the last one that is gone stood.';
COMMENT ON COLUMN eventsource.pruned_streams.last_pruned_recorded_at IS 'When that was recorded.';
