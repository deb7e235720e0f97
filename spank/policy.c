/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program socker-policy: Python's only home in socker. The opener executes it as dockerroot with an empty
 * environment, one value on descriptor 0, descriptor 1 for the answer and 2 for messages to the node's log. It exits
 * with 0 only when a Python entry point filled the answer; whatever else happens is a refusal to the opener.
 *
 * cffi compiles this file in front of its embedding code. cffi would start Python with the environment, with site and
 * with whatever lies in the working directory; so Python is started here, isolated, and cffi finds it running.
 */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "wire.h"

/* cffi's, further down in the generated file; the others are written in Python and return SOCKER_POLICY_DONE */
static int cffi_start_python(void);
extern int open_step(const struct socker_request *request, struct socker_plan *plan);
extern int close_job(struct socker_close *containers);
extern int save_container(struct socker_save *container);
extern int sweep_node(struct socker_close *containers);

enum { EXIT_USAGE = 2, EXIT_PYTHON = 3, EXIT_NO_ANSWER = 4 };

static PyStatus set_paths(PyConfig *config, const char *libdir)
{
	const struct {
		wchar_t **value;
		const wchar_t *text;
	} fixed[] = {
		{&config->program_name, L"socker-policy"},
		{&config->executable, L"" SOCKER_PYTHON_EXECUTABLE},
		{&config->base_executable, L"" SOCKER_PYTHON_EXECUTABLE},
		{&config->home, L"" SOCKER_PYTHON_PREFIX},
		{&config->prefix, L"" SOCKER_PYTHON_PREFIX},
		{&config->exec_prefix, L"" SOCKER_PYTHON_PREFIX},
		{&config->base_prefix, L"" SOCKER_PYTHON_PREFIX},
		{&config->base_exec_prefix, L"" SOCKER_PYTHON_PREFIX},
		{&config->platlibdir, L"lib"},
	};
	wchar_t packages[SOCKER_PATH_SIZE];
	const wchar_t *const path[] = {L"" SOCKER_PYTHON_STDLIB, L"" SOCKER_PYTHON_DYNLOAD, packages};
	PyStatus status = PyStatus_Ok();

	swprintf(packages, SOCKER_PATH_SIZE, L"%s/" SOCKER_PYTHON_PACKAGES, libdir);
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]) && !PyStatus_Exception(status); i++)
		status = PyConfig_SetString(config, fixed[i].value, fixed[i].text);
	for (size_t i = 0; i < sizeof(path) / sizeof(path[0]) && !PyStatus_Exception(status); i++)
		status = PyWideStringList_Append(&config->module_search_paths, path[i]);
	config->module_search_paths_set = 1;
	return status;
}

/* Every path is set, so that no configuration file and no PATH is looked at to compute one. */
static int start_isolated(const char *libdir)
{
	PyPreConfig before;
	PyConfig config;
	PyStatus status;

	PyPreConfig_InitIsolatedConfig(&before);
	before.utf8_mode = 1;
	status = Py_PreInitialize(&before);
	if (PyStatus_Exception(status))
		return -1;
	PyConfig_InitIsolatedConfig(&config);
	config.site_import = 0;
	config.write_bytecode = 0;
	config.install_signal_handlers = 0;
	config.pathconfig_warnings = 0;
	config.configure_c_stdio = 0;
	status = set_paths(&config, libdir);
	if (!PyStatus_Exception(status))
		status = Py_InitializeFromConfig(&config);
	PyConfig_Clear(&config);
	if (PyStatus_Exception(status))
		fprintf(stderr, "Python does not start: %s\n", status.err_msg ? status.err_msg : "no reason given");
	return PyStatus_Exception(status) ? -1 : 0;
}

/* The isolation is what the program's safety rests on, so it is read back. */
static int check_isolated(void)
{
	static const char *const flags[] = {"isolated", "ignore_environment", "no_site", "no_user_site", "safe_path"};
	PyObject *all = PySys_GetObject("flags");

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		PyObject *flag = all ? PyObject_GetAttrString(all, flags[i]) : NULL;
		int set = flag ? PyObject_IsTrue(flag) : -1;

		Py_XDECREF(flag);
		if (set != 1) {
			fprintf(stderr, "Python is not isolated: %s is not set\n", flags[i]);
			return -1;
		}
	}
	return 0;
}

static int start_python(void)
{
	char path[SOCKER_PATH_SIZE];
	ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (size <= 0)
		return -1;
	path[size] = '\0';
	if (start_isolated(dirname(path)) < 0 || check_isolated() < 0)
		return -1;
	/* cffi takes the interpreter lock itself */
	PyEval_SaveThread();
	return cffi_start_python();
}

static int read_value(void *value, size_t size)
{
	return pread(0, value, size, 0) == (ssize_t)size ? 0 : EXIT_USAGE;
}

static int write_value(const void *value, size_t size)
{
	return pwrite(1, value, size, 0) == (ssize_t)size ? 0 : EXIT_NO_ANSWER;
}

static int run_open(void)
{
	static struct socker_request request;
	static struct socker_plan plan;

	if (read_value(&request, sizeof(request)))
		return EXIT_USAGE;
	if (start_python() != 0)
		return EXIT_PYTHON;
	if (open_step(&request, &plan) != SOCKER_POLICY_DONE)
		return EXIT_NO_ANSWER;
	return write_value(&plan, sizeof(plan));
}

static int run_close(int (*entry)(struct socker_close *))
{
	static struct socker_close containers;

	if (read_value(&containers, sizeof(containers)))
		return EXIT_USAGE;
	if (start_python() != 0)
		return EXIT_PYTHON;
	if (entry(&containers) != SOCKER_POLICY_DONE)
		return EXIT_NO_ANSWER;
	return write_value(&containers, sizeof(containers));
}

static int run_save(void)
{
	static struct socker_save container;

	if (read_value(&container, sizeof(container)))
		return EXIT_USAGE;
	if (start_python() != 0)
		return EXIT_PYTHON;
	if (save_container(&container) != SOCKER_POLICY_DONE)
		return EXIT_NO_ANSWER;
	return write_value(&container, sizeof(container));
}

int main(int argc, char *argv[])
{
	const char *verb = argc == 2 ? argv[1] : "";
	int status = EXIT_USAGE;

	if (strcmp(verb, "open") == 0)
		status = run_open();
	else if (strcmp(verb, "save") == 0)
		status = run_save();
	else if (strcmp(verb, "close") == 0)
		status = run_close(close_job);
	else if (strcmp(verb, "sweep") == 0)
		status = run_close(sweep_node);
	else
		fprintf(stderr, "usage: socker-policy open|save|close|sweep, started by socker-opener\n");
	fflush(stderr);
	/* no Py_Finalize and no exit handlers: the answer is written, and nothing else must be able to delay the end */
	_exit(status);
}
