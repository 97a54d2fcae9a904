\set s random(:low, :high)
SELECT position FROM eventsource.append('person-' || :s, :type, :data, metadata => :metadata);
