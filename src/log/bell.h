/*
 * bell.h
 *		Waking those who wait for events.
 *
 * The bell rings when a transaction that had drawn positions is over: committed or
 * not, out of the snapshots, and its bound gone.  Whoever waits writes
 *
 *		look; if there is nothing:
 *		es_bell_prepare();
 *		while (still nothing on looking again && time is left)
 *			es_bell_sleep(time left);
 *		es_bell_cancel();
 *
 * Looking means to determine the watermark anew.  What happened before
 * es_bell_prepare(), or before es_bell_sleep() returned, is seen; what happens
 * later rings.  A server that did not preload the library has no bell: no sleep
 * lasts longer than ES_BELL_LONGEST.
 */
#ifndef ES_LOG_BELL_H
#define ES_LOG_BELL_H

#include "postgres.h"

#define ES_BELL_LONGEST		1000	/* ms */

extern void es_bell_prepare(void);

/*
 * Sleeps until the bell rings or the time (ms) is over, ES_BELL_LONGEST at most;
 * false if it has not rung, as far as can be known.  Checks for interrupts; an
 * error needs no es_bell_cancel().
 */
extern bool es_bell_sleep(long timeout_ms);

extern void es_bell_cancel(void);

/* To be rung once the transaction has ended and released its locks. */
extern void es_bell_ring_later(void);

extern void es_bell_init(void);

#endif							/* ES_LOG_BELL_H */
