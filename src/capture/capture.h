/*
 * capture.h
 *		The triggers on tracked tables.
 */
#ifndef ES_CAPTURE_CAPTURE_H
#define ES_CAPTURE_CAPTURE_H

/* Names of the triggers: they sort before those of foreign keys and of users. */
#define ES_CAPTURE_ROW			"00_eventsource_capture"
#define ES_CAPTURE_SETTLE		"00_eventsource_settle"
#define ES_CAPTURE_TRUNCATE		"00_eventsource_truncate"

extern void es_capture_init(void);

#endif							/* ES_CAPTURE_CAPTURE_H */
