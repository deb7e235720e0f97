/* SPDX-License-Identifier: Apache-2.0 */
#include "condense.h"

#include <linux/audit.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { LEAVES_MAX = 2048, STEPS_MAX = 1 << 20, RETURNS_MAX = 16, WORD_NUMBER = 0, WORD_ARCH = 1, DEPTH_MAX = 64 };

#if defined(__x86_64__)
static const uint32_t architectures[] = {AUDIT_ARCH_X86_64, AUDIT_ARCH_I386};
#elif defined(__aarch64__)
static const uint32_t architectures[] = {AUDIT_ARCH_AARCH64, AUDIT_ARCH_ARM};
#endif
enum { ARCHITECTURES = sizeof(architectures) / sizeof(architectures[0]) };

/* Numbers from low to high (inclusive) that end in the same code, given by its place in the output. */
struct leaf {
	uint32_t low, high;
	int target;
};

/*
 * The output grows from its end: a jump only leads forward, so what is jumped to is written first. Places count from
 * the end, and out is turned round when all is there.
 */
struct builder {
	const struct sock_filter *in;
	uint32_t in_count;
	struct sock_filter *out;
	uint32_t max;
	int used;
	int returns[RETURNS_MAX]; /* places of the RET instructions, to share them */
	int return_count;
	int steps; /* a bit test can divide the numbers into billions of intervals, conditions can meet again */
	bool failed;
	bool arch_is_known; /* false: an architecture that the filter does not name */
	uint32_t arch;
	struct leaf leaves[LEAVES_MAX];
	int leaf_count;
};

/* What the accumulator holds at a point of the evaluation. */
enum holds { HOLDS_NUMBER, HOLDS_ARCH, HOLDS_ARGUMENT };

static int fail(struct builder *builder)
{
	builder->failed = true;
	return 0;
}

/* Whether there is an instruction at pc, and patience to look at it. */
static bool may_step(struct builder *builder, uint32_t pc)
{
	if (pc >= builder->in_count || ++builder->steps > STEPS_MAX)
		fail(builder);
	return !builder->failed;
}

/* What follows a jump by k, which leads forward or is none; as in the kernel, which refuses others. */
static uint32_t jump_from(const struct builder *builder, uint32_t pc, uint32_t k)
{
	return k < builder->in_count - pc ? pc + 1 + k : builder->in_count;
}

static int emit(struct builder *builder, struct sock_filter instruction)
{
	if (builder->failed || (uint32_t)builder->used >= builder->max)
		return fail(builder);
	builder->out[builder->used] = instruction;
	return builder->used++;
}

static int emit_return(struct builder *builder, uint32_t value)
{
	for (int i = 0; i < builder->return_count; i++) {
		if (builder->out[builder->returns[i]].k == value)
			return builder->returns[i];
	}
	if (builder->return_count == RETURNS_MAX)
		return fail(builder);
	builder->returns[builder->return_count] = emit(builder, (struct sock_filter){BPF_RET | BPF_K, 0, 0, value});
	return builder->returns[builder->return_count++];
}

static uint32_t distance(const struct builder *builder, int place)
{
	return (uint32_t)(builder->used - place - 1);
}

/* A place that the next instructions can reach with the 8 bits of a conditional jump, and that does what place does. */
static int within_reach(struct builder *builder, int place)
{
	if (distance(builder, place) <= 250)
		return place;
	if (BPF_CLASS(builder->out[place].code) == BPF_RET)
		return emit(builder, builder->out[place]);
	return emit(builder, (struct sock_filter){BPF_JMP | BPF_JA, 0, 0, distance(builder, place)});
}

/* Makes place what follows the next instruction. */
static void fall_to(struct builder *builder, int place)
{
	if (place != builder->used - 1)
		emit(builder, (struct sock_filter){BPF_JMP | BPF_JA, 0, 0, distance(builder, place)});
}

