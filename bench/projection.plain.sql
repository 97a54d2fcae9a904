\set s random(:low, :high)
\set v random(1, 1000000000000000)
WITH event AS (
	INSERT INTO bench.plain_event (stream, version, type, data, metadata)
	VALUES ('account-' || :s, :v, :type, :data, :metadata)
	RETURNING position, stream, data),
row AS (
	INSERT INTO bench.plain_account AS a (account, balance, steps)
	SELECT substr(stream, 9), (data->>'amount')::numeric, 1 FROM event
	ON CONFLICT (account) DO UPDATE SET balance = a.balance + excluded.balance, steps = a.steps + 1)
SELECT position FROM event;
