\set s random(:low, :high)
SELECT position FROM eventsource.append('latency-' || :s, :type, :data, metadata => :metadata);
