/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int config_seconds(unsigned int *seconds, const char *word, struct socker_error *err)
{
	const char *value = strchr(word, '=') + 1;
	char *end = NULL;
	unsigned long number = strtoul(value, &end, 10);

	if (value[0] < '0' || value[0] > '9' || *end || number < 1 || number > 3600)
		return socker_fail(err, "plugstack line: %s: give 1 to 3600 seconds", word);
	*seconds = (unsigned int)number;
	return 0;
}

static int config_word(struct socker_config *config, const char *word, struct socker_error *err)
{
	const struct {
		const char *name;
		const char **value;
		bool path;
	} words[] = {
		{"state=", &config->state, true},	    {"token=", &config->token, true},
		{"docker=", &config->docker, true},	    {"policy=", &config->policy, true},
		{"slurm_conf=", &config->slurm_conf, true}, {"user=", &config->user, false},
		{"hold_user=", &config->hold_user, false},  {"option_prefix=", &config->option_prefix, false},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t length = strlen(words[i].name);

		if (strncmp(word, words[i].name, length) != 0)
			continue;
		if (words[i].path && word[length] != '/')
			return socker_fail(err, "plugstack line: %s: give an absolute path", word);
		*words[i].value = word + length;
		return 0;
	}
	if (strcmp(word, "plain=ask") == 0 || strcmp(word, "plain=host") == 0)
		return 0;
	if (strncmp(word, "deadline=", 9) == 0)
		return config_seconds(&config->deadline, word, err);
	if (strncmp(word, "save_deadline=", 14) == 0)
		return config_seconds(&config->save_deadline, word, err);
	return socker_fail(err, "plugstack line: unknown word '%s'", word);
}

bool config_asks(int count, char *const words[])
{
	for (int i = 0; i < count; i++) {
		if (strcmp(words[i], "plain=ask") == 0)
			return true;
	}
	return false;
}

static bool prefix_is_plain(const char *prefix)
{
	size_t length = strspn(prefix, "abcdefghijklmnopqrstuvwxyz-");

	return length && length <= 20 && !prefix[length] && prefix[0] != '-';
}

int config_parse(struct socker_config *config, int count, char *const words[], struct socker_error *err)
{
	*config = (struct socker_config){
		.state = "/run/socker",
		.token = "/var/lib/socker/token",
		.docker = "/run/docker.sock",
		.policy = "/etc/socker/policy.yaml",
		.user = "dockerroot",
		.hold_user = "socker",
		.slurm_conf = "",
		.option_prefix = "container",
		.deadline = 60,
		.save_deadline = 300,
	};
	for (int i = 0; i < count; i++) {
		if (config_word(config, words[i], err) < 0)
			return -1;
	}
	if (!prefix_is_plain(config->option_prefix))
		return socker_fail(err, "plugstack line: option_prefix=%s: give 1 to 20 small letters and dashes",
				   config->option_prefix);
	return 0;
}
