-- One of several readers of the whole log, each of which has its own place in it.
\if :after = -1
SELECT eventsource.watermark() AS after \gset
\endif
SELECT coalesce(max(position), :after) AS after, count(*) AS got FROM eventsource.read_all(:after, 1000) \gset
\if :got = 0
\sleep 10 ms
\endif
