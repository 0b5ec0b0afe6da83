/* SPDX-License-Identifier: Apache-2.0
 * The demo model as read-only data of the command; src/demo_inside.c serves it. Aligned as a mapped file would be. */
    .section .rodata
    .balign 4096
    .globl demo_bytes
    .hidden demo_bytes
demo_bytes:
    .incbin "examples/demo/demo.rgm"
    .globl demo_bytes_end
    .hidden demo_bytes_end
demo_bytes_end:
    .byte 0

    .section .note.GNU-stack, "", %progbits
