-- Aggregates for analysts: how far a funnel goes, and how long states last.  They
-- work on rows of any table and know nothing of the log.

CREATE FUNCTION eventsource.window_funnel_step(state internal, period interval, mode text, ts timestamptz, VARIADIC conditions boolean[])
	RETURNS internal
	AS 'MODULE_PATHNAME', 'eventsource_window_funnel_step' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.window_funnel_step(internal, interval, text, timestamptz, boolean[]) IS
	'Private, for the aggregate window_funnel: takes a row. Errors: 22004, 22023, 54000.';

CREATE FUNCTION eventsource.window_funnel_combine(state internal, other internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'eventsource_window_funnel_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.window_funnel_combine(internal, internal) IS
	'Private, for the aggregate window_funnel: puts the rows of two processes together. Errors: 22023, 54000.';

CREATE FUNCTION eventsource.window_funnel_serialize(state internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'eventsource_window_funnel_serialize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.window_funnel_serialize(internal) IS
	'Private, for the aggregate window_funnel: hands rows to another process.';

CREATE FUNCTION eventsource.window_funnel_deserialize(bytes bytea, state internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'eventsource_window_funnel_deserialize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.window_funnel_deserialize(bytea, internal) IS
	'Private, for the aggregate window_funnel: takes rows from another process.';

CREATE FUNCTION eventsource.window_funnel_result(state internal) RETURNS integer
	AS 'MODULE_PATHNAME', 'eventsource_window_funnel_result' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.window_funnel_result(internal) IS
	'Private, for the aggregate window_funnel: the level.';

CREATE AGGREGATE eventsource.window_funnel(period interval, mode text, ts timestamptz, VARIADIC conditions boolean[]) (
	SFUNC = eventsource.window_funnel_step,
	STYPE = internal,
	FINALFUNC = eventsource.window_funnel_result,
	COMBINEFUNC = eventsource.window_funnel_combine,
	SERIALFUNC = eventsource.window_funnel_serialize,
	DESERIALFUNC = eventsource.window_funnel_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventsource.window_funnel(interval, text, timestamptz, boolean[]) IS
	'How many of the conditions held, one after the other, no later than a period (inclusive) after the first did: the deepest level that was reached, 0 if none. period: added to ts as "ts + period" does, so months are those of the calendar and days those of the session''s time zone; NULL: no limit. mode: NULL, '''' or names joined by commas, as ClickHouse''s windowFunnel has them: strict_deduplication (a condition that holds again ends it), strict_order (and so does a row for which another or none holds), allow_reentry (with strict_order: a condition that holds too early is overlooked), strict_increase (each level is later than the one before), strict_once (each row counts for one level). Of equal times the earlier condition counts first, whatever the order of the rows. A condition that is NULL does not hold, a row whose ts is NULL does not count. Errors: 22004 conditions are NULL, 22023 unknown mode, negative period, or either changes in a group; 54000 more than 64 conditions, or 5 million rows of a group.';

CREATE TYPE eventsource.state_period AS (
	state      text,
	start_time timestamptz,
	end_time   timestamptz
);
COMMENT ON TYPE eventsource.state_period IS
	'A time in which a state held; an array of them, in order, is what state_agg returns.';
COMMENT ON COLUMN eventsource.state_period.state IS 'The state.';
COMMENT ON COLUMN eventsource.state_period.start_time IS 'When it began.';
COMMENT ON COLUMN eventsource.state_period.end_time IS 'When the next began; of the last one, when it was last seen.';

CREATE FUNCTION eventsource.state_agg_step(states internal, ts timestamptz, state text) RETURNS internal
	AS 'MODULE_PATHNAME', 'eventsource_state_agg_step' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.state_agg_step(internal, timestamptz, text) IS
	'Private, for the aggregate state_agg: takes a row. Errors: 22023, 54000.';

CREATE FUNCTION eventsource.state_agg_result(states internal) RETURNS eventsource.state_period[]
	AS 'MODULE_PATHNAME', 'eventsource_state_agg_result' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.state_agg_result(internal) IS
	'Private, for the aggregate state_agg: the periods. Errors: 54000.';

CREATE AGGREGATE eventsource.state_agg(ts timestamptz, state text) (
	SFUNC = eventsource.state_agg_step,
	STYPE = internal,
	FINALFUNC = eventsource.state_agg_result,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventsource.state_agg(timestamptz, text) IS
	'When each state held, from rows that say what the state became or still was: an array of periods, one for each time at which it became another; NULL without rows. For duration_in(), state_at(), state_timeline(), state_periods(), into_values() and interpolated_...(). The last period ends with the last row. Rows may come in any order, but of several states at one time the one that came last counts, so where that can happen say ORDER BY. States are one if their bytes are, whatever their collation. A row of which ts or state is NULL does not count. Errors: 22023 infinite time; 54000 more than 5 million rows of a group, or more periods than one value can hold.';

CREATE FUNCTION eventsource.state_timeline(agg eventsource.state_period[])
	RETURNS TABLE (state text, start_time timestamptz, end_time timestamptz)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 10
	BEGIN ATOMIC
		SELECT p.state, p.start_time, p.end_time FROM unnest(agg) p;
	END;
COMMENT ON FUNCTION eventsource.state_timeline(eventsource.state_period[]) IS
	'What state_agg gathered: states in order, with when each began and ended.';

CREATE FUNCTION eventsource.state_periods(agg eventsource.state_period[], state text)
	RETURNS TABLE (start_time timestamptz, end_time timestamptz)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 10
	BEGIN ATOMIC
		SELECT p.start_time, p.end_time FROM unnest(agg) p WHERE p.state = state_periods.state;
	END;
COMMENT ON FUNCTION eventsource.state_periods(eventsource.state_period[], text) IS
	'When a state held, by what state_agg gathered: one row per period.';

CREATE FUNCTION eventsource.state_at(agg eventsource.state_period[], ts timestamptz) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN (SELECT p.state FROM unnest(agg) p WHERE p.start_time <= ts ORDER BY p.start_time DESC LIMIT 1);
COMMENT ON FUNCTION eventsource.state_at(eventsource.state_period[], timestamptz) IS
	'The state at a time, inclusive of when it began, by what state_agg gathered: NULL before the first; after the last row, its state.';

CREATE FUNCTION eventsource.duration_in(agg eventsource.state_period[], state text, start_at timestamptz DEFAULT NULL, period interval DEFAULT NULL)
	RETURNS interval
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN (SELECT CASE WHEN agg IS NOT NULL THEN justify_hours(coalesce(sum(least(p.end_time, b.stop) - greatest(p.start_time, b.start)), '0')) END
			  FROM (SELECT coalesce(duration_in.start_at, agg[array_lower(agg, 1)].start_time)) a (start)
			  CROSS JOIN LATERAL (SELECT a.start, coalesce(a.start + duration_in.period, 'infinity') AS stop) b
			  JOIN unnest(agg) p ON p.state = duration_in.state AND p.start_time < b.stop AND p.end_time > b.start);
COMMENT ON FUNCTION eventsource.duration_in(eventsource.state_period[], text, timestamptz, interval) IS
	'How long a state held, by what state_agg gathered, until the last row: days of 24 hours, and a rest. start_at: what was before does not count (NULL: all does); period: nor what is as late as so long after that, or after the first row (NULL: no limit).';

CREATE FUNCTION eventsource.into_values(agg eventsource.state_period[]) RETURNS TABLE (state text, duration interval)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 5
	BEGIN ATOMIC
		SELECT p.state, justify_hours(sum(p.end_time - p.start_time)) FROM unnest(agg) p GROUP BY p.state ORDER BY p.state COLLATE "C";
	END;
COMMENT ON FUNCTION eventsource.into_values(eventsource.state_period[]) IS
	'How long each state held, by what state_agg gathered, until the last row: days of 24 hours, and a rest. One row per state, by name.';

CREATE FUNCTION eventsource.interpolated_state_timeline(agg eventsource.state_period[], start_at timestamptz, period interval,
		prev eventsource.state_period[] DEFAULT NULL)
	RETURNS TABLE (state text, start_time timestamptz, end_time timestamptz)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
	BEGIN ATOMIC
		SELECT y.state, greatest(y.start_time, start_at), least(y.next_at, start_at + period)
		  FROM (SELECT x.state, x.start_time, coalesce(lead(x.start_time) OVER (ORDER BY x.start_time), 'infinity') AS next_at
				  FROM (SELECT s.state, s.start_time, lag(s.state) OVER (ORDER BY s.start_time) AS was
						  FROM (SELECT p.state, p.start_time FROM unnest(agg) p
								UNION ALL (SELECT p.state, p.start_time FROM unnest(prev) p
											WHERE (p.start_time < agg[array_lower(agg, 1)].start_time) IS NOT FALSE
											ORDER BY p.start_time DESC LIMIT 1)) s) x
				 WHERE x.state IS DISTINCT FROM x.was) y
		 WHERE y.next_at > start_at AND y.start_time < start_at + period
		 ORDER BY y.start_time;
	END;
COMMENT ON FUNCTION eventsource.interpolated_state_timeline(eventsource.state_period[], timestamptz, interval, eventsource.state_period[]) IS
	'What state_agg gathered, from start_at until before so long after that: states in order, with when each began and ended within. The last state holds to the end. prev: what was gathered of the time before, whose last state holds from start_at on.';

CREATE FUNCTION eventsource.interpolated_state_periods(agg eventsource.state_period[], state text, start_at timestamptz, period interval,
		prev eventsource.state_period[] DEFAULT NULL)
	RETURNS TABLE (start_time timestamptz, end_time timestamptz)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
	BEGIN ATOMIC
		SELECT t.start_time, t.end_time FROM eventsource.interpolated_state_timeline(agg, start_at, period, prev) t
		 WHERE t.state = interpolated_state_periods.state;
	END;
COMMENT ON FUNCTION eventsource.interpolated_state_periods(eventsource.state_period[], text, timestamptz, interval, eventsource.state_period[]) IS
	'When a state held, as interpolated_state_timeline() tells it: one row per period.';

CREATE FUNCTION eventsource.interpolated_duration_in(agg eventsource.state_period[], state text, start_at timestamptz, period interval,
		prev eventsource.state_period[] DEFAULT NULL)
	RETURNS interval
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN (SELECT justify_hours(coalesce(sum(t.end_time - t.start_time), '0'))
			  FROM eventsource.interpolated_state_timeline(agg, start_at, period, prev) t WHERE t.state = interpolated_duration_in.state);
COMMENT ON FUNCTION eventsource.interpolated_duration_in(eventsource.state_period[], text, timestamptz, interval, eventsource.state_period[]) IS
	'How long a state held, as interpolated_state_timeline() tells it: days of 24 hours, and a rest.';
