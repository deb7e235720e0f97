/* SPDX-License-Identifier: Apache-2.0 */
/* The project's own functions, as cffi reads them. Of a structure that Python looks into, only what it looks at. */
typedef struct spank_handle *spank_t;

static const int ESPANK_SUCCESS;
static const int ESPANK_ERROR;
static const int ESPANK_BAD_ARG;
static const int ESPANK_NOT_REMOTE;
static const int ESPANK_NOSPACE;
static const int S_CTX_ERROR;
static const int S_CTX_LOCAL;
static const int S_CTX_REMOTE;
static const int S_CTX_ALLOCATOR;
static const int S_CTX_SLURMD;
static const int S_CTX_JOB_SCRIPT;
static const int S_JOB_UID;
static const int S_JOB_GID;
static const int S_JOB_ID;
static const int S_JOB_STEPID;
static const int S_JOB_ARGV;
static const int S_JOB_NNODES;
static const int S_JOB_LOCAL_TASK_COUNT;
static const int S_TASK_EXIT_STATUS;
static const int S_TASK_ID;
static const int S_JOB_SUPPLEMENTARY_GIDS;
static const int RECORD_MAGIC;
static const int RECORD_INTENT;
static const int RECORD_OPEN;
static const int RECORD_PLAIN;
static const int RECORD_PLACES_MAX;
static const int RECORD_CGROUPS_MAX;
static const int RECORD_FILTERS_MAX;
static const int RECORD_TEXT_SIZE;
static const int RECORD_KEYS_MAX;
static const int INSIDE_COPY_MAX;
static const int BREAKER_TIMES;
static const int BREAKER_SECONDS;
static const int OUTCOME_MAGIC;
static const int OPENER_REQUEST;
static const int OPENER_OUTCOME;
static const int OPENER_LIFE;
static const int OPENER_CANCEL;
static const int OPENER_SPACE;
static const int OPENER_SAVING;
static const int HOLD_HOST_MOUNTS;
static const int HOLD_NEW_PRIVILEGES;
static const int HOLD_UNFILTERED;
static const int HOLD_BOUNDED;
static const int HOLD_INHERITABLE;
static const int HOLD_USER_NAMESPACE;
static const int HOLD_PID_NAMESPACE;
static const int HOLD_PLAIN_DEV;
static const int HOLD_OWN_NET;
static const int HOLD_OWN_IPC;
static const int HOLD_OWN_UTS;
static const int HOLD_FIRST_ERRNO;
static const int HOLD_LAST_ERRNO;

struct socker_error {
	char text[SOCKER_MESSAGE_SIZE];
};

struct socker_config {
	const char *state;
	const char *token;
	const char *docker;
	const char *policy;
	const char *user;
	const char *hold_user;
	const char *slurm_conf;
	const char *option_prefix;
	unsigned int deadline;
	...;
};

struct sock_filter {
	uint16_t code;
	uint8_t jt;
	uint8_t jf;
	uint32_t k;
};

struct record_hold {
	int32_t pid;
	uint64_t start;
	uint64_t exe_dev;
	uint64_t exe_inode;
	uint64_t mnt_inode;
	...;
};

struct record_place {
	uint32_t path;
	int32_t error;
	uint32_t planned;
	uint32_t other;
	...;
};

struct record_filter {
	uint32_t flags;
	uint32_t first;
	uint32_t count;
	...;
};

struct socker_record {
	uint32_t magic;
	uint32_t size;
	uint32_t state;
	uint32_t flags;
	struct socker_request request;
	char id[...];
	char label[...];
	struct record_hold hold;
	uint32_t cgroup_count;
	uint32_t cgroups[...];
	uint32_t place_count;
	struct record_place places[...];
	uint32_t env_count;
	uint32_t env[...];
	uint32_t workdir;
	uint32_t entry_count;
	uint32_t entry[...];
	uint32_t unset_count;
	uint32_t unset[...];
	uint32_t filter_count;
	struct record_filter filters[...];
	struct sock_filter instructions[...];
	uint32_t text_size;
	char text[...];
	...;
};

