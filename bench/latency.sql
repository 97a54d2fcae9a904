-- latency.sql: a projection that the worker keeps up to date, and who looks at it.
\set ON_ERROR_STOP on
\o /dev/null
SET client_min_messages = warning;

CREATE TABLE bench.latency (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('bench.latency', '{latency}', '{"*": "n = row.n + 1"}', mode => 'async',
	settings => '{"interval": "0"}');
CREATE UNLOGGED TABLE bench.probed (ms double precision);

-- Appends an event, and looks until it shows.
CREATE PROCEDURE bench.probe(times int) LANGUAGE plpgsql AS $$
DECLARE
	seen bigint := coalesce((SELECT l.n FROM bench.latency l WHERE l.key = 'probe'), 0);
	since timestamptz;
BEGIN
	TRUNCATE bench.probed;
	COMMIT;
	FOR i IN 1 .. times LOOP
		PERFORM eventsource.append('latency-probe', 'made');
		COMMIT;
		since := clock_timestamp();
		WHILE coalesce((SELECT l.n FROM bench.latency l WHERE l.key = 'probe'), 0) < seen + i LOOP
			COMMIT;
			PERFORM pg_sleep(0.0002);
		END LOOP;
		INSERT INTO bench.probed VALUES (extract(epoch FROM clock_timestamp() - since) * 1000);
		COMMIT;
		PERFORM pg_sleep(random() * 0.01);
	END LOOP;
END
$$;
