-- Events for what was there before a table was tracked. The query of a history
-- is the caller's, and so is the search_path that it is read by.

CREATE FUNCTION eventsource.backfill(
	target regclass, occurred_at text DEFAULT NULL, history text DEFAULT NULL, max_rows bigint DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_backfill' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.backfill(regclass, text, text, bigint) IS
	'Gives the rows that a tracked table had before it was tracked their first event: type <category>_created, is_synthetic, in whatever state the row is, recorded now, occurred at what occurred_at says (a column of the table, or an expression over "row"; default: now). history: a query of columns (key text, at timestamptz, type text, data jsonb, actor text, reason text), by position, from an old history or audit table: those events come first, in order of time, under the rules of the category, with metadata {"backfilled": true}, and end with the image of the row. Rows whose stream exists are left alone, so it may be repeated; at most max_rows (NULL: all) in one call. Returns how many rows (or keys of the history) got their events. All in one transaction, and more than a thousand rows keep other writers of the log waiting until it commits: CALL backfill_in_batches() beside a running application. For the owner of the table. Errors: 42809, 42501, ZE002 where the history is not legal or does not end in the state of the row.';

CREATE PROCEDURE eventsource.backfill_in_batches(
	target regclass, occurred_at text DEFAULT NULL, history text DEFAULT NULL, batch_size integer DEFAULT 500)
	AS 'MODULE_PATHNAME', 'eventsource_backfill_in_batches' LANGUAGE C;
COMMENT ON PROCEDURE eventsource.backfill_in_batches(regclass, text, text, integer) IS
	'As backfill(), with a commit after every batch_size rows, so that an application goes on beside it: it holds the streams of one batch (up to some 700 rows; beyond that, the whole log), never waits for one, and can be stopped and called again. The view eventsource.progress shows how far it has come. Errors: as backfill(), 2D000 inside a transaction block.';
