\set s random(:low, :high)
SELECT position FROM eventsource.append_events(replace(:events, '@', :s::text)::jsonb);