struct container {
	int pidfd;
	int mnt;
	int spaces[...];
	...;
};

struct task_options {
	char workdir[...];
	char env[...];
	_Bool entrypoint;
	_Bool save;
	...;
};

struct join {
	const struct socker_record *record;
	const struct socker_request *request;
	const struct task_options *options;
	struct container *container;
	int kept;
	int apparmor;
	...;
};

struct launch {
	int pid;
	int life;
	int cancel;
	int outcome;
	int space;
	...;
};

struct outcome {
	uint32_t magic;
	uint32_t verdict;
	char message[SOCKER_MESSAGE_SIZE];
	...;
};

struct mounts {
	uint32_t count;
	...;
};

const char *spank_strerror(int error);
int fflush(void *stream);
char *getenv(const char *name);
int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);

int socker_fail(struct socker_error *err, const char *format, ...);
int socker_fail_in(struct socker_error *err, const char *format, ...);
void socker_printable(char *out, size_t size, const char *text);

_Bool config_asks(int count, char *const words[]);
int config_parse(struct socker_config *config, int count, char *const words[], struct socker_error *err);

void request_init(struct socker_request *request);
uint64_t request_hash(const char *text);
_Bool request_saves(const struct socker_request *request);
void request_key(const struct socker_request *request, char *key);
_Bool request_shares(const struct socker_request *one, const struct socker_request *other);
_Bool request_fits(const struct socker_request *one, const struct socker_request *other);
int request_check(const struct socker_request *request, struct socker_error *err);
_Bool path_below(const char *path, const char *base);

int trust_open_file(const char *path, struct socker_error *err);
int trust_open_dir(const char *path, struct socker_error *err);
int trust_open_dir_at(int dir, const char *name, int make, struct socker_error *err);

int record_open_dir(const char *state, const char *node, uint32_t job, int make, struct socker_error *err);
int record_lock(int dir, const char *key, unsigned int seconds, int cancel, struct socker_error *err);
int record_count_keys(int dir);
const struct socker_record *record_map(int dir, const char *key);
void record_unmap(const struct socker_record *record);
int record_write(int dir, const char *key, const struct socker_record *record, struct socker_error *err);
uint32_t record_add_text(struct socker_record *record, const char *text);
const struct record_place *record_place_of(const struct socker_record *record, const char *path);

int breaker_allows(const char *state, const char *node, struct socker_error *err);
void breaker_note(const char *state, const char *node, _Bool silent);

int saving_open(const char *state, struct socker_error *err);
int saving_lock(int fd, const char *state, const char *reference, struct socker_error *err);

int token_read(const char *path, char *token, struct socker_error *err);

int plan_check(const struct socker_plan *plan, const struct socker_request *request, struct socker_error *err);

_Bool place_is_systems(const char *path);
_Bool place_is_refused(const char *target, _Bool device);
_Bool place_covers(const struct socker_record *record, const struct socker_request *request);
_Bool place_misses_cwd(const struct socker_record *record, const struct socker_request *request);
_Bool place_misses_script(const struct socker_record *record, const struct socker_request *request);
_Bool place_misses_spool(const struct socker_record *record, const struct socker_request *request);
_Bool place_misses_prolog(const struct socker_record *record, const struct socker_request *request);

_Bool cgroup_job_path(const char *path, char *job, size_t size);
int cgroup_place(struct socker_record *record, int pid, struct socker_error *err);
void cgroup_remove(const struct socker_record *record);
void cgroup_sweep(void);

void container_release(struct container *container);
int container_identify(struct record_hold *hold, int pid, const char *hold_path, uint32_t uid, uint32_t gid,
		       struct socker_error *err);
void container_protect(const struct record_hold *hold);
int container_attach(struct container *container, const struct record_hold *hold, uint32_t flags,
		     struct socker_error *err);
int container_lives(const struct container *container, struct socker_error *err);
void container_kill(const struct record_hold *hold);

