/* SPDX-License-Identifier: Apache-2.0
 * The bytes of a native model file, as docs/native-format.md describes them:
 *
 *     header       256 characters, so that `head` shows it and the manifest
 *     manifest     YAML, ASCII, which begins where the header ends
 *     tokenizer    an image of it (docs/native-tokenizer.md), at a multiple of 64; there may be none
 *     tensors      each at a multiple of 4,096, in the order of the directory
 *     directory    at a multiple of 64, up to the end of the file
 *
 * with zeros between them. The directory comes last, since it has the hashes of what was written before it: a file is written in one pass, and one that was
 * cut short has none. */
#ifndef RGI_NATIVE_FORMAT_H
#define RGI_NATIVE_FORMAT_H

#define RGI_NATIVE_MAGIC "# recurrentgemma model file\n"
#define RGI_NATIVE_MAGIC_BYTES (sizeof RGI_NATIVE_MAGIC - 1)
#define RGI_NATIVE_VERSION 1u       /* what we write */
#define RGI_NATIVE_OLDEST_READER 1u /* the oldest version that can read it */
#define RGI_NATIVE_HEADER_BYTES 256u
#define RGI_NATIVE_ALIGNMENT 64u    /* of the tokenizer and the directory */
#define RGI_NATIVE_PAGE 4096u       /* of tensors */

/* The header: this text with numbers of 16 hexadecimal digits (8 for the versions), then the 32 of the hash of all header characters before it and of the manifest, and a line
 * feed; what is left of the 256 is blanks and one more line feed. */
#define RGI_NATIVE_HEADER_FORMAT                                                                                             \
    RGI_NATIVE_MAGIC "# version %08x, readers from %08x\n# manifest %016llx\n# tokenizer %016llx + %016llx\n# directory %016llx + %016llx\n# hash "
#define RGI_NATIVE_HASH_DIGITS 32u

/* The directory's head; what is not named is zero. */
enum {
    RGI_DIRECTORY_MAGIC = 0,           /* 8 bytes */
    RGI_DIRECTORY_N_TENSORS = 8,       /* u32 */
    RGI_DIRECTORY_NAMES_BYTES = 12,    /* u32: of the names, which follow the entries */
    RGI_DIRECTORY_MODEL_ID = 16,       /* 16 bytes: with DeepMind's window */
    RGI_DIRECTORY_TOKENIZER_HASH = 32, /* 16 bytes; zeros without a tokenizer */
    RGI_DIRECTORY_HEAD_BYTES = 64
};
#define RGI_NATIVE_DIRECTORY_MAGIC "RGTENSOR"

/* A directory entry. */
enum {
    RGI_TENSOR_NAME = 0,   /* u32: where it begins among the names, which follow one another without NULs in the order of the entries */
    RGI_TENSOR_NAME_BYTES = 4, /* u32 */
    RGI_TENSOR_TYPE = 8,   /* u32: RG_TYPE_... */
    RGI_TENSOR_RANK = 12,  /* u32: 1 to 4 */
    RGI_TENSOR_SHAPE = 16, /* u64 each, zeros behind the last */
    RGI_TENSOR_OFFSET = 48, /* u64, from the start of the file */
    RGI_TENSOR_BYTES = 56, /* u64 */
    RGI_TENSOR_HASH = 64,  /* 16 bytes: over blocks, as in io/checksum.h */
    RGI_TENSOR_ENTRY_BYTES = 80
};
/* Behind the names zeros up to a multiple of 16, and the hash of the directory so far: the last 16 bytes of the file. */

#endif
