/* SPDX-License-Identifier: Apache-2.0 */
/* What Python needs beside the project's own functions. Prototypes only: C includes this, and cffi reads it as it is.
 */

/* The SPANK fake. Its state is shared with forked children, so what a task says or sets is seen by the test. */
void fake_reset(void);
spank_t fake_handle(void);
spank_t fake_stale_handle(void);
void fake_context(int context);
void fake_item(int item, uint32_t value);
void fake_item_error(int item, int error);
void fake_task(int local_id);
void fake_groups(const uint32_t *groups, int count);
void fake_argv(int count, char *const words[]);
const char *fake_argv_word(int index);
int fake_env(const char *name, const char *value);
void fake_env_error(int error);
const char *fake_env_value(const char *name);
int fake_message_count(void);
const char *fake_message(int index);
int fake_message_is_error(int index);
int fake_option_count(void);
const char *fake_option_name(int index);
const char *fake_option_usage(int index);
const char *fake_option_argument(int index);

/* Calls the option's callback as Slurm does when it is given, with a value or without (NULL). Its result; -1: none. */
int fake_option_give(const char *name, const char *value);

/* Starts a process that is held as Docker would hold it, but for the flaws (HOLD_*). Returns its pid. */
int hold_start(const char *root, const char *program, uint32_t uid, uint32_t gid, unsigned int flaws,
	       struct socker_error *err);

/* Exactly so many bytes, where a sanitizer sees each that is too many. */
char *shim_bytes(size_t size);
void shim_free(void *memory);

/* For this thread: getpriority fails with number from now on. */
int shim_filter(int number);
int shim_private_mounts(void);
int shim_mount(const char *source, const char *target, const char *type, unsigned long flags);
int shim_mount_data(const char *source, const char *target, const char *type, const char *data);
int shim_unmount(const char *target);
int shim_open_tree(const char *path);
int shim_prctl(int option, unsigned long second, unsigned long third);
int shim_no_capabilities(void);
int shim_inheritable(int capability);
int shim_bounding_drop(void);
int shim_enter_mounts(int mnt);
int shim_fsuid(void);

struct mounts *shim_mounts_new(void);
void shim_mounts_free(struct mounts *mounts);
int shim_mount_error(const struct mounts *mounts, uint32_t index);
int shim_mount_tree(const struct mounts *mounts, uint32_t index);
int shim_mount_file(const struct mounts *mounts, uint32_t index);
