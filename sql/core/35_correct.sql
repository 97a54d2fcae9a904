-- Corrections: both the wrong event and its correction stay in the log.

CREATE FUNCTION eventsource.correct_event(event_position bigint, data jsonb, reason text, actor text)
	RETURNS eventsource.appended
	AS 'MODULE_PATHNAME', 'eventsource_correct_event' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.correct_event(bigint, jsonb, text, text) IS
	'Appends to the stream of the event at this position what its data should have been, whole; fields that the database fills in stay unless given. Projections and replays fold it so from now on; the event stays as it is in the log. Correcting it again replaces the correction; a voided event is restored. Returns the correction as append() does. Errors: ZE002 to ZE006 if the stream would not be legal so, the first illegal event in DETAIL; ZE007 if the data does not match the schema of the event''s version; P0002 no such event; 22004 for a missing reason or actor; 0A000, 22023, 42939 for events that cannot be corrected.';

CREATE FUNCTION eventsource.void_event(event_position bigint, reason text, actor text)
	RETURNS eventsource.appended
	AS 'MODULE_PATHNAME', 'eventsource_void_event' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.void_event(bigint, text, text) IS
	'Appends to the stream of the event at this position that it does not count. Projections and replays leave it out from now on; the event stays in the log. Returns the correction as append() does. Errors: ZE002 to ZE006 if the stream would not be legal so, the first illegal event in DETAIL; P0002 no such event; 55000 voided already; 22004 for a missing reason or actor; 0A000, 22023, 42939 for events that cannot be voided.';

CREATE VIEW eventsource.corrections AS
SELECT k.corrects AS position,
	   o.stream, o.version, o.type,
	   CASE WHEN k.is_void THEN 'voided' ELSE 'corrected' END AS kind,
	   k.position AS correction_position,
	   CASE WHEN k.number = 1 THEN d.data WHEN NOT k.was_void THEN b.data END AS data_before,
	   CASE WHEN NOT k.is_void THEN a.data END AS data_after,
	   c.reason, c.actor,
	   k.recorded_at AS corrected_at,
	   k.is_current
  FROM (SELECT x.stream, x.position, x.corrects, x.is_void, x.recorded_at,
			   row_number() OVER w AS number,
			   lag(x.position) OVER w AS position_before,
			   lag(x.is_void) OVER w AS was_void,
			   lead(x.position) OVER w IS NULL AS is_current
		  FROM eventsource.correction x
		WINDOW w AS (PARTITION BY x.corrects ORDER BY x.position)) k
  LEFT JOIN eventsource.events o ON o.position = k.corrects
  LEFT JOIN eventsource.event d ON d.position = k.corrects
  LEFT JOIN eventsource.events c ON c.position = k.position
  LEFT JOIN eventsource.event a ON a.position = k.position
  LEFT JOIN eventsource.event b ON b.position = k.position_before
 WHERE eventsource.may_read_stream(k.stream);
COMMENT ON VIEW eventsource.corrections IS
	'One row per correction, also those that a later one replaced.';
COMMENT ON COLUMN eventsource.corrections.position IS 'Place in the log of the corrected event.';
COMMENT ON COLUMN eventsource.corrections.stream IS 'Stream of both.';
COMMENT ON COLUMN eventsource.corrections.version IS 'Version of the corrected event.';
COMMENT ON COLUMN eventsource.corrections.type IS 'Its type.';
COMMENT ON COLUMN eventsource.corrections.kind IS 'corrected or voided.';
COMMENT ON COLUMN eventsource.corrections.correction_position IS 'Place in the log of the correction.';
COMMENT ON COLUMN eventsource.corrections.data_before IS 'Data of the event as it was believed before, as stored; NULL if it was void then.';
COMMENT ON COLUMN eventsource.corrections.data_after IS 'Data of the event by this correction, as stored; NULL if it voids.';
COMMENT ON COLUMN eventsource.corrections.reason IS 'Why it was corrected.';
COMMENT ON COLUMN eventsource.corrections.actor IS 'Who corrected it.';
COMMENT ON COLUMN eventsource.corrections.corrected_at IS 'When the correction was recorded.';
COMMENT ON COLUMN eventsource.corrections.is_current IS 'True for the one that counts: the last one of its event.';

-- For the views that show states as corrected.
CREATE FUNCTION eventsource.corrected_state(stream bigint, event_position bigint, state integer, is_before boolean)
	RETURNS integer
	AS 'MODULE_PATHNAME', 'eventsource_corrected_state' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.corrected_state(bigint, bigint, integer, boolean) IS
	'Private, for views: the state (word, 0: none) before or after an event of a stream as corrected; state is the one recorded.';
