\set s random(:low, :high)
SELECT position FROM eventsource.append('order-' || :s, :type, :data, metadata => :metadata);
