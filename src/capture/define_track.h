/*
 * define_track.h
 *		Definitions of tracked tables, as track_table() and capture write them.
 */
#ifndef ES_CAPTURE_DEFINE_TRACK_H
#define ES_CAPTURE_DEFINE_TRACK_H

#include "capture/track.h"

/*
 * Writes the definition anew where the table has other columns than it says, or
 * is another table since a restore.  Runs as the table's owner.
 */
extern void es_tracking_write_renewed(const EsTracking *tracking);

#endif							/* ES_CAPTURE_DEFINE_TRACK_H */
