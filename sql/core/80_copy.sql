-- Copies of categories: what upcasters cannot say (events split, renamed, dropped, in
-- other streams) is written anew into another category, and the old one is kept.

CREATE FUNCTION eventsource.copy_category(
	from_category text, to_category text, mapping jsonb DEFAULT NULL, max_events bigint DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_copy_category' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.copy_category(text, text, jsonb, bigint) IS
	'Appends the events of one category to another, which must be empty at first, in order, each once: those below the watermark, as corrected and upcast; voided ones are left out; a correction of an event that was copied already is carried over to its copies. Called again it goes on where it stopped, so that writers of the old category can go on meanwhile. mapping: event type (or * for those not named) -> null (dropped), an object, or an array of objects (split, in that order) with the members type, data (expression), key or stream (expression; default: the same key), when (boolean expression), schema_version (default: the latest of the new category''s registration); what is not said stays as it is. Expressions are over event and have the rights of who began the copy; a type that is not named stays as it is. occurred_at, actor, reason and metadata are kept, with the member copied_from {position, stream, version}. The rules of the new category hold: an event that they refuse is an error that names it, and nothing of this call is copied. max_events: so many events of the old category at most. Returns how many events were appended. All in one transaction, and more than a thousand new streams keep other writers of the log waiting until it commits: CALL copy_category_in_batches() beside a running application. Errors: ZE011 lists every problem; 42704 if there is no such old category, 55000 if the new category is not empty, if the copy has begun with another category or mapping, if an event that was copied was corrected so that it would be other events, or if a partial restore lost how far it had come; what the rules of the new category raise; 22004, 22023.';

CREATE PROCEDURE eventsource.copy_category_in_batches(
	from_category text, to_category text, mapping jsonb DEFAULT NULL, batch integer DEFAULT 10000)
	AS 'MODULE_PATHNAME', 'eventsource_copy_category_in_batches' LANGUAGE C;
COMMENT ON PROCEDURE eventsource.copy_category_in_batches(text, text, jsonb, integer) IS
	'As copy_category(), with a commit after every batch events of the old category, or some 700 streams of the new one, so that an application goes on beside it; up to the watermark of its last batch. It can be stopped and called again. The view eventsource.progress shows how far it has come, in positions of the log. Errors: as copy_category(), 2D000 inside a transaction block.';

CREATE FUNCTION eventsource.drop_category_copy(to_category text) RETURNS void
	AS 'MODULE_PATHNAME', 'eventsource_drop_category_copy' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.drop_category_copy(text) IS
	'Ends a copy: where it stood is forgotten, what it has copied stays. Once the application writes the new category, there is nothing more to copy. Errors: 42704 if there is no copy to this category.';

CREATE FUNCTION eventsource.category_copy_definitions()
	RETURNS TABLE (name text, version bigint, event_position bigint, definition jsonb)
	AS 'MODULE_PATHNAME', 'eventsource_category_copy_definitions' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.category_copy_definitions() IS
	'Private, for views: the current definition of each copy of a category.';

CREATE VIEW eventsource.category_copies AS
SELECT d.definition ->> 'from' AS from_category,
	   d.name AS to_category,
	   c.position,
	   w.watermark,
	   CASE WHEN p.is_behind THEN greatest(w.watermark - c.position, 0) ELSE 0 END AS lag,
	   CASE WHEN p.is_behind THEN 'behind' ELSE 'current' END AS status,
	   c.applied_at AS copied_at,
	   d.definition -> 'mapping' AS mapping,
	   d.definition ->> 'owner' AS owner,
	   e.recorded_at AS begun_at
  FROM eventsource.category_copy_definitions() d
 CROSS JOIN (SELECT eventsource.watermark() AS watermark) w
  LEFT JOIN eventsource.projection_cursor c ON c.name = 'category_copy.' || d.name
  LEFT JOIN eventsource.event e ON e.position = d.event_position
 CROSS JOIN LATERAL (
		SELECT EXISTS (SELECT FROM eventsource.read_category(d.definition ->> 'from', c.position, 1)) AS is_behind) p
 WHERE eventsource.may_read_categories(ARRAY[d.definition ->> 'from', d.name]);
COMMENT ON VIEW eventsource.category_copies IS
	'The copies of categories that were begun and not dropped, one row each, and how far they have come.';
COMMENT ON COLUMN eventsource.category_copies.from_category IS 'The category that is copied.';
COMMENT ON COLUMN eventsource.category_copies.to_category IS 'The category that it is copied to.';
COMMENT ON COLUMN eventsource.category_copies.position IS 'Everything of the old category up to here is copied.';
COMMENT ON COLUMN eventsource.category_copies.watermark IS 'Up to here it could be.';
COMMENT ON COLUMN eventsource.category_copies.lag IS 'Positions from there to the watermark; 0 if there is nothing to copy.';
COMMENT ON COLUMN eventsource.category_copies.status IS 'current, or behind: copy_category has something to do.';
COMMENT ON COLUMN eventsource.category_copies.copied_at IS 'When it went on last.';
COMMENT ON COLUMN eventsource.category_copies.mapping IS 'What becomes of which event type; NULL: every event is copied as it is.';
COMMENT ON COLUMN eventsource.category_copies.owner IS 'Role that began it, whose rights the mapping''s expressions have.';
COMMENT ON COLUMN eventsource.category_copies.begun_at IS 'When it was begun.';
