\set s random(:low, :high)
\set v random(1, 1000000000000000)
WITH event AS (
	INSERT INTO bench.plain_event (stream, version, type, data, metadata)
	VALUES ('cart-' || :s, :v, :type, :data, :metadata)
	RETURNING position, data),
job AS (
	INSERT INTO bench.plain_job (queue, payload) SELECT 'mail', data FROM event)
SELECT position FROM event;
