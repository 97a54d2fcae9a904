\set s random(:low, :high)
SELECT position FROM eventsource.append('account-' || :s, :type, :data, metadata => :metadata);