static int emit_branch(struct builder *builder, uint16_t code, uint32_t value, int yes, int no)
{
	if (yes == no)
		return yes;
	yes = within_reach(builder, yes);
	no = within_reach(builder, no);
	return emit(builder,
		    (struct sock_filter){code, (uint8_t)distance(builder, yes), (uint8_t)distance(builder, no), value});
}

static bool compare(uint16_t code, uint32_t left, uint32_t right)
{
	switch (BPF_OP(code)) {
	case BPF_JEQ:
		return left == right;
	case BPF_JGT:
		return left > right;
	case BPF_JGE:
		return left >= right;
	default:
		return left & right;
	}
}

/*
 * The first number above low from which a comparison answers differently than for low; UINT64_MAX where there is none.
 * For a bit test it is low with a bit set that was clear and all bits below it cleared: the first such that differs.
 */
static uint64_t next_change(uint16_t code, uint32_t value, uint32_t low)
{
	uint64_t starts[2] = {value, (uint64_t)value + 1};
	bool now = compare(code, low, value);

	for (int bit = 0; BPF_OP(code) == BPF_JSET && bit < 32; bit++) {
		uint32_t next = (low >> bit | 1) << bit;

		if (!(low >> bit & 1) && compare(code, next, value) != now)
			return next;
	}
	for (int i = 0; BPF_OP(code) != BPF_JSET && i < 2; i++) {
		if (starts[i] > low && starts[i] <= UINT32_MAX && compare(code, (uint32_t)starts[i], value) != now)
			return starts[i];
	}
	return UINT64_MAX;
}

static bool is_known_jump(const struct sock_filter *at)
{
	return BPF_CLASS(at->code) == BPF_JMP && BPF_SRC(at->code) == BPF_K &&
	       (BPF_OP(at->code) == BPF_JEQ || BPF_OP(at->code) == BPF_JGT || BPF_OP(at->code) == BPF_JGE ||
		BPF_OP(at->code) == BPF_JSET);
}

/*
 * Writes the code from pc on for one number, where the accumulator holds an argument: conditions on it are copied,
 * those on number and architecture decided. Returns its place.
 */
static int copy_code(struct builder *builder, uint32_t pc, uint32_t number, enum holds holds, int depth)
{
	while (depth < DEPTH_MAX && may_step(builder, pc)) {
		const struct sock_filter *at = &builder->in[pc];
		uint32_t word = at->k / 4;

		if (at->code == (BPF_RET | BPF_K))
			return emit_return(builder, at->k);
		if (at->code == (BPF_LD | BPF_W | BPF_ABS) && word <= WORD_ARCH) {
			holds = word == WORD_NUMBER ? HOLDS_NUMBER : HOLDS_ARCH;
			pc++;
		} else if (at->code == (BPF_LD | BPF_W | BPF_ABS) ||
			   (at->code == (BPF_ALU | BPF_AND | BPF_K) && holds == HOLDS_ARGUMENT)) {
			fall_to(builder, copy_code(builder, pc + 1, number, HOLDS_ARGUMENT, depth + 1));
			return emit(builder, *at);
		} else if (at->code == (BPF_JMP | BPF_JA)) {
			pc = jump_from(builder, pc, at->k);
		} else if (is_known_jump(at) && holds == HOLDS_ARGUMENT) {
			int no = copy_code(builder, pc + 1 + at->jf, number, holds, depth + 1);
			int yes = copy_code(builder, pc + 1 + at->jt, number, holds, depth + 1);

			return emit_branch(builder, at->code, at->k, yes, no);
		} else if (is_known_jump(at) && (holds == HOLDS_NUMBER || builder->arch_is_known)) {
			uint32_t left = holds == HOLDS_NUMBER ? number : builder->arch;

			pc += 1 + (compare(at->code, left, at->k) ? at->jt : at->jf);
		} else if (is_known_jump(at) && BPF_OP(at->code) == BPF_JEQ) {
			pc += 1 + at->jf;
		} else {
			break;
		}
	}
	return fail(builder);
}

