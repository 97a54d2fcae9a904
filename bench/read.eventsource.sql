\set after random(0, 300000)
SELECT position, stream, version, type, data, metadata, recorded_at
  FROM eventsource.read_all(:after, 1000);
