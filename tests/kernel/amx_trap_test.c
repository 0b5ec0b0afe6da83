/* SPDX-License-Identifier: Apache-2.0
 * The rung "amx-bf16" as it is compiled, on processors with and without tiles. Without them each of its tile instructions ends in SIGILL; the handler
 * reads the instruction as Intel's manual encodes it, does what amx_emulated.h says, and goes on behind it. */
#if defined(__x86_64__) && defined(__linux__)

#include <signal.h>
#include <ucontext.h>

#include "amx_check.h"

/* Registers by their number in an instruction. */
static const int register_index[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

/* An instruction of the form VEX.128.0F38.W0. */
typedef struct instruction {
    unsigned prefix, opcode, mod, reg, rm, vvvv; /* prefix: 0 none, 1: 66, 2: F3, 3: F2 */
    const unsigned char *base;                   /* of its memory operand */
    size_t index;                                /* register of the index, times scale: the stride of a tile's rows */
    size_t bytes;
} instruction;

static bool decode(instruction *d, const unsigned char *at, const greg_t *registers)
{
    /* C4; R X B inverted and the map, 2: 0F 38; W, vvvv inverted, L, prefix. */
    if (at[0] != 0xc4 || (at[1] & 0x1f) != 2 || (at[2] & 0x84) != 0) return false;
    const unsigned r = !(at[1] & 0x80) * 8u, x = !(at[1] & 0x40) * 8u, b = !(at[1] & 0x20) * 8u;
    *d = (instruction){ .prefix = at[2] & 3u, .vvvv = ~(unsigned)at[2] >> 3 & 15u, .opcode = at[3], .mod = at[4] >> 6, .reg = (at[4] >> 3 & 7u) | r, .rm = (at[4] & 7u), .bytes = 5 };
    if (d->mod == 3) {
        d->rm |= b;
        return true;
    }
    unsigned base = d->rm | b;
    bool has_base = true;
    if (d->rm == 4) {
        const unsigned sib = at[d->bytes++], index = (sib >> 3 & 7u) | x;
        base = (sib & 7u) | b;
        if (index != 4) d->index = (size_t)registers[register_index[index]] << (sib >> 6);
        has_base = d->mod != 0 || (sib & 7u) != 5;
    } else if (d->mod == 0 && d->rm == 5) {
        return false; /* relative to the instruction: configurations lie on the stack */
    }
    const size_t n_displacement = d->mod == 1 ? 1 : d->mod == 2 || !has_base ? 4 : 0;
    int32_t displacement = n_displacement == 1 ? (int8_t)at[d->bytes] : 0;
    if (n_displacement == 4) memcpy(&displacement, at + d->bytes, 4);
    d->bytes += n_displacement;
    d->base = (const unsigned char *)(uintptr_t)((has_base ? registers[register_index[base]] : 0) + displacement);
    return true;
}

/* false: not one of the instructions that the rung has. */
static bool perform(const instruction *d)
{
    const bool is_memory = d->mod != 3, has_stride = is_memory && d->rm == 4 && d->vvvv == 0;
    const int tile = (int)d->reg;
    if (d->opcode == 0x5c && !is_memory && d->prefix == 2 && d->reg < 8 && d->rm < 8 && d->vvvv < 8)
        emulated_dot(tile, (int)d->rm, (int)d->vvvv); /* TDPBF16PS tmm1, tmm2 (r/m), tmm3 (vvvv) */
    else if (d->opcode == 0x4b && has_stride && d->reg < 8 && (d->prefix == 3 || d->prefix == 1))
        emulated_load(tile, d->base, d->index); /* TILELOADD, TILELOADDT1 */
    else if (d->opcode == 0x4b && has_stride && d->reg < 8 && d->prefix == 2)
        emulated_store(tile, (void *)(uintptr_t)d->base, d->index);
    else if (d->opcode == 0x49 && !is_memory && d->prefix == 3 && d->rm == 0 && d->reg < 8 && d->vvvv == 0)
        emulated_zero(tile);
    else if (d->opcode == 0x49 && !is_memory && d->prefix == 0 && d->rm == 0 && d->reg == 0 && d->vvvv == 0)
        emulated_release();
    else if (d->opcode == 0x49 && is_memory && d->prefix == 0 && d->reg == 0 && d->vvvv == 0)
        emulated_configure((const rgi_amx_config *)(const void *)(d->base + d->index));
    else
        return false;
    return true;
}

static void on_illegal_instruction(int number, siginfo_t *info, void *context)
{
    (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    instruction d;
    if (decode(&d, (const unsigned char *)(uintptr_t)registers[REG_RIP], registers) && perform(&d))
        registers[REG_RIP] += (greg_t)d.bytes;
    else
        signal(number, SIG_DFL); /* it comes again, and ends the program */
}

TEST(the_instructions_give_the_bits_of_the_definition_for_every_shape)
{
    static const size_t ns[] = { 1, 16, 17, 32, 33, 63, 64 }, ks[] = { 1, 32, 33, 95 };
    for (size_t a = 0; a < sizeof ns / sizeof *ns; a++)
        for (size_t b = 0; b < sizeof ks / sizeof *ks; b++) check_rows(&rgi_kernels_amx, ns[a], ks[b], 5, (int)(a + b) % CHECK_KINDS);
    check_rows(&rgi_kernels_amx, 63, 95, 70, CHECK_RANDOM);
    check_rows(&rgi_kernels_amx, 64, 256, 20, CHECK_RANDOM);
    check_tiles_are_left();
}

TEST(parts_of_k_change_no_bit)
{
    check_parts(&rgi_kernels_amx, 97, 32, 700);
    check_parts(&rgi_kernels_amx, 130, 17, 1283);
    check_parts(&rgi_kernels_amx, 257, 32, 1025);
    check_tiles_are_left();
}

int main(void)
{
    const uint32_t vectors = RG_CPU_AVX512 | RG_CPU_AVX512_BF16, features = rgi_cpu_features();
    if ((features & vectors) != vectors) return test_skip("this processor has no AVX-512");
    if (!(features & RG_CPU_AMX_BF16)) {
        const struct sigaction action = { .sa_sigaction = on_illegal_instruction, .sa_flags = SA_SIGINFO | SA_NODEFER };
        REQUIRE(sigaction(SIGILL, &action, NULL) == 0);
    }
    RUN(the_instructions_give_the_bits_of_the_definition_for_every_shape);
    RUN(parts_of_k_change_no_bit);
    return test_end();
}

#else

#include "test.h"

int main(void) { return test_skip("tiles are x86-64's, and signals are Linux's here"); }

#endif
