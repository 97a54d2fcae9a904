\set s random(:low, :high)
SELECT position FROM eventsource.append('cart-' || :s, :type, :data, metadata => :metadata);
