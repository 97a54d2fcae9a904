-- modes.sql: the same small table kept by an inline projection, by an async one and
-- by a handler, each from a category of its own.
\set ON_ERROR_STOP on
\o /dev/null
SET client_min_messages = warning;

CREATE TABLE bench.mode_inline (key text PRIMARY KEY, balance numeric NOT NULL DEFAULT 0, steps bigint NOT NULL DEFAULT 0);
CREATE TABLE bench.mode_async (LIKE bench.mode_inline INCLUDING ALL);
CREATE TABLE bench.mode_handler (LIKE bench.mode_inline INCLUDING ALL);
SELECT eventsource.create_projection('bench.mode_' || mode, ARRAY['mode' || mode], jsonb_build_object('step_done',
		$$balance = row.balance + (event.data->>'amount')::numeric, steps = row.steps + 1$$), mode => mode)
  FROM unnest(ARRAY['inline', 'async']) mode;

CREATE FUNCTION bench.handle(event eventsource.events) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO bench.mode_handler AS m VALUES (event.key, (event.data->>'amount')::numeric, 1)
	ON CONFLICT (key) DO UPDATE SET balance = m.balance + (event.data->>'amount')::numeric, steps = m.steps + 1;
END
$$;
SELECT eventsource.create_handler('bench', '{modehandler}', 'bench.handle(eventsource.events)');

CREATE PROCEDURE bench.append_many(mode text, events int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. events LOOP
		PERFORM eventsource.append(format('mode%s-%s', mode, i % 1000), 'step_done',
			'{"channel": "phone", "outcome": "no answer", "attempt": 3, "agent": "agent-17", "amount": 12.50}');
		COMMIT;
	END LOOP;
END
$$;
