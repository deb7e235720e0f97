/* SPDX-License-Identifier: Apache-2.0 */
/* What the opener leaves for the tasks of the step that started it, in a memfd they all hold. */
#ifndef SOCKER_OUTCOME_H
#define SOCKER_OUTCOME_H

#include "error.h"

/* Descriptors of the opener, as slurmstepd sets them up. */
enum {
	OPENER_REQUEST = 0, /* a struct socker_request */
	OPENER_OUTCOME = 1, /* written once */
	OPENER_LIFE = 3,    /* the write end of a pipe: it closes when the opener ends, however it ends */
	OPENER_CANCEL = 4,  /* the read end of a pipe: a byte from a cancelled task ends the opener */
	OPENER_SPACE = 5,   /* a socket by which a task sends its mount namespace; see jobspace.h */
	OPENER_SAVING = 6,  /* of a step that saves: the file that saving.h tells of */
	OPENER_LAST = OPENER_SAVING,
};

struct outcome {
	uint32_t magic;
	uint32_t verdict; /* SOCKER_GRANT: the record is there; everything else is a refusal */
	char message[SOCKER_MESSAGE_SIZE];
};

enum { OUTCOME_MAGIC = 0x746f6b73 };

#endif
