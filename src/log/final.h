/*
 * final.h
 *		Reading final events: those below the watermark, which nothing can appear
 *		among later.
 */
#ifndef ES_LOG_FINAL_H
#define ES_LOG_FINAL_H

#include "log/read.h"

typedef struct EsFinal EsFinal;

/*
 * Determines the watermark, then takes a snapshot that sees all below it, in any
 * isolation level.  Lives in the current memory context, until es_final_end().
 */
extern EsFinal *es_final_begin(void);

/* The watermark, and a snapshot (registered) that sees everything up to it. */
extern int64 es_final_upto(const EsFinal *final);
extern Snapshot es_final_snapshot(const EsFinal *final);

/*
 * Notes that the event which the scan returned last will be acted on: its commit
 * is flushed when all is ended.
 */
extern void es_final_note(EsFinal *final, const EsScan *scan);

/* Flushes WAL up to the commits noted, so that no crash can undo them. */
extern void es_final_end(EsFinal *final);

#endif							/* ES_LOG_FINAL_H */