static void add_leaf(struct builder *builder, uint32_t low, uint32_t high, int target)
{
	struct leaf *last = builder->leaf_count ? &builder->leaves[builder->leaf_count - 1] : NULL;

	if (last && last->target == target) {
		last->high = high;
		return;
	}
	if (builder->leaf_count == LEAVES_MAX) {
		fail(builder);
		return;
	}
	builder->leaves[builder->leaf_count++] = (struct leaf){low, high, target};
}

/*
 * Evaluates the filter for the numbers from low on, as far as they all take the same way, and adds that leaf. Returns
 * the last number it holds for.
 */
static uint32_t evaluate_from(struct builder *builder, uint32_t low)
{
	enum holds holds = HOLDS_ARGUMENT;
	uint32_t high = UINT32_MAX;
	uint32_t pc = 0;

	while (may_step(builder, pc)) {
		const struct sock_filter *at = &builder->in[pc];

		if (at->code == (BPF_RET | BPF_K)) {
			add_leaf(builder, low, high, emit_return(builder, at->k));
			return high;
		}
		if (at->code == (BPF_LD | BPF_W | BPF_ABS) && at->k / 4 > WORD_ARCH) {
			/* the code after it may look at the number again */
			add_leaf(builder, low, low, copy_code(builder, pc, low, HOLDS_ARGUMENT, 0));
			return low;
		}
		if (at->code == (BPF_LD | BPF_W | BPF_ABS)) {
			holds = at->k / 4 == WORD_NUMBER ? HOLDS_NUMBER : HOLDS_ARCH;
			pc++;
		} else if (at->code == (BPF_JMP | BPF_JA)) {
			pc = jump_from(builder, pc, at->k);
		} else if (is_known_jump(at) && holds == HOLDS_NUMBER) {
			uint64_t change = next_change(at->code, at->k, low);

			if (change <= high)
				high = (uint32_t)(change - 1);
			pc += 1 + (compare(at->code, low, at->k) ? at->jt : at->jf);
		} else if (is_known_jump(at) && holds == HOLDS_ARCH && builder->arch_is_known) {
			pc += 1 + (compare(at->code, builder->arch, at->k) ? at->jt : at->jf);
		} else if (is_known_jump(at) && holds == HOLDS_ARCH && BPF_OP(at->code) == BPF_JEQ) {
			pc += 1 + at->jf;
		} else {
			break;
		}
	}
	fail(builder);
	return UINT32_MAX;
}

static int emit_tree(struct builder *builder, int first, int end)
{
	int middle = (first + end) / 2;
	int upper;
	int lower;

	if (end - first == 1)
		return builder->leaves[first].target;
	upper = emit_tree(builder, middle, end);
	lower = emit_tree(builder, first, middle);
	return emit_branch(builder, BPF_JMP | BPF_JGE | BPF_K, builder->leaves[middle].low, upper, lower);
}

/* The whole decision for one architecture; the place of its first instruction. */
static int emit_architecture(struct builder *builder, const uint32_t *arch)
{
	uint32_t high;

	builder->arch_is_known = arch != NULL;
	builder->arch = arch ? *arch : 0;
	builder->leaf_count = 0;
	for (uint64_t low = 0; low <= UINT32_MAX && !builder->failed; low = (uint64_t)high + 1)
		high = evaluate_from(builder, (uint32_t)low);
	if (builder->failed)
		return 0;
	fall_to(builder, emit_tree(builder, 0, builder->leaf_count));
	return emit(builder, (struct sock_filter){BPF_LD | BPF_W | BPF_ABS, 0, 0, 4 * WORD_NUMBER});
}

static void turn_round(struct sock_filter *out, int count)
{
	for (int i = 0; i < count / 2; i++) {
		struct sock_filter first = out[i];

		out[i] = out[count - 1 - i];
		out[count - 1 - i] = first;
	}
}