int confine_keep(struct socker_error *err);
int confine_narrow(struct socker_error *err);
int confine_drop(const struct socker_record *record, int attr, struct socker_error *err);
int confine_verify(const struct socker_request *request, struct socker_error *err);

int seccomp_copy(struct socker_record *record, int pid, struct socker_error *err);
void seccomp_condense(struct socker_record *record, const char *state);
uint32_t condense_filter(const struct sock_filter *in, uint32_t count, struct sock_filter *out, uint32_t max);
int64_t condense_run(const struct sock_filter *filter, uint32_t count, const uint32_t *data);

int seccomp_install(const struct socker_record *record, struct socker_error *err);

int inside_harden(int mnt, int pts, const char *proc_options, struct socker_error *err);
int inside_attach(int mnt, int tree, const char *target, _Bool file, _Bool over_lent);
struct inside_mount {
	int tree;
	const char *target;
	_Bool file;
	_Bool over_lent;
	int error;
};
void inside_attach_all(int mnt, struct inside_mount *list, uint32_t count);
int inside_protect(int mnt, struct socker_error *err);
int inside_copy(int mnt, const char *path, int to);

int source_open(const struct socker_request *request, const char *source, uint32_t base, uint32_t flags, int *file);

int accounts_attach(const struct container *container, int dir, const char *key, const char *passwd, const char *group,
		    struct socker_error *err);

void mounts_release(struct mounts *mounts);
int mounts_add(struct mounts *mounts, const struct socker_request *request, const char *source, uint32_t base,
	       const char *target, uint32_t flags, struct socker_error *err);
int mounts_harden(const struct container *container, int hold_pid, struct socker_error *err);
int mounts_attach(struct mounts *mounts, const struct container *container, struct socker_record *record, _Bool planned,
		  struct socker_error *err);

void jobspace_send(int socket);
int jobspace_enter(int socket, int cancel, int milliseconds, int *home, struct socker_error *err);
int jobspace_leave(int *home, struct socker_error *err);

void pmix_read_spool(struct socker_request *request);

int launch_opener(struct launch *launch, const char *verb, int count, char *const words[],
		  const struct socker_request *request, struct socker_error *err);
int launch_detach(struct launch *launch, struct socker_error *err);
int launch_wait(const struct launch *launch, struct socker_error *err);
int launch_finish(struct launch *launch, int milliseconds, struct socker_error *err);

int policychild_ask(const char *libdir, const char *user, const char *verb, const void *question, size_t question_size,
		    void *answer, size_t answer_size, uint32_t deadline_ms, int cancel, struct socker_error *err);

int join_prepare(struct join *join, struct socker_error *err);
int join_container(struct join *join, struct socker_error *err);

_Bool steprequest_wanted(spank_t sp);
int steprequest_read(spank_t sp, _Bool wanted, struct socker_request *request, struct task_options *tasks,
		     struct socker_error *err);

void options_register(spank_t sp, const struct socker_config *config);
void options_forget(void);
int options_export(void);
int options_read(spank_t sp, struct socker_request *request, struct task_options *tasks, struct socker_error *err);

int slurm_spank_init(spank_t sp, int count, char *words[]);
int slurm_spank_init_post_opt(spank_t sp, int count, char *words[]);
int slurm_spank_user_init(spank_t sp, int count, char *words[]);
int slurm_spank_task_init_privileged(spank_t sp, int count, char *words[]);
int slurm_spank_task_init(spank_t sp, int count, char *words[]);
int slurm_spank_task_exit(spank_t sp, int count, char *words[]);
int slurm_spank_job_epilog(spank_t sp, int count, char *words[]);

extern char opener_libdir[];
int opener_open(const struct socker_config *config, struct socker_request *request, struct socker_error *err);
int opener_main(int argc, char *argv[]);

int closer_close_key(const struct socker_config *config, int dir, const char *key, struct socker_error *err);
int closer_close_job(const struct socker_config *config, const char *node, uint32_t job, struct socker_error *err);
int closer_sweep(const struct socker_config *config, int dry_run, struct socker_error *err);
