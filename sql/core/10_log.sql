-- The log: private tables. Rows enter through the C functions of src/append
-- alone; a guard on each table refuses everything else.

COMMENT ON SCHEMA eventsource IS 'Extension eventsource: the event log, and what is made of it. Nothing of others lives here.';

-- Small ids for words that repeat endlessly: types, states, reasons, actors,
-- roles, categories, machines. Two sessions that meet a new word at the same
-- time may each give it an id, so that neither waits for the other.
CREATE TABLE eventsource.word (
	id   integer NOT NULL CONSTRAINT word_pkey PRIMARY KEY,
	word text COLLATE "C" NOT NULL
) USING heap;
CREATE INDEX word_word_idx ON eventsource.word (word);
CREATE SEQUENCE eventsource.word_seq AS integer;

-- The upper 24 bits of a stream's id are the word of its category.
CREATE TABLE eventsource.stream (
	id             bigint NOT NULL CONSTRAINT stream_pkey PRIMARY KEY,
	first_position bigint NOT NULL,
	name           text COLLATE "C" NOT NULL
) USING heap;
CREATE UNIQUE INDEX stream_name_idx ON eventsource.stream (name);
CREATE SEQUENCE eventsource.stream_seq MAXVALUE 1099511627775;

-- Where a stream goes on in a later segment: its first event there.
CREATE TABLE eventsource.stream_segment (
	stream         bigint NOT NULL,
	first_position bigint NOT NULL,
	first_version  bigint NOT NULL,
	CONSTRAINT stream_segment_pkey PRIMARY KEY (stream, first_position)
) USING heap;

-- The segments of the log: lower_bound <= position < upper_bound.
CREATE TABLE eventsource.segment (
	lower_bound bigint NOT NULL CONSTRAINT segment_pkey PRIMARY KEY,
	upper_bound bigint NOT NULL,
	table_name  name   NOT NULL
) USING heap;

CREATE TABLE eventsource.idempotency (
	stream  bigint NOT NULL,
	version bigint NOT NULL,
	digest  bytea  NOT NULL,
	key     text COLLATE "C" NOT NULL,
	CONSTRAINT idempotency_pkey PRIMARY KEY (stream, key)
) USING heap;
CREATE UNIQUE INDEX idempotency_version_idx ON eventsource.idempotency (stream, version);

-- Index of the corrections: an event (position) that says what another one of its
-- stream (corrects) should have said, or that it does not count. From that one
-- on, below upto, events leave the stream in this state (word, 0: none).
CREATE TABLE eventsource.correction (
	position    bigint      NOT NULL CONSTRAINT correction_pkey PRIMARY KEY,
	corrects    bigint      NOT NULL,
	stream      bigint      NOT NULL,
	upto        bigint      NOT NULL,
	recorded_at timestamptz NOT NULL,
	state       integer     NOT NULL,
	is_void     boolean     NOT NULL
) USING heap;
CREATE INDEX correction_stream_idx ON eventsource.correction (stream);
CREATE INDEX correction_corrects_idx ON eventsource.correction (corrects, position);

-- Personal fields, which data of their event lacks: path -> value. salts: 32 bytes per
-- field, in the order of the paths' bytes in UTF-8; zeros where the value is not what
-- was recorded any more. commits: likewise what was committed to, once a salt is gone.
-- state: 0, or 1 while they are hidden. The one table here whose rows change.
CREATE TABLE eventsource.vault (
	position bigint   NOT NULL CONSTRAINT vault_pkey PRIMARY KEY,
	stream   bigint   NOT NULL,
	subject  text     COLLATE "C" NOT NULL,
	fields   jsonb    NOT NULL,
	salts    bytea    NOT NULL,
	commits  bytea    NOT NULL,
	state    smallint NOT NULL
) USING heap;
CREATE INDEX vault_subject_idx ON eventsource.vault (subject);
-- No statistics, which would be copies of what can be erased.
ALTER TABLE eventsource.vault ALTER COLUMN subject SET STATISTICS 0, ALTER COLUMN fields SET STATISTICS 0,
	ALTER COLUMN salts SET STATISTICS 0, ALTER COLUMN commits SET STATISTICS 0;

