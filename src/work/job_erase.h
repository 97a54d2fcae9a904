/*
 * job_erase.h
 *		Jobs about a subject that is erased.
 */
#ifndef ES_WORK_JOB_ERASE_H
#define ES_WORK_JOB_ERASE_H

extern void es_job_erase_init(void);

#endif							/* ES_WORK_JOB_ERASE_H */
