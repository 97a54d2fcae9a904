\set after random(0, 300000)
SELECT position, stream, version, type, data, metadata, recorded_at
  FROM eventsource.events WHERE position > :after ORDER BY position LIMIT 1000;
