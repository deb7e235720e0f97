/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the administrator wrote behind the plugin's path in plugstack.conf, as NAME=VALUE words. The opener gets the
 * same words on its command line, so there is one parser and one place that lists them.
 */
#ifndef SOCKER_CONFIG_H
#define SOCKER_CONFIG_H

#include <stdbool.h>

#include "error.h"

struct socker_config {
	const char *state;	/* root's directory for records; default /run/socker */
	const char *token;	/* file of the node's token; default /var/lib/socker/token, made when it is missing */
	const char *docker;	/* Docker's unix socket; default /run/docker.sock */
	const char *policy;	/* policy file; default /etc/socker/policy.yaml; it need not exist */
	const char *user;	/* whom the policy child runs as; default dockerroot */
	const char *hold_user;	/* whom the hold process runs as; default socker */
	const char *slurm_conf; /* for Slurm's own commands in a sweep; default: theirs */
	const char *option_prefix;  /* of --PREFIX-mounts and its sisters; default container */
	unsigned int deadline;	    /* seconds for opening a container; default 60, 1 to 3600 */
	unsigned int save_deadline; /* seconds for saving one; default 300, 1 to 3600 */
};

/* Whether the words say plain=ask, without reading the others: each step that asks for no container looks. */
bool config_asks(int count, char *const words[]);

/* Fills config with the defaults and the words; the strings stay the words' own. -1: a word that is not known. */
int config_parse(struct socker_config *config, int count, char *const words[], struct socker_error *err);

#endif
