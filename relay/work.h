/*
 * work.h
 *		What is asked of the database: jobs, leases, and that it takes outcomes down.
 */
#ifndef RELAY_WORK_H
#define RELAY_WORK_H

#include "text.h"

/* Names this process to the database. */
extern void work_begin(void);

/* From now on nothing new is claimed. */
extern void work_stop_claiming(void);

/* Sends what is most urgent, if the database can take it; when to look again at the latest. */
extern int64_t work_step(int64_t now);

/* Nothing is under way, and nothing new will come. */
extern bool work_is_done(void);

/* The database does not let this role work the queue: the reason, else NULL. */
extern const char *work_refusal(void);

#endif							/* RELAY_WORK_H */