-- What a stream had come to at some of its versions, so that a replay need not
-- begin with the first. target: name of a projection, '' for the tracked table (or
-- the state alone); definition: what the row was made under. Never needed, and
-- never dumped.
CREATE TABLE eventsource.snapshot (
	stream      bigint      NOT NULL,
	target      text        COLLATE "C" NOT NULL,
	version     bigint      NOT NULL,
	position    bigint      NOT NULL,
	recorded_at timestamptz NOT NULL,
	occurred_at timestamptz NOT NULL,
	events      bigint      NOT NULL,
	state       integer     NOT NULL,
	definition  bigint      NOT NULL,
	row_data    jsonb,
	CONSTRAINT snapshot_pkey PRIMARY KEY (stream, target, version)
) USING heap;

-- One row: which log this is, anywhere in the world.
CREATE TABLE eventsource.log (
	id         uuid NOT NULL CONSTRAINT log_pkey PRIMARY KEY,
	format     integer NOT NULL,
	created_at timestamptz NOT NULL
) USING heap;

-- One row once the log was opened in this database; never dumped, so that a
-- restored copy is checked before its first append.
CREATE TABLE eventsource.local (
	opened_at timestamptz NOT NULL
) USING heap;

-- Cached positions would lie below a bound published later.
CREATE SEQUENCE eventsource.position_seq CACHE 1;

-- Words are ids here and 0 is none, so that no row needs a null bitmap. What is
-- most often the same as another column is empty then: subject (the stream) and
-- extra (else the business time, 8 bytes, microseconds since 2000, big-endian; and
-- behind it, where data lacks personal fields, the commitment to them, 32 bytes).
-- The segments are its partitions; they are made at run time.
CREATE TABLE eventsource.event (
	position       bigint      NOT NULL,
	stream         bigint      NOT NULL,
	version        bigint      NOT NULL,
	recorded_at    timestamptz NOT NULL,
	type           integer     NOT NULL,
	actor          integer     NOT NULL,
	recorded_by    integer     NOT NULL,
	from_state     integer     NOT NULL,
	to_state       integer     NOT NULL,
	reason         integer     NOT NULL,
	machine        integer     NOT NULL,
	schema_version smallint    NOT NULL,
	flags          smallint    NOT NULL,
	hash           bytea       NOT NULL,
	data           jsonb       NOT NULL,
	metadata       jsonb       NOT NULL,
	subject        text        NOT NULL,
	extra          bytea       NOT NULL
) PARTITION BY RANGE (position);

COMMENT ON TABLE eventsource.word IS 'Private: dictionary of words that events repeat. Append-only.';
COMMENT ON TABLE eventsource.stream IS 'Private: one row per stream. Append-only. Read the view eventsource.streams.';
COMMENT ON TABLE eventsource.stream_segment IS 'Private: the later segments in which a stream has events. Append-only.';
COMMENT ON TABLE eventsource.segment IS 'Private: bounds of the segments of the log. Read the view eventsource.segments.';
COMMENT ON TABLE eventsource.idempotency IS 'Private: idempotency keys, whose scope is the stream, with a digest of what was appended.';
COMMENT ON TABLE eventsource.correction IS 'Private: which event corrects which. Append-only. Read the view eventsource.corrections.';
COMMENT ON TABLE eventsource.vault IS 'Private: personal fields of events, which can be erased.';
COMMENT ON TABLE eventsource.snapshot IS 'Private: snapshots of streams. Not dumped. Read the view eventsource.snapshots.';
COMMENT ON TABLE eventsource.log IS 'Private: identity of this log.';
COMMENT ON TABLE eventsource.local IS 'Private: says that the log was opened in this database. Not dumped.';
COMMENT ON TABLE eventsource.event IS 'Private: the log. Append-only. Read the view eventsource.events.';
COMMENT ON SEQUENCE eventsource.word_seq IS 'Private: ids of words.';
COMMENT ON SEQUENCE eventsource.stream_seq IS 'Private: ids of streams.';
COMMENT ON SEQUENCE eventsource.position_seq IS 'Private: positions in the log.';

SELECT pg_catalog.pg_extension_config_dump('eventsource.word', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.stream', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.stream_segment', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.segment', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.idempotency', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.correction', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.vault', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.log', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.word_seq', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.stream_seq', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.position_seq', '');

-- Guards. Row triggers are cloned to segments and also see what a replication
-- worker applies; statement triggers are not cloned: each segment gets its own
-- when it is made. They do not look at the role.
CREATE FUNCTION eventsource.guard() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eventsource_guard' LANGUAGE C;
COMMENT ON FUNCTION eventsource.guard() IS
	'Trigger of the append-only tables: refuses UPDATE, DELETE and TRUNCATE, and a direct INSERT once the log is open (ZE001).';
