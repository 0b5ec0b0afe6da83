/* SPDX-License-Identifier: Apache-2.0
 * The files of the demo model as read-only data; lib/io/demo.c serves them. */
    .section .rodata
    .macro part name, file
    .balign 64
    .globl rgi_demo_\name
    .hidden rgi_demo_\name
rgi_demo_\name:
    .incbin "\file"
    .globl rgi_demo_\name\()_end
    .hidden rgi_demo_\name\()_end
rgi_demo_\name\()_end:
    .byte 0
    .endm

    part config, "examples/demo/model/config.json"
    part weights, "examples/demo/model/model.safetensors"
    part tokenizer, "examples/demo/model/tokenizer.model"

    .section .note.GNU-stack, "", %progbits
