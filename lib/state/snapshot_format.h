/* SPDX-License-Identifier: Apache-2.0
 * The bytes of a snapshot, as docs/state-format.md describes them. Little-endian; sections in the order of the directory, each at a multiple of 64,
 * zeros between them. */
#ifndef RGI_SNAPSHOT_FORMAT_H
#define RGI_SNAPSHOT_FORMAT_H

#define RGI_SNAPSHOT_MAGIC "RGSTATE\n"
#define RGI_SNAPSHOT_VERSION 1u         /* what we write */
#define RGI_SNAPSHOT_OLDEST_READER 1u   /* the oldest version that can read it */
#define RGI_SNAPSHOT_HEADER_BYTES 256u
#define RGI_SNAPSHOT_ENTRY_BYTES 64u    /* one section in the directory, which follows the header */
#define RGI_SNAPSHOT_ALIGNMENT 64u

/* Offsets in the header; what is not named is zero. */
enum {
    RGI_HEADER_MAGIC = 0,             /* 8 bytes */
    RGI_HEADER_VERSION = 8,           /* u32 */
    RGI_HEADER_OLDEST_READER = 12,    /* u32 */
    RGI_HEADER_FILE_BYTES = 16,       /* u64 */
    RGI_HEADER_N_SECTIONS = 24,       /* u32 */
    RGI_HEADER_FLAGS = 28,            /* u32 */
    RGI_HEADER_MODEL_ID = 32,         /* 16 bytes */
    RGI_HEADER_NUMERICS_ID = 48,      /* 16 bytes */
    RGI_HEADER_POSITION = 64,         /* u64 */
    RGI_HEADER_PAGE_LENGTH = 72,      /* u32 */
    RGI_HEADER_WINDOW_TYPE = 76,      /* u32: RG_TYPE_... */
    RGI_HEADER_VOCAB_SIZE = 80,       /* u32 each */
    RGI_HEADER_WIDTH = 84,
    RGI_HEADER_LRU_WIDTH = 88,
    RGI_HEADER_N_LAYERS = 92,
    RGI_HEADER_N_ATTENTION_LAYERS = 96,
    RGI_HEADER_KEY_WIDTH = 100,       /* num_kv_heads * head_dim */
    RGI_HEADER_CONV_ROWS = 104,       /* conv1d_width - 1 */
    RGI_HEADER_PAST = 108,            /* earlier positions that a query sees */
    RGI_HEADER_KERNELS = 112,         /* 112 bytes, ended by NUL: names of the kernel set */
    RGI_HEADER_DIRECTORY_HASH = 240,  /* u64, XXH3 of the directory */
    RGI_HEADER_HASH = 248             /* u64, XXH3 of the 248 bytes before; at this place in every version */
};

#define RGI_SNAPSHOT_KERNELS_BYTES 112u
#define RGI_SNAPSHOT_OTHER_NUMERICS 1u /* in the flags: several kernel sets took part */

/* Offsets in a directory entry. */
enum {
    RGI_ENTRY_KIND = 0,      /* u32 */
    RGI_ENTRY_FLAGS = 4,     /* u32 */
    RGI_ENTRY_RECORD = 8,    /* u32: 0 the state, n its checkpoint number n */
    RGI_ENTRY_LAYER = 12,    /* u32 */
    RGI_ENTRY_FIRST = 16,    /* u64: first channel, page number, position of the first id */
    RGI_ENTRY_COUNT = 24,    /* u64: channels, rows of the page, ids */
    RGI_ENTRY_OFFSET = 32,   /* u64, from the start of the file */
    RGI_ENTRY_BYTES = 40,    /* u64 */
    RGI_ENTRY_HASH = 48,     /* u64, XXH3 of the bytes */
    RGI_ENTRY_TYPE = 56      /* u32: RG_TYPE_... of tensors, else 0; then u32 zero */
};

#define RGI_ENTRY_OPTIONAL 1u /* a reader that does not know the kind may pass over it */

/* Kinds of sections. In the directory they do not descend, and all of one kind stand in the order that is told beside it. */
enum {
    RGI_SECTION_RECORDS = 1, /* always first: the state and its checkpoints */
    RGI_SECTION_RG_LRU = 2,  /* [count] float32 of one layer of one record; by record, then layer */
    RGI_SECTION_CONV1D = 3,  /* [conv rows, count] float32, oldest first; as above */
    RGI_SECTION_HIDDEN = 4,  /* [count] float32: the last row after the final norm; by record */
    RGI_SECTION_PAGE = 5,    /* [attention layers][keys, values][count rows][key width] of the window type; in the order in which records need them */
    RGI_SECTION_TOKENS = 6,  /* [count] i32 */
    RGI_SECTION_SAMPLER = 7, /* sampler_bytes.c */
    RGI_SECTION_DETOKENIZER = 8, /* u32: how many bytes are held back; 4 bytes: these, then zeros */
    RGI_SECTION_NOTE = 9,
    RGI_SECTION_KNOWN = 10   /* this and higher numbers are not known yet */
};

#define RGI_DETOKENIZER_BYTES 8u

/* The records section: one after the other, record 0 (the state) first, then checkpoints in order of position, and in order of age where positions are
 * equal:
 *     u64 position, u32 turn, u32 flags, u32 part, u32 n_pages, u32 n_name, n_name bytes of name, zeros up to a multiple of 4,
 *     n_pages u32: the numbers of the sections of its pages, oldest first, without holes.
 * `part` is the record whose tensors it has: itself, or one at the same position that is held, either the last such record before it or record 0.
 * Records need their pages in the order 1, 2, ..., 0, which is the order of positions: each lists, for a page number that the one before it (of those
 * that are held) has too, the same section or a new one, and new ones are numbered as they come. */
#define RGI_RECORD_BYTES 28u
#define RGI_RECORD_HELD 1u      /* its tensors and pages are in the file; always set for record 0 */
#define RGI_RECORD_AUTOMATIC 2u /* a checkpoint that was made by itself: it has no name, and is always held */
#define RGI_MAX_CHECKPOINTS 65536u
#define RGI_MAX_CHECKPOINT_NAME 255u
#define RGI_MAX_POSITION (1ull << 53) /* up to which angles are formed exactly */

#endif
