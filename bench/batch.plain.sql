-- As arrays, which is no slower than VALUES with a parameter per value, and not
-- limited in the number of rows.
\set s random(:low, :high)
\set v random(1, 1000000000000000)
INSERT INTO bench.plain_event (stream, version, type, data, metadata)
SELECT 'order-' || prefix || :s, :v, type, data, metadata
  FROM unnest(:prefixes::text[], :types::text[], :datas::jsonb[], :metadatas::jsonb[]) e (prefix, type, data, metadata)
RETURNING position;
