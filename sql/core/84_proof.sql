-- Proof: a Merkle tree over the log, whose root can be kept where nobody who
-- changes the log can reach it.

-- Full tiles of 256 hashes. Those of level 0 are of the events in order of
-- position; those of a higher level are the roots of the tiles below.
CREATE TABLE eventsource.tile (
	level          smallint NOT NULL,
	index          bigint   NOT NULL,
	first_position bigint   NOT NULL,
	last_position  bigint   NOT NULL,
	root           bytea    NOT NULL,
	hashes         bytea    NOT NULL,
	CONSTRAINT tile_pkey PRIMARY KEY (level, index)
) USING heap;
CREATE UNIQUE INDEX tile_position_idx ON eventsource.tile (level, first_position);
-- Hashes cannot be compressed.
ALTER TABLE eventsource.tile ALTER COLUMN root SET STORAGE PLAIN, ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TABLE eventsource.seal (
	size      bigint      NOT NULL CONSTRAINT seal_pkey PRIMARY KEY,
	position  bigint      NOT NULL,
	root      bytea       NOT NULL,
	sealed_at timestamptz NOT NULL
) USING heap;

COMMENT ON TABLE eventsource.tile IS 'Private: the tree over the log, by tiles. Append-only.';
COMMENT ON TABLE eventsource.seal IS 'Private: how the tree over the log grew. Append-only. Read the view eventsource.seals.';

SELECT pg_catalog.pg_extension_config_dump('eventsource.tile', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.seal', '');

CREATE VIEW eventsource.seals AS
SELECT s.size, s.position AS last_position, s.root, s.sealed_at FROM eventsource.seal s;
COMMENT ON VIEW eventsource.seals IS 'How the tree over the log grew: a row each time that events were sealed.';
COMMENT ON COLUMN eventsource.seals.size IS 'How many events were sealed then.';
COMMENT ON COLUMN eventsource.seals.last_position IS 'Position of the last one.';
COMMENT ON COLUMN eventsource.seals.root IS 'Root of the tree.';
COMMENT ON COLUMN eventsource.seals.sealed_at IS 'When.';

CREATE FUNCTION eventsource.seal(
	max_count bigint DEFAULT NULL, OUT size bigint, OUT last_position bigint, OUT root bytea, OUT events bigint)
	AS 'MODULE_PATHNAME', 'eventsource_seal' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.seal(bigint) IS
	'Adds the events that became final (below the watermark) to the tree over the log, at most max_count of them (NULL: all); returns how large it is, up to which position, its root, and how many events came. The worker does so every eventsource.seal_interval; without it call this now and then. Does nothing in a log that was restored and not appended to yet. Errors: ZE012 if events that were sealed are not what they were.';

CREATE FUNCTION eventsource.checkpoint(tree_size bigint DEFAULT NULL) RETURNS text
	AS 'MODULE_PATHNAME', 'eventsource_checkpoint' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.checkpoint(bigint) IS
	'The newest sealed tree (or the one of its first tree_size events) as the body of a signed note (C2SP tlog-checkpoint): three lines with the log, the number of events, and the root in base64. To be signed and kept outside the database. Tells of no event that a crash could undo. NULL before the first seal. Errors: ZE012 if so many events are not sealed.';

CREATE FUNCTION eventsource.inclusion_proof(
	event_position bigint, tree_size bigint DEFAULT NULL,
	OUT leaf_index bigint, OUT size bigint, OUT hash bytea, OUT root bytea, OUT proof bytea[])
	AS 'MODULE_PATHNAME', 'eventsource_inclusion_proof' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.inclusion_proof(bigint, bigint) IS
	'Proof (RFC 6962) that the event at a position is in the sealed tree, or in that of its first tree_size events: its number among the leaves, from 0, the size of the tree, the hash of the event, which is what the leaf holds, the root, and the hashes that lead from one to the other. Errors: P0002 if no such event is sealed, ZE012 if so many events are not.';

CREATE FUNCTION eventsource.consistency_proof(old_size bigint, new_size bigint DEFAULT NULL) RETURNS bytea[]
	AS 'MODULE_PATHNAME', 'eventsource_consistency_proof' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.consistency_proof(bigint, bigint) IS
	'Proof (RFC 6962) that the tree of the first old_size events is the beginning of that of new_size (NULL: of all that is sealed). Errors: ZE012 if so many events are not sealed: the log was shortened, if a checkpoint has that size.';

CREATE FUNCTION eventsource.verify_log(checkpoint text DEFAULT NULL, all_events boolean DEFAULT false)
	RETURNS TABLE (event_position bigint, stream_name text, version bigint, status text, problem text)
	AS 'MODULE_PATHNAME', 'eventsource_verify_log' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION eventsource.verify_log(text, boolean) IS
	'Verifies the whole log: each event against its hash and the one before it in its stream, the hashes against the sealed tree, the tree against a checkpoint that was kept outside. A row for each event that is not ok: status is redacted (its data was erased, and the log says so) or tampered; all_events: also for those that are ok, or pruned (gone, but for the hash, by retention, and the log says so). Rows without a position are of what is no event: events that are missing, tiles, seals. No rows: all is well. Until the transaction ends retention takes nothing away. Errors: ZE012 if the log is shorter than the checkpoint, or is not the one it was made of; 22023 if it is no checkpoint.';

CREATE FUNCTION eventsource.export_log(after_position bigint DEFAULT 0, max_count bigint DEFAULT NULL)
	RETURNS SETOF text
	AS 'MODULE_PATHNAME', 'eventsource_export_log' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.export_log(bigint, bigint) IS
	'Final events after a position, at most max_count (NULL: all), as lines of JSON for a verifier outside the database (tools/verify_log.py): everything that is hashed, as it is stored. A first line says which log it is; no line at all if there is no event. The last lines, marked beyond, are accounts of erasures and retention that are not final yet. Until the transaction ends retention takes nothing away.';
