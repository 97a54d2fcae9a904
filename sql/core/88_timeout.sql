-- Timeouts of state machines: jobs of the queue $timeout. src/append/timer.h.

CREATE FUNCTION eventsource.schedule_timeouts(category text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_schedule_timeouts' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.schedule_timeouts(text) IS
	'For streams of a category that stand in a state which got a timeout ("after") by a later version of its state machine: schedules it, counted from when the state was entered; returns how many. What is scheduled stays as it is, and so does what was: timeouts whose jobs are kept, or whose events tell of them; so it can be called again. Subjects that are erased are left out, and an erasure waits for its end. Streams that enter a state are scheduled without it. Errors: 55000 (the category has no state machine), 42501.';
