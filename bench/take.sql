SELECT bench.take_:reader() AS got \gset
\if :got = 0
\sleep 1 ms
\endif
