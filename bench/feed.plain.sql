\set s random(:low, :high)
\set v random(1, 1000000000000000)
INSERT INTO bench.feed_event (stream, version, type, data, metadata)
VALUES ('order-' || :s, :v, :type, :data, :metadata) RETURNING position;
