-- Versions are random and never meet: the client need not ask for the head.
\set s random(:low, :high)
\set v random(1, 1000000000000000)
INSERT INTO bench.plain_event (stream, version, type, data, metadata)
VALUES ('person-' || :s, :v, :type, :data, :metadata)
RETURNING position;