int64_t condense_run(const struct sock_filter *filter, uint32_t count, const uint32_t data[16])
{
	uint32_t accumulator = 0;

	for (uint32_t pc = 0; pc < count; pc++) {
		const struct sock_filter *at = &filter[pc];

		if (at->code == (BPF_RET | BPF_K))
			return at->k;
		if (at->code == (BPF_LD | BPF_W | BPF_ABS) && at->k % 4 == 0 && at->k < 64)
			accumulator = data[at->k / 4];
		else if (at->code == (BPF_ALU | BPF_AND | BPF_K))
			accumulator &= at->k;
		else if (at->code == (BPF_JMP | BPF_JA))
			pc += at->k;
		else if (is_known_jump(at))
			pc += compare(at->code, accumulator, at->k) ? at->jt : at->jf;
		else
			return -1;
	}
	return -1;
}

/* Every constant that a jump of the filter compares with, as a value of arguments. */
static bool same_for_arguments(const struct builder *builder, uint32_t arch, uint32_t number)
{
	for (uint32_t i = 0; i <= builder->in_count; i++) {
		uint32_t value = i < builder->in_count ? builder->in[i].k : UINT32_MAX;
		uint32_t data[16] = {number, arch};
		int64_t wanted;

		if (i < builder->in_count && BPF_CLASS(builder->in[i].code) != BPF_JMP)
			continue;
		for (int word = 2; word < 16; word++)
			data[word] = value;
		wanted = condense_run(builder->in, builder->in_count, data);
		if (wanted < 0 || condense_run(builder->out, (uint32_t)builder->used, data) != wanted)
			return false;
	}
	return true;
}

static bool same_for_number(const struct builder *builder, uint32_t arch, uint32_t number)
{
	uint32_t data[16] = {number, arch};
	int64_t wanted = condense_run(builder->in, builder->in_count, data);

	return wanted >= 0 && condense_run(builder->out, (uint32_t)builder->used, data) == wanted;
}

/* The numbers of all system calls that there may be, and those around each constant of the filter. */
static bool same_everywhere(const struct builder *builder)
{
	static const uint32_t other = 0x12345678;

	for (int arch = 0; arch <= ARCHITECTURES; arch++) {
		uint32_t value = arch < ARCHITECTURES ? architectures[arch] : other;

		for (uint32_t number = 0; number < 1024; number++) {
			if (!same_for_number(builder, value, number) ||
			    !same_for_number(builder, value, number | 0x40000000))
				return false;
		}
		for (uint32_t i = 0; i < builder->in_count; i++) {
			uint32_t constant = builder->in[i].k;

			if (!same_for_number(builder, value, constant - 1) ||
			    !same_for_number(builder, value, constant) ||
			    !same_for_number(builder, value, constant + 1))
				return false;
		}
		for (uint32_t i = 0; i < builder->in_count; i++) {
			if (BPF_CLASS(builder->in[i].code) == BPF_LD && builder->in[i].k / 4 > WORD_ARCH && i > 0 &&
			    !same_for_arguments(builder, value, builder->in[i - 1].k))
				return false;
		}
	}
	return true;
}

uint32_t condense_filter(const struct sock_filter *in, uint32_t count, struct sock_filter *out, uint32_t max)
{
	static struct builder builder; /* too large for a stack; the opener has one thread */
	int dispatch;

	builder = (struct builder){.in = in, .in_count = count, .out = out, .max = max < count ? max : count};
	dispatch = emit_architecture(&builder, NULL);
	for (int i = ARCHITECTURES - 1; i >= 0 && !builder.failed; i--) {
		int own = emit_architecture(&builder, &architectures[i]);

		dispatch = emit_branch(&builder, BPF_JMP | BPF_JEQ | BPF_K, architectures[i], own, dispatch);
	}
	fall_to(&builder, dispatch);
	emit(&builder, (struct sock_filter){BPF_LD | BPF_W | BPF_ABS, 0, 0, 4 * WORD_ARCH});
	if (builder.failed)
		return 0;
	turn_round(out, builder.used);
	return same_everywhere(&builder) ? (uint32_t)builder.used : 0;
}
